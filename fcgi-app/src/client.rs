//! A blocking client: asks an application what a web server would ask it.
//!
//! For gateways, health checks and tests over a socket; [`fcgi_app::test`](crate::test) calls a handler without one.
//!
//! ```
//! use fcgi_app::client::{Client, Request};
//! use fcgi_app::{Address, Body, Listener, Response, Server};
//! use std::io::Write;
//!
//! # let path = std::env::temp_dir().join(format!("fcgi-app-client-{}.sock", std::process::id()));
//! let address = Address::Unix(path);
//! let server = Server::new(Listener::bind(&address)?)?;
//! let stop = server.stop_handle();
//! let greet = |request: &fcgi_app::Request, _: &mut Body, out: &mut Response| {
//!     writeln!(out.content_type("text/plain"), "Hello, {}", request.param_str("QUERY_STRING").unwrap_or_default())
//! };
//! let serving = std::thread::spawn(move || server.serve(greet));
//!
//! let mut client = Client::new(address);
//! for name in ["you", "world"] {
//!     let response = client.send(Request::new("GET", &format!("/hello?{name}")))?;
//!     let answer = response.collect(1 << 20)?;
//!     assert_eq!((answer.status(), answer.header("Content-Type")), (200, Some("text/plain")));
//!     assert_eq!(answer.text(), format!("Hello, {name}\n"));
//! }
//! stop.stop();
//! serving.join().expect("no panic")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod connection;
mod head;
mod request;
mod response;

use std::time::{Duration, Instant};
use std::{fmt, io};

pub use fcgi_proto::{EndRequest, ProtocolError, ProtocolStatus, Role};

use crate::Address;
use connection::Connection;
pub(crate) use head::{Head, HeadReader};
pub use request::Request;
pub(crate) use request::{Ending, Records};
pub use response::{Answer, Response};

/// Sends requests to one application, one after the other.
///
/// The connection is kept from request to request, and made anew when it is not there any more. A client has a few
/// buffers, which no application makes larger.
#[derive(Debug)]
pub struct Client {
    address: Address,
    keep_conn: bool,
    timeout: Duration,
    total_time: Option<Duration>,
    kept: Option<Connection>,
}

/// Why there is no answer, or not the whole of it.
#[non_exhaustive]
#[derive(Debug)]
pub enum Error {
    /// The application cannot be reached.
    Connect(Address, io::Error),
    /// The body of the request, or its data, cannot be read.
    Body(io::Error),
    /// The application is too slow, or hangs.
    TimedOut,
    /// The connection was lost; `UnexpectedEof` if the application closed it.
    Lost(io::Error),
    /// The application broke the protocol. With [`ProtocolError::Version`] 0 it broke its response off, since its handler
    /// failed: what came of it is not whole.
    Protocol(ProtocolError),
    /// The application answers a request that is not there; this is its id.
    UnknownId(u16),
    /// The application refuses the request, for instance since it has nobody for its role.
    Refused(ProtocolStatus),
    /// The application ended the request before the header section was whole, with this appStatus.
    NoHeader(u32),
    /// This is no line of a header section; bytes are escaped.
    Header(String),
    /// This part of the answer is larger than so many bytes.
    TooLarge(&'static str, usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(address, error) => write!(f, "cannot connect to {address}: {error}"),
            Self::Body(error) => write!(f, "cannot read the body of the request: {error}"),
            Self::TimedOut => f.write_str("the application did not answer in time"),
            Self::Lost(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the application closed the connection before the end of its response")
            }
            Self::Lost(error) => write!(f, "lost the connection to the application: {error}"),
            Self::Protocol(ProtocolError::Version(0)) => f.write_str("the application broke its response off"),
            Self::Protocol(error) => write!(f, "the application broke the protocol: {error}"),
            Self::UnknownId(id) => write!(f, "the application answers request {id}, which does not exist"),
            Self::Refused(status) => write!(f, "the application refused the request: {status:?}"),
            Self::NoHeader(status) => {
                write!(f, "the application ended the request without a header section, appStatus {status}")
            }
            Self::Header(line) => write!(f, "the application sent a malformed header: '{line}'"),
            Self::TooLarge(what, limit) => write!(f, "the application sent a {what} of more than {limit} bytes"),
        }
    }
}

impl std::error::Error for Error {}

/// For reading the body of an answer; the kind is `TimedOut`, that of the connection's error, or `InvalidData`.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Connect(_, error) | Error::Body(error) | Error::Lost(error) => error.kind(),
            Error::TimedOut => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl Client {
    /// A client of the application at `address`. Connecting is left to the first request.
    pub const fn new(address: Address) -> Self {
        Self { address, keep_conn: true, timeout: Duration::from_secs(60), total_time: None, kept: None }
    }

    /// Whether to keep the connection (`FCGI_KEEP_CONN`), or to make one for each request. On by default.
    #[must_use]
    pub const fn keep_connection(mut self, on: bool) -> Self {
        self.keep_conn = on;
        self
    }

    /// How long a single wait may last: for the connection, and for the application to take or send a byte. Default 60 s.
    #[must_use]
    pub const fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// How long a request may take from [`send`](Self::send) to the last byte of its answer. Default: no limit.
    #[must_use]
    pub const fn total_time(mut self, time: Duration) -> Self {
        self.total_time = Some(time);
        self
    }

    /// Sends a request and waits for the header section of its answer.
    ///
    /// The request goes out while the answer comes in: also an application that answers before it has read the body is
    /// waited for by nobody. What is left of the body is sent while the answer's body is read.
    ///
    /// When a kept connection was closed in the meantime, the request goes over a new one. When it is closed at the very
    /// moment it is used, that is [`Error::Lost`]: whether the request was carried out is then unknown.
    ///
    /// # Errors
    /// [`Error`]. The connection is closed then, which is how the application learns of it.
    pub fn send<'c>(&'c mut self, request: Request<'c>) -> Result<Response<'c>, Error> {
        let until = self.total_time.map(|time| Instant::now() + time);
        let kept = self.kept.take().filter(Connection::is_quiet);
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                Connection::open(&self.address, self.total_time.map_or(self.timeout, |time| time.min(self.timeout)))?
            }
        };
        connection.set_times(self.timeout, until);
        let records = request.into_records(self.keep_conn, 32 << 10);
        let keep = if self.keep_conn { Some(&mut self.kept) } else { None };
        Response::begin(connection, records, keep)
    }
}
