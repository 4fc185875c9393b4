//! A blocking FastCGI application runtime: one thread per connection, no async, no C.
//!
//! ```no_run
//! use fcgi_app::{Body, Request, Response};
//! use std::io::Write;
//!
//! fn main() -> fcgi_app::Result {
//!     fcgi_app::run(|req: &Request, _body: &mut Body, out: &mut Response| {
//!         out.content_type("text/plain");
//!         writeln!(out, "Hello, {}", req.param_str("REMOTE_ADDR").unwrap_or("you"))
//!     })
//! }
//! ```
//!
//! # Starting
//!
//! The same binary runs wherever it is put; [`Start::find`] has the details:
//!
//! | started | by | it serves |
//! |---|---|---|
//! | with a listening socket on descriptor 0 | Apache, lighttpd, spawn-fcgi, fcgi-spawn | that socket |
//! | with `LISTEN_FDS` | systemd | the socket on descriptor 3 |
//! | with an address of its own | its configuration | that address |
//! | with `FCGI_BIND=127.0.0.1:9000` (or `[::1]:9000`, `unix:/run/app.sock`, `unix:@name`) | hand, an init script | that address |
//! | with `REQUEST_METHOD` or `GATEWAY_INTERFACE` | a server that knows only CGI, a shell | one request |
//! | without any of these | hand | a short help, exit status 1 |
//!
//! It needs no environment variables and no particular working directory. Descriptors 0 to 2 that are closed are open on
//! /dev/null before `main` begins, and SIGPIPE is ignored: the standard library sees to both.
//!
//! [`Server`] sets limits and other options, [`mod@test`] calls handlers in unit tests, [`client`] sends requests to
//! applications.

#[cfg(not(target_os = "linux"))]
compile_error!("fcgi-app runs on Linux only");

mod address;
mod app;
mod body;
mod budget;
mod cgi;
pub mod client;
mod clock;
mod connection;
mod cookie;
mod environment;
mod error_log;
mod exchange;
mod file;
mod form;
mod handler;
mod heartbeat;
mod housekeeper;
mod input;
mod limits;
mod listener;
mod loopback;
mod multiplex;
mod news;
mod peer;
mod pool;
mod queue;
mod redirect;
mod report;
mod request;
mod response;
mod roles;
mod run;
mod server;
mod slot;
mod source;
mod sys;
pub mod test;
mod turns;
mod wire;

pub use address::{Address, InvalidAddress};
pub use body::Body;
pub use cgi::Cgi;
pub use cookie::{Cookie, SameSite};
pub use error_log::ErrorLog;
pub use form::{Form, FormError};
pub use handler::{Authorizer, Filter, HandlerError, HttpError, Responder};
pub use limits::Limits;
pub use listener::Listener;
pub use request::Request;
pub use response::{Response, Waited};
pub use roles::Roles;
pub use run::{Error, Result, Start, log_to_stderr, run};
pub use server::{Server, StopHandle};
