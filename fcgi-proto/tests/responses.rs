//! What applications answer, spelt in literal bytes, read by the web server's side at every cut.

use fcgi_proto::{EndRequest, ProtocolError, ProtocolStatus, ResponseDecoder, ResponseEvent, UnknownType, Values};

/// What happened, the pieces of a stream joined; the end of the input comes last.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Stdout(u16, Vec<u8>),
    StdoutEnd(u16),
    Stderr(u16, Vec<u8>),
    StderrEnd(u16),
    End(u16, u32, ProtocolStatus),
    Values(Values),
    UnknownType(u8),
    EndOfInput,
    Broken(ProtocolError),
}

use Seen::{Broken, EndOfInput};

fn stdout(id: u16, content: &[u8]) -> Seen {
    Seen::Stdout(id, content.to_vec())
}

fn stderr(id: u16, content: &[u8]) -> Seen {
    Seen::Stderr(id, content.to_vec())
}

fn complete(id: u16, app_status: u32) -> Seen {
    Seen::End(id, app_status, ProtocolStatus::RequestComplete)
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut decoder = ResponseDecoder::new();
    let mut seen = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(event)) => take(event, &mut seen),
                Ok(None) => break assert!(piece.is_empty(), "all input was used"),
                Err(error) => {
                    assert_eq!(decoder.next(&mut &b"\x01\x06\0\x01\0\0\0\0"[..]), Err(error), "an error is final");
                    assert_eq!(decoder.end_of_input(), Err(error), "an error is final");
                    seen.push(Broken(error));
                    return seen;
                }
            }
        }
    }
    seen.push(decoder.end_of_input().map_or_else(Broken, |()| EndOfInput));
    seen
}

fn take(event: ResponseEvent<'_>, seen: &mut Vec<Seen>) {
    let new = match event {
        ResponseEvent::Stdout { id, content } => stdout(id, content),
        ResponseEvent::StdoutEnd { id } => Seen::StdoutEnd(id),
        ResponseEvent::Stderr { id, content } => stderr(id, content),
        ResponseEvent::StderrEnd { id } => Seen::StderrEnd(id),
        ResponseEvent::End { id, end: EndRequest { app_status, protocol_status } } => {
            Seen::End(id, app_status, protocol_status)
        }
        ResponseEvent::Values(values) => Seen::Values(values),
        ResponseEvent::UnknownType(UnknownType(kind)) => Seen::UnknownType(kind),
    };
    match (seen.last_mut(), new) {
        (Some(Seen::Stdout(id, joined)), Seen::Stdout(same, piece)) if *id == same => joined.extend(piece),
        (Some(Seen::Stderr(id, joined)), Seen::Stderr(same, piece)) if *id == same => joined.extend(piece),
        (_, new) => seen.push(new),
    }
}

/// Checks what is made of `wire`: whole, at every cut, and byte by byte.
#[track_caller]
fn check(wire: &[&[u8]], want: &[Seen]) {
    let wire = wire.concat();
    assert_eq!(decode([&wire[..]]), want, "whole");
    for cut in 0..=wire.len() {
        assert_eq!(decode([&wire[..cut], &wire[cut..]]), want, "cut at {cut}");
    }
    assert_eq!(decode(wire.chunks(1)), want, "byte by byte");
}

const STDOUT: &[u8] = b"\x01\x06\0\x01\0\x05\x03\0Hello\xee\xee\xee";
const STDOUT_END: &[u8] = b"\x01\x06\0\x01\0\0\0\0";
const END: &[u8] = b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0";

#[test]
fn an_answer() {
    check(&[STDOUT, STDOUT_END, END], &[stdout(1, b"Hello"), Seen::StdoutEnd(1), complete(1, 0), EndOfInput]);
    // PHP sends no empty STDOUT.
    check(&[STDOUT, END], &[stdout(1, b"Hello"), complete(1, 0), EndOfInput]);
    check(&[END], &[complete(1, 0), EndOfInput]);
    check(&[], &[EndOfInput]);
}

#[test]
fn answer_and_log_text_interleaved() {
    check(
        &[
            STDOUT,
            b"\x01\x07\0\x01\0\x04\0\0oops",
            b"\x01\x06\0\x01\0\x01\x07\0,\0\0\0\0\0\0\0",
            b"\x01\x06\0\x01\0\x06\0\0 World",
            b"\x01\x07\0\x01\0\0\0\0",
            STDOUT_END,
            END,
        ],
        &[
            stdout(1, b"Hello"),
            stderr(1, b"oops"),
            stdout(1, b", World"),
            Seen::StderrEnd(1),
            Seen::StdoutEnd(1),
            complete(1, 0),
            EndOfInput,
        ],
    );
}

