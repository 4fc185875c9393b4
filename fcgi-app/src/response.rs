mod headers;
mod records;
mod status;

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::time::Duration;

use fcgi_proto::Header;

use self::headers::is_control;
pub(crate) use self::headers::is_token;
use self::status::{has_body, reason};
use crate::error_log::{ErrorLog, Scope};
use crate::wire::{Output, aborted};

/// The response to a request: status and headers first, then the body by [`Write`].
///
/// The header section is complete with the first byte of the body, and leaves together with it in one record. Small
/// writes are collected; slices larger than the buffer of 8 KiB go out uncopied. When the whole response fits the buffer it
/// leaves in a single write with the end of the request, and with a `Content-Length`. `Status:` is always written.
///
/// # Framing
/// A response to HEAD, and one of status 204 or 304, has no body: what is written is counted and dropped. A
/// `Content-Length` that was set is kept to: a write beyond it fails, and a body that ends before it is a failed
/// response.
///
/// # Failure
/// If the handler returns an error, panics or [aborts](Self::abort) the response, or its body is too short, and nothing
/// was sent, the web server gets an error response: with the status of an [`HttpError`](crate::HttpError) or
/// [`FormError`](crate::FormError), 413 for a body over [`Limits::body_len`](crate::Limits::body_len), else 500, and with
/// the page of [`Roles::error_page`](crate::Roles::error_page) or a line of plain text. Headers that the handler has set
/// are discarded.
///
/// If part of it was sent, the response is broken off so that the client can tell, as far as its web server allows, and the
/// connection to the web server ends. With [`Server::multiplex`](crate::Server::multiplex), while other requests are under
/// way on it, `FCGI_END_REQUEST` is sent instead. Announce a length where it is known: without one Caddy, h2o, lighttpd and
/// mod_fcgid, and HAProxy towards clients of HTTP/2, do not tell their clients.
///
/// # Misuse
/// Invalid names and values, fields that belong to the web server, and headers after the first byte of the body are
/// refused: the next write fails with `InvalidInput`, and so does the response. The first misuse is the one reported.
pub struct Response<'c> {
    output: &'c dyn Output,
    id: u16,
    /// [`FRONT`] bytes of room, then what will be sent next: headers, a blank line, body.
    buffer: &'c mut Vec<u8>,
    head: Head,
    /// Where the body begins in the buffer, once the header section is complete.
    body_at: usize,
    status: u16,
    /// In place of IANA's.
    reason: Option<Box<str>>,
    app_status: u32,
    length: Length,
    /// Whether this is the response to a HEAD request.
    is_head: bool,
    /// Bytes of the body written so far.
    body_len: u64,
    /// Whether the handler wants no part of it to pass for a response.
    is_aborted: bool,
    /// Whether a wait has told its handler that the server stops.
    has_heard_stop: Cell<bool>,
    log: Scope,
    /// The first misuse, which the next write reports.
    misuse: Option<Box<str>>,
}

/// What is known of the length of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    /// It is counted, and announced if the whole response fits the buffer.
    Counted,
    /// `Content-Length` says it.
    Announced(u64),
    /// The web server puts another body in its place.
    Replaced,
}

/// How far the header section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// Headers may be added.
    Open,
    /// The body has begun, but nothing was sent.
    Complete,
    /// On its way to the web server.
    Sent,
    /// Nothing follows: the response has ended.
    Over,
}

/// How a [`Response::wait`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a handler that goes on as before holds up the stop of its server"]
pub enum Waited {
    /// The time is over.
    Elapsed,
    /// The server is stopping, and waits for this handler.
    Stopping,
}

/// Room in front of the buffer: a record header, and what is known only when the header section leaves: the lines of
/// `Status` and `Content-Length`.
const FRONT: usize = Header::LEN + 88;
/// Room for a small answer at once, in bytes.
const SMALL: usize = FRONT + 80;
/// Content collected before it is sent, in bytes.
const BUFFER: usize = 8192;
/// Pieces of a body that are written at once.
const PIECES: usize = 64;

