//! Calls handlers without a socket, for the unit tests of an application.
//!
//! A request takes the same way as one from a web server: what the limits refuse is refused, what panics is answered
//! `500`, and the answer is what the web server would have got.
//!
//! ```
//! use fcgi_app::test::{Application, Request};
//! use fcgi_app::{Body, Response};
//! use std::io::{self, Read, Write};
//!
//! fn shout(request: &fcgi_app::Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
//!     let mut text = String::new();
//!     body.read_to_string(&mut text)?;
//!     out.content_type("text/plain").set("X-User", request.param("REMOTE_USER").unwrap_or_default());
//!     out.write_all(text.to_uppercase().as_bytes())
//! }
//!
//! let application = Application::new(shout);
//! let answer = application.call(Request::new("POST", "/shout").param("REMOTE_USER", "ann").body("hello"))?;
//! assert_eq!((answer.status(), answer.header("X-User")), (200, Some("ann")));
//! assert_eq!(answer.text(), "HELLO");
//!
//! // An upload that is cut must not pass for a whole one.
//! let cut = Request::new("POST", "/shout").body("hello").body_from(&b"hell"[..]);
//! assert_eq!(application.call(cut)?.status(), 500);
//! # Ok::<(), fcgi_app::test::Error>(())
//! ```

use std::io;

use crate::app::App;
pub use crate::client::{Answer, Error, Request, Role};
use crate::client::{Ending, Head, HeadReader, Records};
use crate::loopback::{self, Sink};
use crate::{Limits, Roles};

/// Handlers to be called.
///
/// Limits of time are not enforced here.
pub struct Application {
    app: App,
    piece: u16,
}

impl Application {
    /// An application of the handlers of `roles`, often just a [`Responder`](crate::Responder), with default limits.
    pub fn new(roles: impl Into<Roles>) -> Self {
        Self { app: App::new(roles.into(), Limits::default()), piece: 32 << 10 }
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { app: App::new(self.app.roles, limits), ..self }
    }

    /// Sends bodies and data in pieces of this many bytes, at least 1. Default 32 KiB.
    #[must_use]
    pub fn pieces(mut self, bytes: u16) -> Self {
        self.piece = bytes.max(1);
        self
    }

    /// Answers a request.
    ///
    /// A handler that fails before any of its response was sent gets the [error response](crate::Response#failure) of a server.
    /// [`wait`](crate::Response::wait) sleeps in full here, and a stream without end never returns: test those with a
    /// [`Server`](crate::Server), its [`StopHandle`](crate::StopHandle) and a [`client`](crate::client).
    ///
    /// # Errors
    /// What a web server would get instead of a whole response: [`Error::Refused`] for a role without a handler,
    /// [`Error::Lost`] with the kind `UnexpectedEof` for a response that was broken off, since its handler failed when
    /// part of it was sent ([`Response`](crate::Response#failure)).
    pub fn call(&self, request: Request<'_>) -> Result<Answer, Error> {
        self.answer(request.into_records(false, self.piece))
    }

    /// Begins to answer a request that is aborted (`FCGI_ABORT_REQUEST`) after so many bytes of its body.
    ///
    /// # Errors
    /// [`Error::NoHeader`], with the appStatus, unless the handler had sent something by then, or did not notice.
    pub fn abort_after(&self, bytes: u64, request: Request<'_>) -> Result<Answer, Error> {
        let request = request.shorten_body(bytes);
        self.answer(request.into_records(false, self.piece).ending(Ending::Abort))
    }

    /// Begins to answer a request whose web server goes away after so many bytes of its body.
    ///
    /// # Errors
    /// [`Error::Lost`], unless the handler did not notice.
    pub fn cut_after(&self, bytes: u64, request: Request<'_>) -> Result<Answer, Error> {
        let request = request.shorten_body(bytes);
        self.answer(request.into_records(false, self.piece).ending(Ending::Cut))
    }

    fn answer(&self, records: Records<'_>) -> Result<Answer, Error> {
        let mut collected = Collected::default();
        let end = loopback::serve(&self.app, records, &mut collected)?;
        let Collected { head, body, stderr, fault, .. } = collected;
        match (fault, head) {
            (Some(fault), _) => Err(fault),
            (None, Some(head)) => Ok(Answer { head, body, stderr, end }),
            (None, None) => Err(Error::NoHeader(end.app_status)),
        }
    }
}

/// An answer, as far as it came.
#[derive(Default)]
struct Collected {
    reader: HeadReader,
    head: Option<Head>,
    body: Vec<u8>,
    stderr: Vec<u8>,
    fault: Option<Error>,
}

impl Sink for Collected {
    fn stdout(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.head.is_none() && self.fault.is_none() {
            match self.reader.read(&mut bytes) {
                Ok(head) => self.head = head,
                Err(fault) => self.fault = Some(fault),
            }
        }
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stderr.extend_from_slice(bytes);
        Ok(())
    }
}
