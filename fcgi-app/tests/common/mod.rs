//! A server in this process, spoken to in literal bytes.

#![allow(dead_code, missing_docs, reason = "each test uses what it needs")]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fcgi_app::{Address, Limits, Listener, Roles, Server, StopHandle};

/// A running server on a socket of its own; stopped and waited for on drop.
pub(crate) struct Running {
    pub(crate) path: PathBuf,
    pub(crate) stop: StopHandle,
    pub(crate) thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    pub(crate) fn start(handler: impl Into<Roles>) -> Self {
        Self::start_with(Limits::default(), handler)
    }

    pub(crate) fn start_with(limits: Limits, handler: impl Into<Roles>) -> Self {
        Self::start_as(|server| server.limits(limits), handler)
    }

    /// Starts a server of which requests of a connection run side by side.
    pub(crate) fn multiplexed(limits: Limits, handler: impl Into<Roles>) -> Self {
        Self::start_as(|server| server.limits(limits).multiplex(true), handler)
    }

    pub(crate) fn start_as(configure: impl FnOnce(Server) -> Server, handler: impl Into<Roles>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("fcgi-app-{}-{}.sock", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let listener = Listener::bind(&Address::Unix(path.clone())).expect("bound");
        let server = configure(Server::new(listener).expect("a server"));
        let stop = server.stop_handle();
        let roles = handler.into();
        let thread = Some(thread::spawn(move || server.serve(roles)));
        Self { path, stop, thread }
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = UnixStream::connect(&self.path).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
        Client(stream)
    }

    /// Sends bytes on a connection of their own and gives all that comes back.
    pub(crate) fn ask(&self, request: &[u8]) -> Vec<u8> {
        let mut client = self.connect();
        client.send(request);
        client.receive_all()
    }

    /// Sends bytes on a connection of their own and gives what STDOUT says.
    pub(crate) fn stdout(&self, request: &[u8]) -> Vec<u8> {
        let mut client = self.connect();
        client.send(request);
        client.receive_answer().0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        let ended = self.thread.take().expect("once").join();
        if !thread::panicking() {
            ended.expect("no panic").expect("served");
            assert!(!self.path.exists(), "the socket is removed");
        }
    }
}

/// A connection to it, as a web server has it.
pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("sent");
    }

    pub(crate) fn receive(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).expect("that much");
        bytes
    }

    pub(crate) fn receive_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).expect("until the end");
        bytes
    }

    /// The records up to END_REQUEST: their types and contents.
    pub(crate) fn receive_records(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut records = Vec::new();
        while records.last().is_none_or(|&(kind, _)| kind != 3) {
            let header = self.receive(8);
            assert_eq!(header[0], 1, "{header:?}");
            let content = self.receive(usize::from(header[4]) << 8 | usize::from(header[5]));
            self.receive(usize::from(header[6]));
            records.push((header[1], content));
        }
        records
    }

    /// The records up to END_REQUEST: what STDOUT said, and the body of END_REQUEST.
    pub(crate) fn receive_answer(&mut self) -> (Vec<u8>, Vec<u8>) {
        let mut stdout = Vec::new();
        for (kind, content) in self.receive_records() {
            match kind {
                6 => stdout.extend(content),
                7 => {}
                3 => return (stdout, content),
                other => panic!("record type {other}"),
            }
        }
        unreachable!("END_REQUEST is the last")
    }
}

pub(crate) const END_PARAMS: &[u8] = b"\x01\x04\0\x01\0\0\0\0";
pub(crate) const END_STDIN: &[u8] = b"\x01\x05\0\x01\0\0\0\0";
pub(crate) const KEEP: u8 = 1;
pub(crate) const CLOSE: u8 = 0;

pub(crate) fn begin(flags: u8) -> Vec<u8> {
    begin_role(1, flags)
}

pub(crate) fn begin_role(role: u8, flags: u8) -> Vec<u8> {
    vec![1, 1, 0, 1, 0, 8, 0, 0, 0, role, flags, 0, 0, 0, 0, 0]
}

pub(crate) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [hi, lo] = u16::try_from(content.len()).expect("a record").to_be_bytes();
    [&[1, kind, 0, 1, hi, lo, 0, 0], content].concat()
}

pub(crate) fn params(pairs: &[(&str, &str)]) -> Vec<u8> {
    let short = |text: &str| u8::try_from(text.len()).expect("a short one");
    let pair =
        |&(name, value): &(&str, &str)| [&[short(name), short(value)], name.as_bytes(), value.as_bytes()].concat();
    record(4, &pairs.iter().flat_map(pair).collect::<Vec<_>>())
}

pub(crate) fn get(flags: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    [&begin(flags)[..], &params(pairs), END_PARAMS, END_STDIN].concat()
}

/// The bytes of an answer in one record and its end.
pub(crate) fn answer(stdout: &[u8], app_status: u8) -> Vec<u8> {
    let end = [1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, app_status, 0, 0, 0, 0];
    [&record(6, stdout)[..], b"\x01\x06\0\x01\0\0\0\0", &end].concat()
}
