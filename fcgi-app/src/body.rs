use std::io::{self, BufRead, ErrorKind, Read};

use crate::Request;
use crate::source::Source;

/// The body of a request, `FCGI_STDIN`, read as it comes; in a [`Filter`](crate::Filter) the file behind it too.
///
/// Nothing is read ahead of the handler beyond the connection's buffer, so a slow handler slows its client down.
/// nginx, mod_fcgid and Caddy stop sending a body when the answer to it begins: read it to its end first, or as far as
/// you want it, unless you know your web server.
///
/// As a [`BufRead`] it lends the bytes in place, without copying.
///
/// # Errors
/// - `UnexpectedEof` at the end of a body that is shorter than its `CONTENT_LENGTH`: an upload that was cut must not
///   pass for a whole one;
/// - `FileTooLarge` when it goes over [`Limits::body_len`](crate::Limits::body_len);
/// - `ConnectionAborted` when the web server gave the request up, by `FCGI_ABORT_REQUEST` or by closing;
/// - `TimedOut` when no byte came for as long as [`Limits::silence`](crate::Limits::silence);
/// - `InvalidData` when it broke the protocol.
///
/// Each of them comes again at every later read.
pub struct Body<'c> {
    source: &'c mut dyn Source,
    /// Bytes that were promised and have not come.
    missing: u64,
    /// Bytes that may still come.
    allowed: u64,
    /// Whether more came.
    too_large: bool,
    /// How long the file of a Filter is to be.
    data_length: u64,
}

/// How long the input streams of a request are to be, and may be.
pub(crate) struct Lengths {
    /// `CONTENT_LENGTH`, if it promises something.
    pub(crate) body: Option<u64>,
    /// `FCGI_DATA_LENGTH`, likewise.
    pub(crate) data: Option<u64>,
    /// The most bytes of a body.
    pub(crate) limit: Option<u64>,
}

impl Lengths {
    pub(crate) fn of(request: &Request<'_>, limit: Option<u64>) -> Self {
        Self { body: request.content_length(), data: request.data_length(), limit }
    }
}

impl<'c> Body<'c> {
    pub(crate) fn new(source: &'c mut dyn Source, lengths: &Lengths) -> Self {
        Self {
            source,
            missing: lengths.body.unwrap_or(0),
            allowed: lengths.limit.unwrap_or(u64::MAX),
            too_large: false,
            data_length: lengths.data.unwrap_or(0),
        }
    }

    /// Goes on with `FCGI_DATA`, the file a [`Filter`](crate::Filter) is given; what was not read of the request's body
    /// is skipped. From now on this reads the file, of which `FCGI_DATA_LENGTH` promises the length.
    ///
    /// # Errors
    /// Those of reading the body to its end. In other roles than the Filter's there is no file: `Unsupported`.
    pub fn data(&mut self) -> io::Result<&mut Self> {
        io::copy(self, &mut io::sink())?;
        self.source.open_data()?;
        (self.missing, self.allowed) = (self.data_length, u64::MAX);
        Ok(self)
    }

    /// Whether a read failed because there is more than is allowed.
    pub(crate) fn is_too_large(&self) -> bool {
        self.too_large
    }
}

impl BufRead for Body<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let bytes = self.source.fill()?;
        match bytes {
            [] if self.missing > 0 => {
                Err(io::Error::new(ErrorKind::UnexpectedEof, "the body is shorter than was promised"))
            }
            [] => Ok(bytes),
            _ if self.allowed == 0 => {
                self.too_large = true;
                Err(io::Error::new(ErrorKind::FileTooLarge, "the body is longer than allowed"))
            }
            _ => Ok(&bytes[..usize::try_from(self.allowed).map_or(bytes.len(), |allowed| bytes.len().min(allowed))]),
        }
    }

    fn consume(&mut self, amount: usize) {
        self.source.consume(amount);
        self.missing = self.missing.saturating_sub(amount as u64);
        self.allowed = self.allowed.saturating_sub(amount as u64);
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut bytes = self.fill_buf()?;
        let read = bytes.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
