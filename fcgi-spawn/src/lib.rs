//! A launcher for FastCGI applications in the manner of `spawn-fcgi`: it binds the socket, forks
//! workers that find it as their file descriptor 0, and starts again the ones that end. Called
//! `spawn-fcgi`, it is a drop-in for spawn-fcgi 1.6 and leaves the workers to themselves.
//!
//! The program is this and nothing more:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! #[global_allocator]
//! static MEMORY: fcgi_spawn::Memory = fcgi_spawn::Memory;
//!
//! fn main() -> ExitCode {
//!     fcgi_spawn::main(std::env::args_os())
//! }
//! ```
//!
//! and a program of one's own can be the launcher too, without the rest of the command line:
//!
//! ```no_run
//! use fcgi_spawn::{Address, Config, Supervisor};
//!
//! let address = Address::Unix("/run/app.sock".into());
//! let mut config = Config::new(address, vec![c"/usr/bin/app".into()]);
//! config.workers = 4;
//! let status = Supervisor::start(&config)?.run()?;
//! # Ok::<(), fcgi_spawn::Error>(())
//! ```
//!
//! A [`Config`] has every value, and a [`Supervisor`] runs it. The launcher has exactly one thread and
//! expects to be alone in its process: it forks, it handles signals, and it reaps every child. A process with this library has
//! no report of a stack overflow, for which the standard library needs memory before `main`.

#![warn(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("fcgi-spawn is for Linux only: it needs the parent-death signal and /proc");

mod cli;
mod daemon;
mod error;
mod files;
mod fleet;
mod handover;
mod launcher;
mod listening;
mod notify;
mod once;
mod output;
mod poll;
mod process;
mod reload;
mod report;
mod setup;
mod signals;
mod socket;
mod stopping;
mod supervisor;
mod sys;
mod takeover;

pub use cli::address::Address;
pub use cli::config::{Config, LogTo, Mode, Program};
pub use error::Error;
pub use launcher::main;
pub use supervisor::Supervisor;
pub use sys::Memory;
