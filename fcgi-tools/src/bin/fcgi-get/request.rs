//! The request.

use fcgi_proto::{BeginRequest, Header, Pair, RecordType, Role, records};

use super::body::Body;

/// Every connection has one request.
pub(super) const ID: u16 = 1;

#[derive(Debug)]
pub(super) struct Request {
    pub(super) role: Role,
    pub(super) params: Params,
    /// What the user knows better.
    pub(super) overrides: Params,
    pub(super) body: Option<Body>,
    /// For a filter.
    pub(super) data: Option<Body>,
}

/// Names and values, each name once.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(Vec<u8>, Vec<u8>)>);

impl Params {
    /// What a web server would say of the request.
    pub(super) fn new(method: &[u8], uri: &[u8]) -> Self {
        let (path, query) = match uri.iter().position(|&byte| byte == b'?') {
            Some(at) => (&uri[..at], &uri[at + 1..]),
            None => (uri, &b""[..]),
        };
        let mut params = Params::default();
        let version = concat!("fcgi-get/", env!("CARGO_PKG_VERSION"));
        for (name, value) in [
            ("GATEWAY_INTERFACE", &b"CGI/1.1"[..]),
            ("SERVER_SOFTWARE", version.as_bytes()),
            ("SERVER_PROTOCOL", b"HTTP/1.1"),
            ("SERVER_NAME", b"localhost"),
            ("SERVER_PORT", b"80"),
            ("HTTP_HOST", b"localhost"),
            ("REMOTE_ADDR", b"127.0.0.1"),
            ("REQUEST_METHOD", method),
            ("REQUEST_URI", uri),
            ("SCRIPT_NAME", path),
            ("SCRIPT_FILENAME", path),
            ("DOCUMENT_URI", path),
            ("QUERY_STRING", query),
            // php-cgi wants to know that a web server sent it.
            ("REDIRECT_STATUS", b"200"),
        ] {
            params.set(name.as_bytes(), value);
        }
        params
    }

    /// Adds a param, or replaces its value.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) {
        let value = value.to_vec();
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some(param) => param.1 = value,
            None => self.0.push((name.to_vec(), value)),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in &self.0 {
            let pair = Pair { name, value };
            let at = bytes.len();
            bytes.resize(at + pair.encoded_len(), 0);
            pair.encode(&mut bytes[at..]).expect("it has the room it asked for, and an argument is no 2 GiB");
        }
        bytes
    }
}

impl Request {
    /// The records in front of the body.
    pub(super) fn head(&mut self) -> Vec<u8> {
        if let Some(body) = &self.body {
            self.params.set(b"CONTENT_TYPE", b"application/x-www-form-urlencoded");
            if let Some(length) = body.length() {
                self.params.set(b"CONTENT_LENGTH", length.to_string().as_bytes());
            }
        }
        for (name, value) in &self.overrides.0 {
            self.params.set(name, value);
        }

        let mut head = BeginRequest::new(self.role, false).record(ID).to_vec();
        for (header, content) in records(RecordType::Params, ID, &self.params.encode(), Header::MAX_CONTENT) {
            head.extend(header.encode());
            head.extend(content);
        }
        head.extend(Header::new(RecordType::Params, ID, 0).encode());
        head
    }
}
