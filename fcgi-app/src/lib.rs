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
//! The same binary runs under Apache, lighttpd and fcgi-spawn (a listening socket on descriptor 0) and on an address
//! of its own (`FCGI_BIND=127.0.0.1:9000`); see [`run`]. [`Server`] is for programs that want to say more.

#[cfg(not(target_os = "linux"))]
compile_error!("fcgi-app runs on Linux only");

mod address;
mod app;
mod body;
mod budget;
pub mod client;
mod clock;
mod connection;
mod cookie;
mod error_log;
mod file;
mod form;
mod handler;
mod housekeeper;
mod input;
mod limits;
mod listener;
mod peer;
mod pool;
mod redirect;
mod request;
mod response;
mod roles;
mod run;
mod server;
mod slot;
mod source;
mod sys;
mod wire;

pub use address::{Address, InvalidAddress};
pub use body::Body;
pub use cookie::{Cookie, SameSite};
pub use error_log::ErrorLog;
pub use form::{Form, FormError};
pub use handler::{Authorizer, Filter, HandlerError, Responder};
pub use limits::Limits;
pub use listener::Listener;
pub use request::Request;
pub use response::Response;
pub use roles::Roles;
pub use run::{Error, Result, run};
pub use server::{Server, StopHandle};
