//! A launcher for FastCGI applications in the manner of `spawn-fcgi`.

#[cfg(not(target_os = "linux"))]
compile_error!("fcgi-spawn is for Linux only: it needs the parent-death signal and /proc");

mod config;
mod duration;
mod error;
mod options;

pub use config::{Address, Config};
pub use error::Error;
pub use options::Options;