#[test]
fn padding_is_skipped_on_every_type() {
    check(
        &[
            b"\x01\x06\0\x01\0\0\x02\0\xff\xff",
            b"\x01\x07\0\x01\0\0\x01\0\xff",
            b"\x01\x03\0\x01\0\x08\x08\0\0\0\0\0\0\0\0\0\x01\x06\0\x01\0\x01\0\0",
            b"\x01\x0b\0\0\0\x08\x01\0\x63\0\0\0\0\0\0\0\xff",
            b"\x01\x0a\0\0\0\0\x03\0\xff\xff\xff",
            b"\x01\x63\0\x01\0\x01\x01\0ab",
        ],
        &[
            Seen::StdoutEnd(1),
            Seen::StderrEnd(1),
            complete(1, 0),
            Seen::UnknownType(0x63),
            Seen::Values(Values::default()),
            EndOfInput,
        ],
    );
    let longest = [&b"\x01\x06\0\x01\0\x01\xff\0x"[..], &[1; 255]].concat();
    check(&[&longest, END], &[stdout(1, b"x"), complete(1, 0), EndOfInput]);
}

#[test]
fn several_requests_at_once() {
    check(
        &[
            b"\x01\x06\0\x01\0\x03\0\0one",
            b"\x01\x06\x01\0\0\x03\0\0two",
            b"\x01\x07\xff\xff\0\x05\0\0three",
            b"\x01\x03\x01\0\0\x08\0\0\0\0\0\0\0\0\0\0",
            b"\x01\x06\0\x01\0\x01\0\0!",
            b"\x01\x03\xff\xff\0\x08\0\0\0\0\0\x07\0\0\0\0",
            END,
        ],
        &[
            stdout(1, b"one"),
            stdout(256, b"two"),
            stderr(65535, b"three"),
            complete(256, 0),
            stdout(1, b"!"),
            complete(65535, 7),
            complete(1, 0),
            EndOfInput,
        ],
    );
}

#[test]
fn every_way_to_end() {
    let end = |status: u8| [1, 3, 0, 1, 0, 8, 0, 0, 0xfe, 0xdc, 0xba, 0x98, status, 0, 0, 0];
    for (byte, status) in [
        (0, ProtocolStatus::RequestComplete),
        (1, ProtocolStatus::CantMpxConn),
        (2, ProtocolStatus::Overloaded),
        (3, ProtocolStatus::UnknownRole),
        (4, ProtocolStatus::Other(4)),
        (255, ProtocolStatus::Other(255)),
    ] {
        check(&[&end(byte)], &[Seen::End(1, 0xfedc_ba98, status), EndOfInput]);
    }
    // Reserved bytes, in the header too, mean nothing.
    check(&[b"\x01\x03\0\x01\0\x08\0\xaa\0\0\0\x05\0\xbb\xbb\xbb"], &[complete(1, 5), EndOfInput]);
}

#[test]
fn the_capacities_of_an_application() {
    check(
        &[b"\x01\x0a\0\0\0\x34\x04\0\x0e\x01FCGI_MAX_CONNS1\x0d\x02FCGI_MAX_REQS42\x0f\x01FCGI_MPXS_CONNS0\0\0\0\0"],
        &[Seen::Values(Values { max_conns: Some(1), max_reqs: Some(42), mpxs_conns: Some(false) }), EndOfInput],
    );
    // A long form of lengths, a name nobody knows, a value that is no number, one that is no switch.
    check(
        &[
            b"\x01\x0a\0\0\0\x18\0\0\x80\0\0\x0f\x80\0\0\x01FCGI_MPXS_CONNS1",
            b"\x01\x0a\0\0\0\x1c\0\0\x03\x01abc9\x0e\x06FCGI_MAX_CONNS12 000",
            b"\x01\x0a\0\0\0\x12\0\0\x0f\x01FCGI_MPXS_CONNS2",
            b"\x01\x0a\0\0\0\x19\0\0\x0d\x0aFCGI_MAX_REQS4294967296",
        ],
        &[
            Seen::Values(Values { mpxs_conns: Some(true), ..Values::default() }),
            Seen::Values(Values::default()),
            Seen::Values(Values::default()),
            Seen::Values(Values::default()),
            EndOfInput,
        ],
    );
    check(&[b"\x01\x0a\0\0\0\x03\0\0\x05\x01a"], &[Broken(ProtocolError::CutValues(3))]);
    check(&[b"\x01\x0a\0\0\0\x01\0\0\x85"], &[Broken(ProtocolError::CutValues(1))]);
}

