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
        params.set("GATEWAY_INTERFACE", "CGI/1.1");
        params.set("SERVER_SOFTWARE", concat!("fcgi-get/", env!("CARGO_PKG_VERSION")));
        params.set("SERVER_PROTOCOL", "HTTP/1.1");
        params.set("SERVER_NAME", "localhost");
        params.set("SERVER_PORT", "80");
        params.set("HTTP_HOST", "localhost");
        params.set("REMOTE_ADDR", "127.0.0.1");
        params.set("REQUEST_METHOD", method);
        params.set("REQUEST_URI", uri);
        params.set("SCRIPT_NAME", path);
        params.set("SCRIPT_FILENAME", path);
        params.set("DOCUMENT_URI", path);
        params.set("QUERY_STRING", query);
        // php-cgi wants to know that a web server sent it.
        params.set("REDIRECT_STATUS", "200");
        params
    }

    /// Adds a param, or replaces its value.
    pub(super) fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref(), value.as_ref().to_vec());
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
            self.params.set("CONTENT_TYPE", "application/x-www-form-urlencoded");
            if let Some(length) = body.length() {
                self.params.set("CONTENT_LENGTH", length.to_string());
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
