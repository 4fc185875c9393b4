//! Requests and answers in literal bytes, many on a connection.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::time::Duration;

use crate::common::Client;
use crate::{OK, WAIT};

pub(super) fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let ([id1, id0], [len1, len0]) = (id.to_be_bytes(), (content.len() as u16).to_be_bytes());
    [&[1, kind, id1, id0, len1, len0, 0, 0], content].concat()
}

pub(super) fn begin(id: u16, role: u8, flags: u8) -> Vec<u8> {
    record(1, id, &[0, role, flags, 0, 0, 0, 0, 0])
}

pub(super) fn params(id: u16, pairs: &[(&str, &str)]) -> Vec<u8> {
    let len = |text: &str| u8::try_from(text.len()).expect("short");
    let pair = |&(name, value): &(&str, &str)| [&[len(name), len(value)], name.as_bytes(), value.as_bytes()].concat();
    record(4, id, &pairs.iter().flat_map(pair).collect::<Vec<_>>())
}

/// A request up to the end of its params.
pub(super) fn open(id: u16, flags: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    [begin(id, 1, flags), params(id, pairs), record(4, id, b"")].concat()
}

/// A whole request without a body.
pub(super) fn get(id: u16, flags: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    [open(id, flags, pairs), record(5, id, b"")].concat()
}

pub(super) fn receive_record(client: &mut Client) -> (u8, u16, Vec<u8>) {
    let header = client.receive(8);
    assert_eq!(header[0], 1, "{header:?}");
    let content = client.receive(usize::from(header[4]) << 8 | usize::from(header[5]));
    client.receive(usize::from(header[6]));
    (header[1], u16::from(header[2]) << 8 | u16::from(header[3]), content)
}

/// An answer: the id, what STDOUT said behind the header section, the body of END_REQUEST.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) id: u16,
    pub(super) stdout: Vec<u8>,
    pub(super) end: [u8; 8],
}

impl Answer {
    pub(super) fn new(id: u16, body: &str) -> Self {
        let head = format!("Status: 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        Self { id, stdout: [head.as_bytes(), body.as_bytes()].concat(), end: OK }
    }

    pub(super) fn is_status(&self, status: &str) -> bool {
        self.stdout.starts_with(format!("Status: {status} ").as_bytes())
    }
}

/// Takes answers apart that are mixed record by record.
#[derive(Default)]
pub(super) struct Answers(HashMap<u16, Vec<u8>>);

impl Answers {
    /// The next answer to end.
    pub(super) fn next(&mut self, client: &mut Client) -> Answer {
        loop {
            let (kind, id, content) = receive_record(client);
            match kind {
                6 => self.0.entry(id).or_default().extend(content),
                7 => {}
                3 => {
                    let stdout = self.0.remove(&id).unwrap_or_default();
                    return Answer { id, stdout, end: content.try_into().expect("8 bytes") };
                }
                other => panic!("record type {other}"),
            }
        }
    }
}

/// The next answer on a connection where none has begun.
pub(super) fn receive(client: &mut Client) -> Answer {
    let mut answers = Answers::default();
    let answer = answers.next(client);
    assert!(answers.0.is_empty(), "others began: {:?}", answers.0.keys());
    answer
}

#[track_caller]
pub(super) fn expect_silence(client: &mut Client) {
    client.0.set_read_timeout(Some(Duration::from_millis(150))).expect("a time limit");
    let error = client.0.read(&mut [0]).expect_err("nothing comes");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    client.0.set_read_timeout(Some(WAIT)).expect("a time limit");
}
