//! The FastCGI 1.0 protocol without I/O: bytes in, events out, in both directions.
//!
//! | side | to read | to write |
//! |---|---|---|
//! | application | [`Session`] gives [`Event`]s, content borrowed from your buffer | [`records`] of Stdout and Stderr, [`EndRequest::record`], [`Reply::encode`] |
//! | web server, gateway, test tool | [`ResponseDecoder`] gives [`ResponseEvent`]s | [`BeginRequest::record`], [`Pair::encode`], [`records`] of Params and Stdin, [`Values::QUERY`], [`Header::new`] of an empty AbortRequest |
//! | either | [`Decoder`] gives [`Fragment`]s of records | [`Header::encode`] |
//!
//! # Guarantees
//!
//! - `no_std`, no allocation, no dependency, no `unsafe`.
//! - No input makes it panic, spin or index out of range; arithmetic on lengths is checked, on 32 bits too.
//! - Content is never copied: it is handed out as it comes, cut where your reads cut it, so that a buffer of any size
//!   serves records of 64 KiB. Nothing is sized by a number from the peer.
//! - Three outcomes stay apart: an event, `Ok(None)` for "all of the input was used, more is needed", and a
//!   [`ProtocolError`], after which the connection is of no more use.
//!
//! It does no I/O and reads no clock: sockets, time limits and memory are the caller's.
//!
//! # Both sides of a request
//!
//! ```
//! use fcgi_proto::*;
//!
//! // A web server sends a request.
//! let mut to_application = Vec::new();
//! to_application.extend(BeginRequest::new(Role::Responder, true).record(1));
//! let pair = Pair { name: b"REQUEST_METHOD", value: b"POST" };
//! let mut params = vec![0; pair.encoded_len()];
//! pair.encode(&mut params).expect("it has the room it asked for");
//! send(&mut to_application, RecordType::Params, &params);
//! send(&mut to_application, RecordType::Stdin, b"Hello");
//!
//! // The application takes it as it comes, here five bytes at a time, and answers with the body it got.
//! let mut session = Session::<1>::new(Config::default());
//! let (mut params, mut body, mut to_server) = (Vec::new(), Vec::new(), Vec::new());
//! for mut input in to_application.chunks(5) {
//!     while let Some(event) = session.next(&mut input)? {
//!         match event {
//!             // In place, if you can: here the pieces are joined.
//!             Event::Params { content, .. } => params.extend_from_slice(content),
//!             Event::ParamsEnd { .. } => assert_eq!(Params::new(&params).get(b"REQUEST_METHOD"), Some(&b"POST"[..])),
//!             Event::Stdin { content, .. } => body.extend_from_slice(content),
//!             Event::StdinEnd { id } => {
//!                 let answer = [b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n", &body[..]].concat();
//!                 send(&mut to_server, RecordType::Stdout, &answer);
//!                 let end = EndRequest { app_status: 0, protocol_status: ProtocolStatus::RequestComplete };
//!                 to_server.extend(end.record(id));
//!                 session.end(id);
//!             }
//!             Event::Reply(reply) => to_server.extend_from_slice(reply.encode(&mut [0; Reply::MAX_LEN])),
//!             Event::Begin { .. } | Event::Data { .. } | Event::DataEnd { .. } | Event::Skipped { .. } => {}
//!             Event::Abort { id } | Event::Oversized { id, .. } => session.end(id), // and say so: an error, END_REQUEST
//!         }
//!     }
//! }
//! assert!(!session.is_over(), "the connection is kept");
//!
//! // The web server reads the answer.
//! let mut response = ResponseDecoder::new();
//! let mut input = &to_server[..];
//! let mut answer = Vec::new();
//! while let Some(event) = response.next(&mut input)? {
//!     match event {
//!         ResponseEvent::Stdout { content, .. } => answer.extend_from_slice(content),
//!         ResponseEvent::End { end, .. } => assert_eq!(end.protocol_status, ProtocolStatus::RequestComplete),
//!         _ => {}
//!     }
//! }
//! assert!(answer.ends_with(b"\r\n\r\nHello"));
//!
//! /// Writes a whole stream: its records, then the empty one that ends it.
//! fn send(out: &mut Vec<u8>, stream: RecordType, bytes: &[u8]) {
//!     for (header, content) in records(stream, 1, bytes, Header::MAX_CONTENT) {
//!         out.extend(header.encode());
//!         out.extend(content);
//!     }
//!     out.extend(Header::new(stream, 1, 0).encode());
//! }
//! # Ok::<(), ProtocolError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

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
pub use event::{Event, Opening, Reply};
pub use pairs::{Full, Pair, Pairs, Params, ParamsBuffer};
pub use record::{Header, RecordType, records};
pub use response::{ResponseDecoder, ResponseEvent};
pub use scanner::Limit;
pub use session::Session;
pub use values::Values;
