use std::fmt::Display;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::time::Duration;

use fcgi_proto::{EndRequest, Header, ProtocolStatus, RecordType};

use crate::Cookie;
use crate::error_log::{ErrorLog, Lines, Scope};
use crate::wire::{Output, aborted};

/// The answer to a request: status and headers first, then the body by [`Write`].
///
/// The header section is complete with the first byte of the body, and leaves together with it in one record. Small
/// writes are collected; slices larger than the buffer go out uncopied. When the whole answer fits the buffer it
/// leaves in a single write with the end of the request, and with a `Content-Length`. `Status:` is always written.
///
/// CR, LF and NUL in a header, an invalid name, and a header after the first byte of the body are refused: the next
/// write fails with `InvalidInput`, and if nothing was sent by then the web server gets a `500`.
pub struct Response<'c> {
    output: &'c dyn Output,
    id: u16,
    /// [`FRONT`] bytes of room, then what will be sent next: headers, a blank line, body.
    buffer: &'c mut Vec<u8>,
    head: Head,
    status: u16,
    app_status: u32,
    has_length: bool,
    /// Whether this answers a HEAD request, so that the body is counted and dropped.
    is_head: bool,
    /// Bytes of the body written so far.
    body_len: u64,
    log: Scope,
    /// A misuse to be reported by the next write.
    misuse: Option<&'static str>,
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
}

