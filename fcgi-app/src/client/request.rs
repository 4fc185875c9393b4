use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};

use fcgi_proto::{BeginRequest, Header, Pair, RecordType, Role, records};

/// A request as a web server sends it: a role, params, a body, and a Filter's data.
///
/// ```
/// use fcgi_app::client::Request;
///
/// let request = Request::new("POST", "/guests?lang=en")
///     .param("CONTENT_TYPE", "text/plain")
///     .param("REMOTE_USER", "ada")
///     .body("Hello");
/// ```
pub struct Request<'b> {
    role: Role,
    params: Vec<(Vec<u8>, Vec<u8>)>,
    body: Box<dyn Read + 'b>,
    data: Box<dyn Read + 'b>,
}

impl<'b> Request<'b> {
    /// A Responder request with the params that CGI/1.1 (RFC 3875) asks for, from 127.0.0.1 to port 80 of localhost.
    ///
    /// `target` is the path and, behind a `?`, the query. The path becomes `SCRIPT_NAME` as it is, nothing decoded.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self::empty()
            .param("GATEWAY_INTERFACE", "CGI/1.1")
            .param("SERVER_SOFTWARE", concat!("fcgi-app/", env!("CARGO_PKG_VERSION")))
            .param("SERVER_PROTOCOL", "HTTP/1.1")
            .param("SERVER_NAME", "localhost")
            .param("SERVER_PORT", "80")
            .param("REMOTE_ADDR", "127.0.0.1")
            .param("REQUEST_METHOD", method)
            .param("REQUEST_URI", target)
            .param("SCRIPT_NAME", path)
            .param("QUERY_STRING", query)
    }

    /// A Responder request without any params, which no web server sends.
    pub fn empty() -> Self {
        Self { role: Role::Responder, params: Vec::new(), body: Box::new(io::empty()), data: Box::new(io::empty()) }
    }

    /// Sets the role. An Authorizer gets no body, and only a Filter gets data.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Sets a param, in place of one of the same name.
    #[must_use]
    pub fn param(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref().to_vec());
        match self.params.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.params.push((name.to_vec(), value)),
        }
        self
    }

    /// Sets the body, and `CONTENT_LENGTH` to its length.
    #[must_use]
    pub fn body(self, body: &'b (impl AsRef<[u8]> + ?Sized)) -> Self {
        let body = body.as_ref();
        self.param("CONTENT_LENGTH", body.len().to_string()).body_from(body)
    }

    /// Sets the body, to be read from `source` while the request is sent, in pieces of up to 32 KiB. `CONTENT_LENGTH` is
    /// yours to set, where it is known: some applications read no body without it.
    #[must_use]
    pub fn body_from(mut self, source: impl Read + 'b) -> Self {
        self.body = Box::new(source);
        self
    }

    /// Sets a Filter's data, and `FCGI_DATA_LENGTH` to its length.
    #[must_use]
    pub fn data(self, data: &'b (impl AsRef<[u8]> + ?Sized)) -> Self {
        let data = data.as_ref();
        self.param("FCGI_DATA_LENGTH", data.len().to_string()).data_from(data)
    }

    /// Sets a Filter's data, to be read from `source` while the request is sent. `FCGI_DATA_LENGTH` is yours to set.
    #[must_use]
    pub fn data_from(mut self, source: impl Read + 'b) -> Self {
        self.data = Box::new(source);
        self
    }

    /// Leaves nothing of the body but its beginning.
    pub(crate) fn shorten_body(mut self, len: u64) -> Self {
        self.body = Box::new(self.body.take(len));
        self
    }

    /// The records of the request, each of up to `size` bytes of a stream.
    pub(crate) fn into_records(self, keep_conn: bool, size: u16) -> Records<'b> {
        let mut params = Vec::new();
        for (name, value) in &self.params {
            let (pair, at) = (Pair { name, value }, params.len());
            params.resize(at + pair.encoded_len(), 0);
            pair.encode(&mut params[at..]);
        }
        let mut buffer = BeginRequest::new(self.role, keep_conn).record(Records::ID).to_vec();
        for (header, content) in records(RecordType::Params, Records::ID, &params, size) {
            buffer.extend(header.encode());
            buffer.extend_from_slice(content);
        }
        buffer.extend(Header::new(RecordType::Params, Records::ID, 0).encode());
        let streams = match self.role {
            Role::Authorizer => VecDeque::new(),
            Role::Responder => VecDeque::from([(RecordType::Stdin, self.body)]),
            Role::Filter => VecDeque::from([(RecordType::Stdin, self.body), (RecordType::Data, self.data)]),
        };
        Records { buffer, sent: 0, size, streams, ending: Ending::Complete }
    }
}