impl<'c> Response<'c> {
    pub(crate) fn new(output: &'c dyn Output, id: u16, buffer: &'c mut Vec<u8>, is_head: bool) -> Self {
        buffer.truncate(FRONT);
        if buffer.is_empty() {
            // Here, where the stack is low, and not when the handler writes: what an allocation touches stays resident.
            buffer.reserve_exact(SMALL);
            buffer.resize(FRONT, 0);
        }
        Self {
            output,
            id,
            buffer,
            head: Head::Open,
            body_at: 0,
            status: 200,
            reason: None,
            app_status: 0,
            length: Length::Counted,
            is_head,
            body_len: 0,
            is_aborted: false,
            has_heard_stop: Cell::new(false),
            log: Scope::enter(),
            misuse: None,
        }
    }

    /// Sets the HTTP status, 200 to 999; 200 if this is never called. Informational statuses are refused: behind nginx,
    /// HAProxy, lighttpd, Caddy and h2o the client would wait for another response for ever.
    pub fn status(&mut self, code: u16) -> &mut Self {
        match (self.head, code) {
            (Head::Open | Head::Complete, 200..=999) => (self.status, self.reason) = (code, None),
            (Head::Open | Head::Complete, _) => return self.refuse("the status of a response is from 200 to 999"),
            (Head::Sent | Head::Over, _) => return self.refuse("the status was already sent"),
        }
        self
    }

    /// Sets the reason phrase of the status that was set before, in place of IANA's.
    pub fn reason(&mut self, phrase: &str) -> &mut Self {
        if self.is_sent() {
            return self.refuse("the status was already sent");
        }
        if phrase.bytes().any(is_control) {
            return self.refuse("a control character in a reason phrase");
        }
        self.reason = Some(phrase.into());
        self
    }

    /// The HTTP status as it stands: for an access log, or metrics, of a handler that wraps another.
    ///
    /// When the wrapped handler has failed, this is not the status that the client gets, which is
    /// [`HttpError::status_of`](crate::HttpError::status_of) its error if nothing was [sent](Self::is_sent): the response is
    /// replaced when the outermost handler has returned the error. A panic passes a wrapper by, and requests that are
    /// refused before a handler begins do not reach it.
    ///
    /// ```
    /// use fcgi_app::{Body, HandlerError, HttpError, Request, Responder, Response};
    ///
    /// fn logged(inner: impl Responder) -> impl Responder {
    ///     move |request: &Request<'_>, body: &mut Body<'_>, out: &mut Response<'_>| -> Result<(), HandlerError> {
    ///         let result = inner.respond(request, body, out);
    ///         let status = match &result {
    ///             Err(error) if !out.is_sent() => HttpError::status_of(&**error),
    ///             _ => out.status_code(),
    ///         };
    ///         log::info!("{} {} {status} {}", request.method(), request.path(), out.bytes_written());
    ///         result
    ///     }
    /// }
    ///
    /// let page = |_: &Request, _: &mut Body, _: &mut Response| Err::<(), _>(HttpError::new(404, "there is none"));
    /// let application = fcgi_app::test::Application::new(logged(page));
    /// assert_eq!(application.call(fcgi_app::test::Request::new("GET", "/"))?.status(), 404);
    /// # Ok::<(), fcgi_app::test::Error>(())
    /// ```
    pub fn status_code(&self) -> u16 {
        self.status
    }

    /// How many bytes of the body were written so far, sent or not.
    pub fn bytes_written(&self) -> u64 {
        self.body_len
    }

    /// Writes a body of plain text, with its `Content-Type` in the place of one that was set before.
    ///
    /// # Errors
    /// Those of writing.
    pub fn text(&mut self, text: impl Display) -> io::Result<()> {
        write!(self.content_type("text/plain; charset=utf-8"), "{text}")
    }

    /// Writes a body of HTML, with its `Content-Type` in the place of one that was set before. It is not escaped: what
    /// clients sent must not be in it as it came.
    ///
    /// # Errors
    /// Those of writing.
    pub fn html(&mut self, html: impl Display) -> io::Result<()> {
        write!(self.content_type("text/html; charset=utf-8"), "{html}")
    }

