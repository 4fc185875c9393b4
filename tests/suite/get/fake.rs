//! An application whose every byte is the test's.

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread::{self, JoinHandle};

use fcgi_tests::wire::{self, Record};
use fcgi_tests::{Address, Connection, TempDir, temp_dir};

use super::{Ended, get};

/// An application of one connection, whose every byte is the test's.
pub(super) struct Fake<T> {
    pub(super) address: Address,
    pub(super) thread: JoinHandle<T>,
    _dir: TempDir,
}

impl<T: Send + 'static> Fake<T> {
    pub(super) fn start(serve: impl FnOnce(Connection) -> T + Send + 'static) -> Self {
        let dir = temp_dir();
        let path = dir.path().join("app");
        let listener = UnixListener::bind(&path).expect("a listener");
        let accept = move || serve(Connection::from(listener.accept().expect("a connection").0));
        Fake { address: Address::Unix(path), thread: thread::spawn(accept), _dir: dir }
    }

    pub(super) fn get(&self) -> Command {
        let mut command = get();
        command.arg(self.address.to_string());
        command
    }

    /// Runs fcgi-get with these arguments behind the target.
    #[track_caller]
    pub(super) fn run(self, arguments: &[&str]) -> (Ended, T) {
        let ended = Ended::of(self.get().args(arguments));
        (ended, self.end())
    }

    /// What it made of its connection; on a slow machine there may have been none.
    pub(super) fn end(self) -> T {
        drop(self.address.connect());
        self.thread.join().expect("the application ends")
    }
}

/// A request as it came.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Request {
    pub(super) begin: Vec<u8>,
    pub(super) params: Vec<(String, String)>,
    pub(super) stdin: Vec<u8>,
    pub(super) data: Option<Vec<u8>>,
}

impl Request {
    /// Reads up to the end of a responder's request; one of another role goes on.
    #[track_caller]
    pub(super) fn read(connection: &mut Connection) -> Self {
        let begin = connection.record();
        assert_eq!((begin.kind, begin.id), (wire::BEGIN_REQUEST, 1));
        let mut request = Request { begin: begin.content, ..Request::default() };
        request.params = pairs(&stream(connection, wire::PARAMS));
        let role = request.begin[1];
        if role != 2 {
            request.stdin = stream(connection, wire::STDIN);
        }
        if role == 3 {
            request.data = Some(stream(connection, wire::DATA));
        }
        request
    }

    pub(super) fn param(&self, name: &str) -> Option<&str> {
        let mut found = self.params.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| &value[..]);
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }
}

/// The content of a whole stream.
#[track_caller]
pub(super) fn stream(connection: &mut Connection, kind: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let Record { kind: found, id, content } = connection.record();
        assert_eq!((found, id), (kind, 1));
        if content.is_empty() {
            return bytes;
        }
        bytes.extend(content);
    }
}

pub(super) fn pairs(mut bytes: &[u8]) -> Vec<(String, String)> {
    fn length(bytes: &mut &[u8]) -> usize {
        let (long, size) = if bytes[0] < 128 { (false, 1) } else { (true, 4) };
        let (length, rest) = bytes.split_at(size);
        *bytes = rest;
        let number = length.iter().fold(0, |number, &byte| number << 8 | usize::from(byte));
        if long { number & 0x7fff_ffff } else { number }
    }
    let mut pairs = Vec::new();
    while !bytes.is_empty() {
        let lengths = [length(&mut bytes), length(&mut bytes)];
        let [name, value] = lengths.map(|length| {
            let (part, rest) = bytes.split_at(length);
            bytes = rest;
            String::from_utf8_lossy(part).into_owned()
        });
        pairs.push((name, value));
    }
    pairs
}

/// A whole answer.
pub(super) fn answer(stdout: &[u8]) -> Vec<u8> {
    [wire::stream(wire::STDOUT, 1, stdout, 65535), end(0)].concat()
}

pub(super) fn end(protocol_status: u8) -> Vec<u8> {
    wire::record(wire::END_REQUEST, 1, &[0, 0, 0, 0, protocol_status, 0, 0, 0])
}
