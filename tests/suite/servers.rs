//! Behind real web servers. Each has a module named after it, and its line in tests/run.

mod haproxy;
mod init_scripts;
mod nginx;
pub(crate) use nginx::start as start_nginx;