    /// Where to write lines for the error log of the web server, `FCGI_STDERR`.
    ///
    /// Lines are sent behind the body, in the write that ends the response: sent earlier, they make nginx refuse the response
    /// if they are more than its header buffer holds, and crash HAProxy 2.6. Each line is one record, of which nginx logs 2
    /// KiB and mod_fcgid 8 KiB. A missing line end is added, and a NUL becomes `?`. Lines beyond 256 KiB, those of an aborted
    /// request, and those behind the end of the response go to the process's stderr, when the handler returns.
    ///
    /// ```
    /// # use fcgi_app::{Body, Request, Response};
    /// # use std::io::{self, Write};
    /// # fn handle(request: &Request, _: &mut Body, out: &mut Response) -> io::Result<()> {
    /// writeln!(out.error_log(), "unknown user {}", request.remote_user().unwrap_or("?"))?;
    /// out.status(403).text("who are you?")
    /// # }
    /// ```
    pub fn error_log(&mut self) -> ErrorLog {
        ErrorLog
    }

    /// Sets what a CGI program would give to `exit`, the appStatus; 0 if this is never called.
    pub fn app_status(&mut self, status: u32) -> &mut Self {
        self.app_status = status;
        self
    }

    /// Whether the response is still wanted: `false` once the web server has aborted the request or closed the connection.
    /// For a handler that computes for long: it costs a system call, except with
    /// [`Server::multiplex`](crate::Server::multiplex).
    ///
    /// Of the web servers, nginx, HAProxy without kept connections, and http-gateway close the connection when their client
    /// goes; behind the others a handler finds that out by writing.
    ///
    /// A unix socket that was closed is told from one of which the peer has only ended its sending; over TCP they look
    /// alike and both count as closed, unless [`Server::half_close`](crate::Server::half_close) says otherwise. What is
    /// written all the same is sent.
    pub fn is_wanted(&self) -> bool {
        self.output.look();
        !self.is_gone()
    }

    /// Sleeps for `time`; less if the response [is not wanted](Self::is_wanted) any more, or the server is to stop. For
    /// event streams and long polls. Return its error: that the client has gone is logged at debug level only.
    ///
    /// Flush before a wait: nothing is sent by itself. Each stream takes one of
    /// [`Limits::connections`](crate::Limits::connections). A comment line (`:`) now and then keeps it from the web server's
    /// time limit for reading, 60 s in nginx, and shows behind each server that the client has gone.
    ///
    /// A stop ends one wait early, by a signal that may interrupt a system call of the handler's, too. A handler that goes
    /// on sleeps in full, and is told at the end of each wait.
    ///
    /// Without [`Server::multiplex`](crate::Server::multiplex) an abort is seen, and a management record answered, if it is
    /// the next to come and what came of the body was read, or is little. The end of the connection is seen within a second
    /// or two; over TCP not while the peer has more to send than the system holds for us. Behind the [end](Self::finish) of
    /// the response it is a sleep that a stop ends.
    ///
    /// ```
    /// # use fcgi_app::{Body, Request, Response, Waited};
    /// # use std::io::{self, Write};
    /// # use std::time::Duration;
    /// fn clock(_: &Request, _: &mut Body, out: &mut Response) -> io::Result<()> {
    ///     out.content_type("text/event-stream").set("X-Accel-Buffering", "no"); // nginx would collect it
    ///     for seconds in 0.. {
    ///         write!(out, "data: {seconds}\n\n")?;
    ///         out.flush()?;
    ///         if out.wait(Duration::from_secs(1))? == Waited::Stopping {
    ///             break; // its client will connect again
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// `ConnectionAborted` when it is not wanted any more.
    pub fn wait(&self, time: Duration) -> io::Result<Waited> {
        self.output.wait(time, !self.has_heard_stop.get());
        let is_stopping = self.is_stopping();
        self.has_heard_stop.set(is_stopping);
        match is_stopping {
            _ if self.is_gone() => Err(aborted("the web server gave the request up")),
            true => Ok(Waited::Stopping),
            false => Ok(Waited::Elapsed),
        }
    }

