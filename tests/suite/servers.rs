//! Behind real web servers. Each has a module named after it, its line in tests/run, and its configuration in
//! examples/servers, which the tests use as it is.

#[macro_use]
mod matrix;

mod git;
mod scenario;
mod site;
mod table;

mod apache;
mod applications;
mod busybox;
mod caddy;
mod cgi_bridge;
mod deploy;
mod gateway;
mod h2o;
mod haproxy;
mod hosts;
mod init_scripts;
mod lighttpd;
mod mod_fastcgi;
mod nginx;
mod page;
mod programs;
pub(crate) use nginx::start as start_nginx;
