use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::ops::Range;

use fcgi_proto::{EndRequest, ProtocolStatus};

use super::connection::{Connection, Event};
use super::{Error, Head, HeadReader, Records};

/// An answer that is coming: its header section is there, its body is read from it.
///
/// To drop it before its end closes the connection, and so aborts the request.
///
/// # Errors
/// Reading fails with an [`Error`] inside an [`io::Error`] when the answer does not come to its end: a body that was cut
/// never ends like a whole one.
pub struct Response<'c> {
    /// Gone when the answer came to its end, or will not.
    connection: Option<Connection>,
    /// Where the connection is kept afterwards.
    keep: Option<&'c mut Option<Connection>>,
    records: Records<'c>,
    head: Head,
    /// The bytes of the body that came and were not yet read, in the connection's buffer.
    body: Range<usize>,
    stderr: Vec<u8>,
    end: Option<EndRequest>,
}

impl<'c> Response<'c> {
    /// Sends a request's records and waits for the header section.
    pub(super) fn begin(
        mut connection: Connection,
        mut records: Records<'c>,
        keep: Option<&'c mut Option<Connection>>,
    ) -> Result<Self, Error> {
        let (mut reader, mut stderr) = (HeadReader::default(), Vec::new());
        loop {
            match connection.next(&mut records)? {
                Event::Stdout(at) => {
                    let mut piece = connection.content(at.clone());
                    if let Some(head) = reader.read(&mut piece)? {
                        let body = at.end - piece.len()..at.end;
                        return Ok(Self { connection: Some(connection), keep, records, head, body, stderr, end: None });
                    }
                }
                Event::Stderr(at) => keep_some(&mut stderr, connection.content(at)),
                Event::End(end) if end.protocol_status != ProtocolStatus::RequestComplete => {
                    return Err(Error::Refused(end.protocol_status));
                }
                Event::End(end) => return Err(Error::NoHeader(end.app_status)),
            }
        }
    }

    /// The HTTP status: that of the `Status` header, else 302 with a `Location`, else 200.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The value of the first header with this name, in any case; `None` also if it is no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// All headers in the order in which they came, `Status` included.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.head.headers.iter().map(|(name, value)| (&name[..], &value[..]))
    }

    /// What came of `FCGI_STDERR` so far, the first 64 KiB of it.
    pub fn stderr(&self) -> &[u8] {
        &self.stderr
    }

    /// How the request ended, once all of the body was read.
    pub fn end(&self) -> Option<EndRequest> {
        self.end
    }

    /// Reads the rest of the answer, of which the body may have so many bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] with a larger body; else what keeps the answer from coming to its end.
    pub fn collect(mut self, max_body: usize) -> Result<Answer, Error> {
        let mut body = Vec::new();
        let end = loop {
            if let Some(end) = self.advance()? {
                break end;
            }
            let piece = self.piece();
            if piece.len() > max_body - body.len() {
                return Err(Error::TooLarge("body", max_body));
            }
            body.extend_from_slice(piece);
            self.body = 0..0;
        };
        Ok(Answer { head: self.head, body, stderr: self.stderr, end })
    }

    /// Goes on until there are bytes of the body, or the answer is complete.
    fn advance(&mut self) -> Result<Option<EndRequest>, Error> {
        while self.body.is_empty() && self.end.is_none() {
            // While an event is waited for the connection is ours: an error drops it.
            let mut connection =
                self.connection.take().ok_or_else(|| Error::Lost(io::ErrorKind::NotConnected.into()))?;
            match connection.next(&mut self.records)? {
                Event::Stdout(at) => self.body = at,
                Event::Stderr(at) => keep_some(&mut self.stderr, connection.content(at)),
                Event::End(end) if end.protocol_status != ProtocolStatus::RequestComplete => {
                    return Err(Error::Refused(end.protocol_status));
                }
                Event::End(end) => {
                    self.end = Some(end);
                    if let (Some(keep), true) = (self.keep.take(), self.records.is_all_sent()) {
                        *keep = Some(connection);
                    }
                    break;
                }
            }
            self.connection = Some(connection);
        }
        Ok(if self.body.is_empty() { self.end } else { None })
    }

    fn piece(&self) -> &[u8] {
        self.connection.as_ref().map_or(&[], |connection| connection.content(self.body.clone()))
    }
}

impl BufRead for Response<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.advance()?;
        Ok(self.piece())
    }

    fn consume(&mut self, amount: usize) {
        self.body.start = self.body.end.min(self.body.start + amount);
    }
}

impl Read for Response<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// An answer, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) end: EndRequest,
}

impl Answer {
    /// The HTTP status: that of the `Status` header, else 302 with a `Location`, else 200.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The value of the first header with this name, in any case; `None` also if it is no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// All headers in the order in which they came, `Status` included.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.head.headers.iter().map(|(name, value)| (&name[..], &value[..]))
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// What came of `FCGI_STDERR`, the first 64 KiB of it.
    pub fn stderr(&self) -> &[u8] {
        &self.stderr
    }

    /// The appStatus: what a CGI program would have given to `exit`.
    pub fn app_status(&self) -> u32 {
        self.end.app_status
    }
}

/// Adds to what is kept of FCGI_STDERR.
fn keep_some(stderr: &mut Vec<u8>, piece: &[u8]) {
    const MOST: usize = 64 << 10;
    stderr.extend_from_slice(&piece[..piece.len().min(MOST - stderr.len())]);
}