    /// Whether the server is stopping: it waits for this handler no longer than [`Limits::stop_timeout`](crate::Limits::stop_timeout).
    pub fn is_stopping(&self) -> bool {
        self.output.is_stopping()
    }

    /// Ends the response while the handler works on: the web server has all of it, and its connection is given away, to be
    /// served by another thread, or closed if it was not kept, if the body of the request was not read to its end or another
    /// request was read behind it, or if no thread is left. From then on writes fail, and no more of the body is read.
    ///
    /// The handler counts as at work until it returns, for [`Limits::connections`](crate::Limits::connections) and
    /// [`Limits::handler_time`](crate::Limits::handler_time), and a stop waits for it, for
    /// [`Limits::stop_timeout`](crate::Limits::stop_timeout) at most. What it fails with is logged. If the work is to be done
    /// although the client has gone, ignore `ConnectionAborted`. A CGI program's response ends with the program.
    ///
    /// # Errors
    /// `InvalidInput` when the response is not as it should be, as after a misuse or when its body is shorter than its
    /// `Content-Length`; `ConnectionAborted` when it is not wanted any more; else the socket's error.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.is_over() {
            return Ok(());
        }
        if let Some(fault) = self.fault() {
            return Err(io::Error::new(ErrorKind::InvalidInput, fault));
        }
        if !self.output.may_send() {
            return Err(aborted("the web server gave the request up"));
        }
        self.end()?;
        self.head = Head::Over;
        self.output.detach();
        Ok(())
    }

    /// Whether the response was ended by its handler.
    pub(crate) fn is_over(&self) -> bool {
        self.head == Head::Over
    }

    /// Whether it is known that the web server or its client is not there for the response any more; one that has ended
    /// was there for it.
    pub(crate) fn is_gone(&self) -> bool {
        !self.is_over() && (!self.output.may_send() || self.output.is_gone())
    }

    /// Whether some of the answer was sent, so that its status and headers can no longer change.
    pub fn is_sent(&self) -> bool {
        matches!(self.head, Head::Sent | Head::Over)
    }

    /// Discards everything that was written and not sent: status, headers, body and misuses. Refused once part of the
    /// response was sent.
    pub fn reset(&mut self) -> &mut Self {
        if self.is_sent() {
            return self.refuse("part of the response was already sent");
        }
        self.buffer.truncate(FRONT);
        (self.head, self.status, self.reason) = (Head::Open, 200, None);
        (self.length, self.body_len, self.misuse) = (Length::Counted, 0, None);
        self
    }

    /// Marks the response as failed: when the handler returns, it ends as that of a handler that failed.
    pub fn abort(&mut self) {
        self.is_aborted = true;
    }

    /// Reports a misuse by the next write, unless there was one before.
    pub(crate) fn refuse(&mut self, misuse: &str) -> &mut Self {
        self.misuse.get_or_insert_with(|| misuse.into());
        self
    }

    #[cold]
    #[inline(never)]
    fn refuse_header(&mut self, name: &str, why: &str) -> &mut Self {
        self.misuse.get_or_insert_with(|| format!("header '{}': {why}", name.escape_debug()).into());
        self
    }

    /// Announces a body of `length` bytes, unless it has begun; `true` if it is only to be announced.
    pub(crate) fn begin_body(&mut self, length: u64) -> bool {
        if self.head == Head::Open && self.length == Length::Counted {
            self.set("Content-Length", length.to_string());
        }
        if !self.has_body() {
            self.body_len += length;
        }
        !self.has_body()
    }

    /// Says that the web server puts another body in the place of this one.
    pub(crate) fn replaced(&mut self) -> &mut Self {
        self.length = Length::Replaced;
        self
    }

    /// Puts a short text with this status in the place of what was not sent yet; what was sent is broken off.
    pub(crate) fn fail(&mut self, app_status: u32, status: u16) {
        if self.app_status == 0 {
            self.app_status = app_status;
        }
        self.is_aborted = true;
        if self.is_sent() {
            return;
        }
        self.reset().status(status).content_type("text/plain");
        // The text fits the empty buffer, so nothing is sent and nothing can fail.
        let _ = writeln!(self, "{status} {}", reason(status));
    }

    /// Whether it may be sent yet.
    pub(crate) fn may_leave(&self) -> bool {
        self.output.may_answer()
    }

    /// Begins the application's page for a status in the place of what was not sent.
    pub(crate) fn begin_page(&mut self, status: u16) {
        self.is_aborted = false;
        self.reset().status(status);
    }

    /// Why the response is not what it should be, though its handler succeeded.
    pub(crate) fn fault(&self) -> Option<String> {
        if let Some(misuse) = &self.misuse {
            return Some(misuse.to_string());
        }
        if self.is_aborted {
            return Some("the handler aborted the response".into());
        }
        match self.length {
            Length::Announced(length) if self.has_body() && self.body_len < length => {
                Some(format!("the body has {} of the {length} bytes of its Content-Length", self.body_len))
            }
            _ => None,
        }
    }

    /// Whether a body is sent, if there is one.
    fn has_body(&self) -> bool {
        !self.is_head && has_body(self.status)
    }

    /// Whether the client cannot know yet that it has all.
    fn is_owed(&self) -> bool {
        self.has_body() && !matches!(self.length, Length::Announced(length) if self.body_len >= length)
    }

    /// Completes the header section.
    fn complete_head(&mut self) {
        self.buffer.extend_from_slice(b"\r\n");
        (self.head, self.body_at) = (Head::Complete, self.buffer.len());
    }

    /// Counts `len` bytes more of the body; `false` if there is nothing to keep of them.
    #[inline]
    fn begin_write(&mut self, len: usize) -> io::Result<bool> {
        let body_len = self.body_len + len as u64;
        if let Length::Announced(length) = self.length {
            if body_len > length && self.has_body() {
                self.refuse("the body is longer than its Content-Length");
            }
        }
        if let Some(misuse) = &self.misuse {
            return Err(io::Error::new(ErrorKind::InvalidInput, &**misuse));
        }
        if !self.output.may_send() {
            return Err(aborted("the web server aborted the request"));
        }
        if self.is_over() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the response has ended"));
        }
        if self.head == Head::Open && len > 0 {
            self.complete_head();
        }
        self.body_len = body_len;
        Ok(self.has_body() && len > 0)
    }

    /// Adds `len` bytes of the body to the buffer, or sends both if that is too small.
    fn write_more(&mut self, pieces: &[IoSlice<'_>], len: usize) -> io::Result<()> {
        let fits = self.buffer.len() + len <= FRONT + BUFFER;
        if len >= BUFFER && !fits {
            return self.send(None, pieces, &[]);
        }
        if !fits {
            self.send(None, &[], &[])?;
        }
        for piece in pieces {
            self.buffer.extend_from_slice(piece);
        }
        Ok(())
    }
}

impl Write for Response<'_> {
    /// Takes all of `bytes` or fails: `InvalidInput` after a misuse, `ConnectionAborted` after an abort, else the
    /// socket's error.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.begin_write(bytes.len())? {
            if self.buffer.len() + bytes.len() <= FRONT + BUFFER {
                self.buffer.extend_from_slice(bytes);
            } else {
                self.write_more(&[IoSlice::new(bytes)], bytes.len())?;
            }
        }
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes).map(drop)
    }

    /// The same for up to 64 pieces, which leave together, uncopied unless they are small.
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let pieces = &pieces[pieces.iter().take_while(|piece| piece.is_empty()).count()..];
        let pieces = &pieces[..pieces.len().min(PIECES)];
        let len = pieces.iter().map(|piece| piece.len()).sum();
        if self.begin_write(len)? {
            self.write_more(pieces, len)?;
        }
        Ok(len)
    }

    /// Sends what was written so far, headers included, to the web server.
    fn flush(&mut self) -> io::Result<()> {
        if self.head == Head::Open && self.misuse.is_none() {
            self.complete_head();
        }
        self.write(&[])?;
        self.send(None, &[], &[])
    }
}
