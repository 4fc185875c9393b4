use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use std::os::fd::BorrowedFd;

use crate::source::Source;
use crate::{HttpError, Request};

/// The body of a request, `FCGI_STDIN`, read as it comes; in a [`Filter`](crate::Filter) the file behind it too.
///
/// No more is read ahead of the handler than the connection's buffer holds, 4 KiB, or 256 KiB while
/// [`Limits::budget`](crate::Limits::budget) has them, so a slow handler slows its client down.
/// nginx, mod_fcgid and Caddy stop sending a body when the answer to it begins: read it to its end first, or as far as
/// you want it, unless you know your web server.
///
/// As a [`BufRead`] it lends the bytes in place, without copying.
///
/// # Errors
/// - `UnexpectedEof` at the end of a body that is shorter than its `CONTENT_LENGTH`: an upload that was cut must not
///   pass for a whole one;
/// - `InvalidData` when it is longer than its `CONTENT_LENGTH`, at the read that would go beyond it;
/// - `FileTooLarge` when it goes over [`Limits::body_len`](crate::Limits::body_len);
/// - `ConnectionAborted` when the web server gave the request up, by `FCGI_ABORT_REQUEST` or by closing;
/// - `TimedOut` when no byte came for as long as [`Limits::silence`](crate::Limits::silence);
/// - `InvalidData` when it broke the protocol.
///
/// Each of them comes again at every later read.
pub struct Body<'c> {
    source: &'c mut dyn Source,
    request: Request<'c>,
    /// How long the open stream is, as a param promises.
    promised: Option<u64>,
    /// Bytes of it that were read.
    taken: u64,
    /// Bytes that may still come.
    allowed: u64,
    /// Whether more came.
    too_large: bool,
}

impl<'c> Body<'c> {
    /// The body of a request, of which no more than `limit` bytes are given.
    pub(crate) fn new(source: &'c mut dyn Source, request: Request<'c>, limit: Option<u64>) -> Self {
        Self {
            source,
            request,
            promised: request.content_length(),
            taken: 0,
            allowed: limit.unwrap_or(u64::MAX),
            too_large: false,
        }
    }

    /// Writes what is left of the body to `out`, without copying it, and gives its length. As much as was read at once is
    /// written at once, by [`write_vectored`](Write::write_vectored).
    ///
    /// # Errors
    /// Those of reading, and those of writing.
    pub fn copy_to(&mut self, out: &mut (impl Write + ?Sized)) -> io::Result<u64> {
        let mut copied = 0;
        loop {
            let mut pieces = [IoSlice::new(&[]); 16];
            let left = self.left();
            let (count, len) = self.source.fill_vectored(&mut pieces)?;
            let written = if len > 0 && len as u64 <= left {
                out.write_vectored(&pieces[..count])
            } else {
                // The end of the body, or of what is allowed of it.
                match self.fill_buf()? {
                    [] => return Ok(copied),
                    bytes => out.write(bytes),
                }
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.consume(written);
                    copied += written as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What is there of the body, in place, without waiting: for a handler that has other things to wait for, too, such as
    /// a process. [`consume`](BufRead::consume) takes it; nothing is the end. [`Limits::silence`](crate::Limits::silence)
    /// does not apply.
    ///
    /// # Errors
    /// `WouldBlock` when more is still to come; else those of reading.
    pub fn fill_now(&mut self) -> io::Result<&[u8]> {
        self.fill_by(false)
    }

    /// The connection, for `poll` and nothing else: readable when [`fill_now`](Self::fill_now) may have more, hung up when
    /// the web server has closed it. `None` when nothing ever has to be waited for, and with
    /// [`Server::multiplex`](crate::Server::multiplex).
    pub fn connection(&self) -> Option<BorrowedFd<'_>> {
        self.source.connection()
    }

    /// Goes on with `FCGI_DATA`, the file a [`Filter`](crate::Filter) is given; what was not read of the request's body
    /// is skipped. From now on this reads the file, of which `FCGI_DATA_LENGTH` promises the length.
    ///
    /// # Errors
    /// Those of reading the body to its end. In other roles than the Filter's there is no file: `Unsupported`.
    pub fn data(&mut self) -> io::Result<&mut Self> {
        io::copy(self, &mut io::sink())?;
        self.source.open_data()?;
        (self.promised, self.taken, self.allowed) = (self.request.data_length(), 0, u64::MAX);
        Ok(self)
    }

    /// Bytes that may still come, as far as is known.
    fn left(&self) -> u64 {
        self.allowed.min(self.promised.map_or(u64::MAX, |promised| promised.saturating_sub(self.taken)))
    }

    /// What is there of the body, as far as it is allowed, waiting for it if so wanted.
    fn fill_by(&mut self, wait: bool) -> io::Result<&[u8]> {
        let left = self.left();
        let bytes = if wait { self.source.fill()? } else { self.source.fill_now()? };
        match bytes {
            [] if self.promised.is_some_and(|promised| promised > self.taken) => {
                Err(io::Error::new(ErrorKind::UnexpectedEof, "the body is shorter than was promised"))
            }
            [] => Ok(bytes),
            _ if self.allowed == 0 => {
                self.too_large = true;
                let error = HttpError::new(413, "the body is longer than allowed");
                Err(io::Error::new(ErrorKind::FileTooLarge, error))
            }
            _ if left == 0 => Err(io::Error::new(ErrorKind::InvalidData, "the body is longer than was promised")),
            _ => Ok(&bytes[..usize::try_from(left).map_or(bytes.len(), |left| bytes.len().min(left))]),
        }
    }

    /// Whether a read failed because there is more than is allowed.
    pub(crate) fn is_too_large(&self) -> bool {
        self.too_large
    }
}

impl BufRead for Body<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill_by(true)
    }

    fn consume(&mut self, amount: usize) {
        self.source.consume(amount);
        self.taken += amount as u64;
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
