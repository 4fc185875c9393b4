//! The request, and the thread that sends it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use fcgi_proto::{BeginRequest, Header, Pair, RecordType, Role, records};
use socket2::Socket;

use super::{Sender, usage};
use crate::Error;
use crate::error::Reason;

/// Every connection has one request.
pub(super) const ID: u16 = 1;

/// How much of a body of unknown length is read to find it out.
const AHEAD: u64 = 1024 * 1024;

/// The content of a record of a body.
const PIECE: usize = 32 * 1024;

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

/// Bytes to send, from wherever they come.
pub(super) struct Body {
    bytes: Box<dyn Read + Send>,
    /// `None` is for a pipe.
    length: Option<u64>,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body of {:?} bytes", self.length)
    }
}

impl Body {
    pub(super) fn bytes(bytes: Vec<u8>) -> Self {
        let length = Some(bytes.len() as u64);
        Body { bytes: Box::new(io::Cursor::new(bytes)), length }
    }

    /// From where the file is now to its end.
    pub(super) fn file(mut file: File) -> Result<Self, Error> {
        let about = file.metadata().map_err(|error| unreadable(&error))?;
        let length = match io::Seek::stream_position(&mut file) {
            Ok(at) if about.is_file() => Some(about.len().saturating_sub(at)),
            _ => None,
        };
        Ok(Body { bytes: Box::new(file), length })
    }

    pub(super) fn stdin() -> Result<Self, Error> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|error| unreadable(&error))?;
        Body::file(stdin.into())
    }

    /// Finds out how long it is, if it ends soon.
    fn read_ahead(self) -> io::Result<Self> {
        if self.length.is_some() {
            return Ok(self);
        }
        let (mut ahead, mut rest) = (Vec::new(), self.bytes);
        if (&mut rest).take(AHEAD + 1).read_to_end(&mut ahead)? as u64 <= AHEAD {
            return Ok(Body::bytes(ahead));
        }
        Ok(Body { bytes: Box::new(io::Cursor::new(ahead).chain(rest)), length: None })
    }
}

fn unreadable(why: &io::Error) -> Error {
    usage(format!("cannot read the body: {}", Reason(why)))
}

impl Request {
    /// Sends it in a thread of its own, since an application may answer while it reads, and expects to be heard.
    ///
    /// What the connection does to it, the answer will tell; a body that cannot be read ends the connection.
    pub(super) fn send(self, connection: Arc<Socket>) -> Sender {
        let (failed, sender) = mpsc::channel();
        thread::spawn(move || {
            if let Err(error) = self.write(&mut &*connection) {
                let _ = failed.send(error);
                let _ = connection.shutdown(Shutdown::Both);
            }
        });
        sender
    }

    fn write(mut self, connection: &mut impl Write) -> Result<(), Error> {
        let body = self.body.take().map(Body::read_ahead).transpose().map_err(|error| unreadable(&error))?;
        if let Some(body) = &body {
            self.params.set("CONTENT_TYPE", "application/x-www-form-urlencoded");
            if let Some(length) = body.length {
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
        if connection.write_all(&head).is_err() || self.role == Role::Authorizer {
            return Ok(());
        }
        if !stream(RecordType::Stdin, body, connection)? {
            return Ok(());
        }
        if self.role == Role::Filter {
            stream(RecordType::Data, self.data, connection)?;
        }
        Ok(())
    }
}

/// Writes a whole stream: its records, then the empty one that ends it. Says whether the application takes more.
fn stream(kind: RecordType, body: Option<Body>, connection: &mut impl Write) -> Result<bool, Error> {
    let mut buffer = vec![0; Header::LEN + PIECE];
    let mut left = body.as_ref().and_then(|body| body.length);
    let mut bytes = body.map_or_else(|| Box::new(io::empty()) as _, |body| body.bytes);
    loop {
        let most = left.map_or(PIECE, |left| usize::try_from(left).map_or(PIECE, |left| left.min(PIECE)));
        let count = match bytes.read(&mut buffer[Header::LEN..][..most]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count.map_err(|error| unreadable(&error))?,
        };
        if count == 0 && left.is_some_and(|left| left > 0) {
            return Err(usage("the body became shorter while it was read"));
        }
        left = left.map(|left| left - count as u64);
        let header = Header::new(kind, ID, count as u16); // at most PIECE
        buffer[..Header::LEN].copy_from_slice(&header.encode());
        if connection.write_all(&buffer[..Header::LEN + count]).is_err() {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}