/// How a request ends, once its first stream did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With all of its streams.
    Complete,
    /// By `FCGI_ABORT_REQUEST`.
    Abort,
    /// In the middle: the web server goes away.
    Cut,
}

/// The records of a request, made as they are sent.
pub(crate) struct Records<'b> {
    buffer: Vec<u8>,
    /// Bytes of the buffer that were sent.
    sent: usize,
    /// The largest content of a record.
    size: u16,
    /// The streams that are to come.
    streams: VecDeque<(RecordType, Box<dyn Read + 'b>)>,
    ending: Ending,
}

impl Records<'_> {
    /// The id of the one request on its connection.
    pub(crate) const ID: u16 = 1;

    /// Has the request end so, instead of after all of its streams.
    pub(crate) fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// What is to be sent next, whole records or the rest of one; empty when everything was.
    ///
    /// # Errors
    /// Those of the body and the data.
    pub(crate) fn unsent(&mut self) -> io::Result<&[u8]> {
        if self.sent == self.buffer.len() {
            self.sent = 0;
            self.buffer.clear();
            if let Some((kind, source)) = self.streams.front_mut() {
                self.buffer.resize(Header::LEN + usize::from(self.size), 0);
                let read = read(source, &mut self.buffer[Header::LEN..]).inspect_err(|_| self.buffer.clear())?;
                self.buffer.truncate(Header::LEN + usize::from(read));
                let header = Header::new(*kind, Self::ID, read);
                self.buffer[..Header::LEN].copy_from_slice(&header.encode());
                if header.content == 0 {
                    self.end_stream();
                }
            }
        }
        Ok(&self.buffer[self.sent..])
    }

    /// The empty record is made that ends the first stream.
    fn end_stream(&mut self) {
        match self.ending {
            Ending::Complete => drop(self.streams.pop_front()),
            Ending::Abort => {
                self.streams.clear();
                self.buffer[..Header::LEN]
                    .copy_from_slice(&Header::new(RecordType::AbortRequest, Self::ID, 0).encode());
            }
            Ending::Cut => {
                self.streams.clear();
                self.buffer.clear();
            }
        }
    }

    /// Says how much of it was sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// Whether everything was sent.
    pub(crate) fn is_all_sent(&self) -> bool {
        self.sent == self.buffer.len() && self.streams.is_empty()
    }
}

/// Reads once, into a buffer that is no larger than a record.
fn read(source: &mut dyn Read, content: &mut [u8]) -> io::Result<u16> {
    loop {
        match source.read(content) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read.map(|read| read as u16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: Request<'_>, size: u16, want: &[u8]) {
        let mut records = request.into_records(false, size);
        let mut wire = Vec::new();
        while let Some(&byte) = records.unsent().expect("memory").first() {
            assert!(!records.is_all_sent());
            wire.push(byte);
            records.sent(1);
        }
        assert!(records.is_all_sent());
        assert_eq!(wire, want, "{}", wire.escape_ascii());
    }

    #[test]
    fn params_and_body() {
        let want = b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0\
            \x01\x04\0\x01\0\x03\0\0\x01\x01A\x01\x04\0\x01\0\x01\0\0b\x01\x04\0\x01\0\0\0\0\
            \x01\x05\0\x01\0\x03\0\0xyz\x01\x05\0\x01\0\x01\0\0!\x01\x05\0\x01\0\0\0\0";
        check(Request::empty().param("A", "a").param("A", "b").body_from(&b"xyz!"[..]), 3, want);
    }

    #[test]
    fn an_authorizer_gets_no_body_a_filter_data() {
        let authorizer = b"\x01\x01\0\x01\0\x08\0\0\0\x02\0\0\0\0\0\0\x01\x04\0\x01\0\0\0\0";
        check(Request::empty().role(Role::Authorizer).body_from(&b"x"[..]), 9, authorizer);
        let filter = b"\x01\x01\0\x01\0\x08\0\0\0\x03\0\0\0\0\0\0\x01\x04\0\x01\0\0\0\0\
            \x01\x05\0\x01\0\0\0\0\x01\x08\0\x01\0\x01\0\0d\x01\x08\0\x01\0\0\0\0";
        check(Request::empty().role(Role::Filter).data_from(&b"d"[..]), 9, filter);
    }
}