#[test]
fn a_management_record_that_was_not_understood() {
    check(&[b"\x01\x0b\0\0\0\x08\0\0\x0c\0\0\0\0\0\0\0", END], &[Seen::UnknownType(12), complete(1, 0), EndOfInput]);
}

#[test]
fn types_that_nobody_has_defined_are_skipped() {
    for kind in [0, 12, 99, 255] {
        for id in [0, 1] {
            let record = [1, kind, 0, id, 0, 3, 1, 0, b'a', b'b', b'c', 0];
            let empty = [1, kind, 0, id, 0, 0, 0, 0];
            check(&[STDOUT, &record, &empty, STDOUT_END], &[stdout(1, b"Hello"), Seen::StdoutEnd(1), EndOfInput]);
        }
    }
}

#[test]
fn what_only_a_server_sends_is_refused() {
    for kind in [1, 2, 4, 5, 8, 9] {
        for content in [0, 8] {
            let record = [1, kind, 0, 1, 0, content, 0, 0];
            let body = vec![0; usize::from(content)];
            check(&[STDOUT, &record, &body], &[stdout(1, b"Hello"), Broken(ProtocolError::ServerType(kind))]);
        }
    }
}

#[test]
fn the_null_request_has_no_answer() {
    for kind in [3, 6, 7] {
        let record = [1, kind, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        check(&[&record], &[Broken(ProtocolError::NullRequest(kind))]);
    }
}

#[test]
fn wrong_lengths() {
    for len in [0, 7, 9] {
        let body = vec![0; usize::from(len)];
        let end = [1, 3, 0, 1, 0, len, 0, 0];
        check(&[STDOUT, &end, &body], &[stdout(1, b"Hello"), Broken(ProtocolError::EndLength(len.into()))]);
        let unknown = [1, 11, 0, 0, 0, len, 0, 0];
        check(&[&unknown, &body], &[Broken(ProtocolError::UnknownTypeLength(len.into()))]);
    }
    check(&[b"\x01\x03\0\x01\xff\xff\0\0\0"], &[Broken(ProtocolError::EndLength(65535))]);
}

#[test]
fn any_other_version_is_refused() {
    check(&[STDOUT, b"\0\x06\0\x01\0\0\0\0"], &[stdout(1, b"Hello"), Broken(ProtocolError::Version(0))]);
    check(&[STDOUT, b"HTTP/1.1 200 OK\r\n"], &[stdout(1, b"Hello"), Broken(ProtocolError::Version(b'H'))]);
    check(&[b"\x02"], &[Broken(ProtocolError::Version(2))]);
}

#[test]
fn input_that_is_cut() {
    check(&[STDOUT, &END[..1]], &[stdout(1, b"Hello"), Broken(ProtocolError::CutHeader(1))]);
    check(&[STDOUT, &END[..7]], &[stdout(1, b"Hello"), Broken(ProtocolError::CutHeader(7))]);
    check(&[STDOUT, &END[..8]], &[stdout(1, b"Hello"), Broken(ProtocolError::CutRecord(8))]);
    check(&[STDOUT, &END[..15]], &[stdout(1, b"Hello"), Broken(ProtocolError::CutRecord(1))]);
    check(&[&STDOUT[..8]], &[Broken(ProtocolError::CutRecord(8))]);
    check(&[&STDOUT[..10]], &[stdout(1, b"He"), Broken(ProtocolError::CutRecord(6))]);
    check(&[&STDOUT[..13]], &[stdout(1, b"Hello"), Broken(ProtocolError::CutRecord(3))]);
    check(&[&STDOUT[..15]], &[stdout(1, b"Hello"), Broken(ProtocolError::CutRecord(1))]);
    check(&[b"\x01\x06\0\x01\xff\xff\xff\0"], &[Broken(ProtocolError::CutRecord(65535 + 255))]);
}

#[test]
fn the_largest_record() {
    let content: Vec<u8> = (0..65535_u32).map(|n| n as u8).collect();
    let wire = [b"\x01\x06\0\x01\xff\xff\0\0", &content[..], END].concat();
    for size in [wire.len(), 1, 7, 8192, 65536] {
        assert_eq!(decode(wire.chunks(size)), [stdout(1, &content), complete(1, 0), EndOfInput], "pieces of {size}");
    }
}