/// Room in front of the buffer: a record header, and what is known only when the header section leaves: the lines of
/// `Status` and `Content-Length`.
const FRONT: usize = Header::LEN + 88;
/// Room for a small answer at once, in bytes.
const SMALL: usize = FRONT + 80;
/// Content collected before it is sent, in bytes.
const BUFFER: usize = 8192;
/// The largest content of an output record: a multiple of 8, so that none needs padding.
const MAX_CONTENT: u16 = 65528;
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
            status: 200,
            app_status: 0,
            has_length: false,
            is_head,
            body_len: 0,
            log: Scope::enter(),
            misuse: None,
        }
    }

    /// Sets the HTTP status, 100 to 999; 200 if this is never called.
    pub fn status(&mut self, code: u16) -> &mut Self {
        match (self.head, code) {
            (Head::Open | Head::Complete, 100..=999) => self.status = code,
            (Head::Open | Head::Complete, _) => return self.refuse("an HTTP status is a number from 100 to 999"),
            (Head::Sent, _) => return self.refuse("the status was already sent"),
        }
        self
    }

    /// Adds a header. Names may repeat, as `Set-Cookie` does; the status is set by [`status`](Self::status) only.
    pub fn header(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        if !is_token(name) || name.eq_ignore_ascii_case("Status") {
            return self.refuse("invalid header name");
        }
        self.has_length |= name.eq_ignore_ascii_case("Content-Length");
        self.add_header(name, value.as_ref())
    }

    fn add_header(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if self.head != Head::Open {
            return self.refuse("the header section ended with the first byte of the body");
        }
        if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return self.refuse("CR, LF or NUL in a header value");
        }
        self.buffer.reserve(name.len() + value.len() + 4);
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b": ");
        self.buffer.extend_from_slice(value);
        self.buffer.extend_from_slice(b"\r\n");
        self
    }

    /// Adds the `Content-Type` header.
    pub fn content_type(&mut self, value: &str) -> &mut Self {
        self.add_header("Content-Type", value.as_bytes())
    }

    /// Adds a `Set-Cookie` header. A cookie that clients would misread is refused.
    pub fn cookie(&mut self, cookie: &Cookie<'_>) -> &mut Self {
        match cookie.fault() {
            Some(fault) => self.refuse(fault),
            None => self.header("Set-Cookie", cookie.to_string()),
        }
    }

    /// Adds a variable that a request gets which an [`Authorizer`](crate::Authorizer) lets go on: the header
    /// `Variable-NAME` (specification section 6.3).
    pub fn variable(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        if name.is_empty() {
            return self.refuse("a variable has a name");
        }
        self.header(&format!("Variable-{name}"), value)
    }

    /// Forbids everybody to keep a copy of the answer: `Cache-Control: no-store`.
    pub fn no_store(&mut self) -> &mut Self {
        self.header("Cache-Control", "no-store")
    }

    /// Writes a body of plain text, with its `Content-Type`.
    ///
    /// # Errors
    /// Those of writing.
    pub fn text(&mut self, text: impl Display) -> io::Result<()> {
        write!(self.content_type("text/plain; charset=utf-8"), "{text}")
    }

    /// Writes a body of HTML, with its `Content-Type`. It is not escaped: what clients sent must not be in it as it
    /// came.
    ///
    /// # Errors
    /// Those of writing.
    pub fn html(&mut self, html: impl Display) -> io::Result<()> {
        write!(self.content_type("text/html; charset=utf-8"), "{html}")
    }

    /// Where to write lines for the error log of the web server, `FCGI_STDERR`.
    ///
    /// Lines leave behind the body, in the write that ends the answer. Sooner, nginx would refuse the answer if they
    /// are more than its header buffer holds, and HAProxy 2.6 would die of them. Each is a record of its own, of which
    /// nginx logs 2 KiB and mod_fcgid 8; it gets its end, should it lack it, and a NUL in it becomes `?`. More than 256
    /// KiB, and what is said of a request that is aborted, goes to the process's stderr.
    ///
    /// ```
    /// # use fcgi_app::{Body, Request, Response};
    /// # use std::io::{self, Write};
    /// # fn handle(request: &Request, _: &mut Body, out: &mut Response) -> io::Result<()> {
    /// writeln!(out.error_log(), "nobody called {} is known here", request.remote_user().unwrap_or("?"))?;
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

    /// Whether the answer is still wanted, as far as is known: not after an abort or the loss of the connection. With
    /// [`Server::multiplex`](crate::Server::multiplex) that is known at once, for a handler that computes for long; else
    /// only after a read, a write or a [`wait`](Self::wait).
    pub fn is_wanted(&self) -> bool {
        self.output.is_wanted()
    }

    /// Sleeps for `time`, or until the answer [is not wanted](Self::is_wanted).
    ///
    /// Without [`Server::multiplex`](crate::Server::multiplex) nobody else reads meanwhile: an abort is seen, and a
    /// management record answered, if it is the next to come and what came of the body was read, or is little.
    ///
    /// # Errors
    /// `ConnectionAborted` when it is not.
    pub fn wait(&self, time: Duration) -> io::Result<()> {
        self.output.wait(time);
        if self.is_wanted() { Ok(()) } else { Err(aborted("the web server aborted the request")) }
    }

    /// Whether some of the answer was sent, so that its status and headers can no longer change.
    pub fn is_sent(&self) -> bool {
        self.head == Head::Sent
    }

    /// Reports a misuse by the next write.
    pub(crate) fn refuse(&mut self, misuse: &'static str) -> &mut Self {
        self.misuse = Some(misuse);
        self
    }

    /// Announces a body of `length` bytes, unless it has begun; `true` if it is only to be announced.
    pub(crate) fn begin_body(&mut self, length: u64) -> bool {
        if self.head == Head::Open && !self.has_length {
            self.header("Content-Length", length.to_string());
        }
        if self.is_head {
            self.body_len += length;
        }
        self.is_head
    }

    /// Has no `Content-Length` added.
    pub(crate) fn without_length(&mut self) -> &mut Self {
        self.has_length = true;
        self
    }

    /// Replaces whatever was not sent yet by a short text with this status.
    pub(crate) fn replace(&mut self, status: u16) {
        if self.is_sent() {
            return;
        }
        self.buffer.truncate(FRONT);
        (self.head, self.has_length, self.body_len, self.misuse) = (Head::Open, false, 0, None);
        self.status(status).content_type("text/plain");
        // The text fits the empty buffer, so nothing is sent and nothing can fail.
        let _ = writeln!(self, "{status} {}", reason(status));
    }

    /// A misuse that no write has reported yet.
    pub(crate) fn misuse(&self) -> Option<&'static str> {
        self.misuse
    }

    /// Sends what is left, the end of the streams and `FCGI_END_REQUEST`, in one write.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let is_wanted = self.output.is_wanted();
        let lines = if is_wanted { self.log.take() } else { Lines::default() };
        let end = EndRequest { app_status: self.app_status, protocol_status: ProtocolStatus::RequestComplete };
        let mut tail = [0; 32];
        tail[..8].copy_from_slice(&Header::new(RecordType::Stderr, self.id, 0).encode());
        tail[8..16].copy_from_slice(&Header::new(RecordType::Stdout, self.id, 0).encode());
        tail[16..].copy_from_slice(&end.record(self.id));
        let tail = if self.log.is_open() { &tail[..] } else { &tail[8..] };
        if !is_wanted {
            // Aborted: all that is still wanted is the end. Lost: the write says so.
            return self.write_records(tail, true);
        }
        if self.head == Head::Open {
            self.buffer.extend_from_slice(b"\r\n");
        }
        let length = (self.head != Head::Sent && !self.has_length && has_body(self.status)).then_some(self.body_len);
        let sent = match lines.is_empty() {
            true => self.send(length, &[], tail),
            false => self.send(length, &[], &[&lines.records(self.id), tail].concat()),
        };
        sent.inspect_err(|_| lines.spill())
    }

    /// Counts `len` bytes more of the body; `false` if there is nothing to keep of them.
    #[inline]
    fn begin_write(&mut self, len: usize) -> io::Result<bool> {
        if let Some(misuse) = self.misuse {
            return Err(io::Error::new(ErrorKind::InvalidInput, misuse));
        }
        if !self.output.is_wanted() {
            return Err(aborted("the web server aborted the request"));
        }
        if self.head == Head::Open && len > 0 {
            self.buffer.extend_from_slice(b"\r\n");
            self.head = Head::Complete;
        }
        self.body_len += len as u64;
        Ok(!self.is_head && len > 0)
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

    /// Sends the buffer, then `body`, as STDOUT records, then the records `tail`.
    fn send(&mut self, length: Option<u64>, body: &[IoSlice<'_>], tail: &[u8]) -> io::Result<()> {
        if !self.output.may_answer() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "a Filter answers after the end of the request's body",
            ));
        }
        let mut start = FRONT;
        if self.head != Head::Sent {
            start = self.put_front(start, length);
            self.head = Head::Sent;
        }
        let content = self.buffer.len() - start + body.iter().map(|piece| piece.len()).sum::<usize>();
        let is_end = !tail.is_empty();
        let sent = match u16::try_from(content) {
            Ok(0) => self.write_records(tail, is_end),
            Ok(len @ ..=MAX_CONTENT) if body.is_empty() => {
                self.put_header(start, len);
                self.buffer.extend_from_slice(tail);
                self.write_records(&self.buffer[start - Header::LEN..], is_end)
            }
            _ => self.send_records(start, content, body, tail),
        };
        self.buffer.truncate(FRONT);
        sent
    }

    /// The general case of [`send`](Self::send): `content` bytes in as many records and pieces as it takes, uncopied.
    #[inline(never)] // and so off the stack of small answers
    fn send_records(&self, start: usize, content: usize, body: &[IoSlice<'_>], tail: &[u8]) -> io::Result<()> {
        /// Slices for one call: enough for 16 MiB, and below the 1024 that Linux takes.
        const SLICES: usize = 520;
        let header = |len| Header::new(RecordType::Stdout, self.id, len).encode();
        // All records are full but the last one.
        let (full, last) = (header(MAX_CONTENT), header((content % usize::from(MAX_CONTENT)) as u16));
        let most = (2 * (content / usize::from(MAX_CONTENT)) + body.len() + 4).min(SLICES);
        let (mut few, mut many) = ([IoSlice::new(&[]); 32], Vec::new());
        let slices = if most > few.len() {
            many.resize(most, IoSlice::new(&[]));
            &mut many[..]
        } else {
            &mut few[..most]
        };
        let is_shared = self.output.is_shared();
        let (mut count, mut left, mut record_left) = (0, content, 0);
        for piece in [&self.buffer[start..]].into_iter().chain(body.iter().map(|piece| &**piece)) {
            let mut piece = piece;
            while !piece.is_empty() {
                if record_left == 0 {
                    // Whole records leave: another answer may go out between two calls.
                    if (is_shared && count > 0) || count + body.len() + 3 > SLICES {
                        self.output.send(&mut slices[..count], false)?;
                        count = 0;
                    }
                    record_left = left.min(MAX_CONTENT.into());
                    slices[count] = IoSlice::new(if record_left == usize::from(MAX_CONTENT) { &full } else { &last });
                    count += 1;
                }
                let (now, later) = piece.split_at(piece.len().min(record_left));
                slices[count] = IoSlice::new(now);
                count += 1;
                record_left -= now.len();
                left -= now.len();
                piece = later;
            }
        }
        slices[count] = IoSlice::new(tail);
        self.output.send(&mut slices[..=count], !tail.is_empty())
    }

    /// Sends records that are encoded already.
    fn write_records(&self, records: &[u8], is_end: bool) -> io::Result<()> {
        self.output.send(&mut [IoSlice::new(records)], is_end)
    }

    /// Writes the lines that belong in front of the header section, the last first, and gives where they begin.
    fn put_front(&mut self, end: usize, length: Option<u64>) -> usize {
        let mut start = end;
        // The longest status line and the longest length fit: 45 and 38 bytes of 88.
        let mut prepend = |bytes: &[u8]| {
            self.buffer[start - bytes.len()..start].copy_from_slice(bytes);
            start -= bytes.len();
        };
        if let Some(length) = length {
            prepend(b"\r\n");
            prepend(decimal(length, &mut [0; 20]));
            prepend(b"Content-Length: ");
        }
        if self.status == 200 {
            prepend(b"Status: 200 OK\r\n");
        } else {
            prepend(b"\r\n");
            prepend(reason(self.status).as_bytes());
            prepend(b" ");
            prepend(decimal(self.status.into(), &mut [0; 20]));
            prepend(b"Status: ");
        }
        start
    }

    fn put_header(&mut self, start: usize, content: u16) {
        let header = Header::new(RecordType::Stdout, self.id, content).encode();
        self.buffer[start - Header::LEN..start].copy_from_slice(&header);
    }
}

impl Write for Response<'_> {
    /// Takes all of `bytes` or fails: `InvalidInput` after a misuse, `ConnectionAborted` after an abort, else what the
    /// socket says.
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
            self.buffer.extend_from_slice(b"\r\n");
            self.head = Head::Complete;
        }
        self.write(&[])?;
        self.send(None, &[], &[])
    }
}

/// The digits of a number. By hand: the standard formatting of both lines costs an answer 700 instructions more.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

/// Whether `name` is a token, RFC 9110 section 5.6.2.
pub(crate) fn is_token(name: &str) -> bool {
    let is_other = |byte| matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_other(byte))
}

/// Whether an answer with this status may have a body, and so a `Content-Length`.
fn has_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

/// The reason phrase of a status, for people who read logs; at most 31 bytes.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        for number in [0, 7, 10, 200, 1 << 32, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn the_longest_lines_fit_the_front() {
        let longest = (0..=999).map(|status| reason(status).len()).max().expect("some");
        assert!("Status: 999 \r\n".len() + longest + "Content-Length: \r\n".len() + 20 <= FRONT - Header::LEN);
    }
}
