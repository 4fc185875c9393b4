//! A launcher for FastCGI applications in the manner of `spawn-fcgi`: it binds the socket, forks
//! workers that find it as their file descriptor 0, and starts again the ones that end.

#![warn(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("fcgi-spawn is for Linux only: it needs the parent-death signal and /proc");

mod child;
mod config;
mod duration;
mod error;
mod listener;
mod options;
mod pid_file;
mod restart;
mod signals;
mod supervisor;
mod sys;
mod worker;

pub use config::{Address, Config};
pub use error::Error;
pub use options::Options;
pub use supervisor::Supervisor;
