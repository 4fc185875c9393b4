//! The FastCGI 1.0 protocol without I/O.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod body;
mod config;
mod decoder;
mod error;
mod event;
mod pairs;
mod record;
mod response;
mod scanner;
mod session;
mod values;

pub use body::{BeginRequest, EndRequest, ProtocolStatus, Role, UnknownType};
pub use config::Config;
pub use decoder::{Decoder, Fragment};
pub use error::ProtocolError;
pub use event::{Event, Reply};
pub use pairs::{Full, Pair, Pairs, Params, ParamsBuffer};
pub use record::{Header, RecordType, records};
pub use response::{ResponseDecoder, ResponseEvent};
pub use scanner::Limit;
pub use session::Session;
pub use values::Values;
