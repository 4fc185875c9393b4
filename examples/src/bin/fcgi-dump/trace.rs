//! What is shown of a connection while its bytes come by.

use std::fmt;
use std::io::{self, Write};

use fcgi_proto::{Params, ProtocolError, RecordType};

use super::json;
use super::records::{Record, Records};
use super::requests::Requests;
use super::text;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Direction {
    ToApplication,
    ToServer,
}

impl Direction {
    /// Who sends what goes this way.
    pub(super) fn sender(self) -> &'static str {
        match self {
            Self::ToApplication => "web server",
            Self::ToServer => "application",
        }
    }
}

/// As an arrow.
impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToApplication => ">",
            Self::ToServer => "<",
        })
    }
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Format {
    /// A line for a record, when it is whole.
    Text,
    /// A line for a request, when it is over, and one for the connection.
    Json,
}

/// Where and why a direction makes no sense any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fault {
    error: ProtocolError,
    /// Where the record begins that broke it.
    offset: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken at byte {}: {}", self.offset, self.error)
    }
}

/// One connection, in both directions.
pub(super) struct Trace {
    to_application: Way,
    to_server: Way,
    view: View,
}

/// One direction of it.
#[derive(Default)]
struct Way {
    records: Records,
    fault: Option<Fault>,
}

/// What the records mean, and how that is shown.
struct View {
    format: Format,
    connection: u64,
    requests: Requests,
}

impl Trace {
    pub(super) fn new(format: Format, connection: u64) -> Self {
        Self {
            to_application: Way::default(),
            to_server: Way::default(),
            view: View { format, connection, requests: Requests::default() },
        }
    }

    /// Shows what the next bytes make whole; gives the fault that breaks a direction, after which nothing of it is
    /// shown any more.
    ///
    /// # Errors
    /// Those of `out`, here and below.
    pub(super) fn take(
        &mut self,
        direction: Direction,
        mut bytes: &[u8],
        out: &mut impl Write,
    ) -> io::Result<Option<Fault>> {
        let way = match direction {
            Direction::ToApplication => &mut self.to_application,
            Direction::ToServer => &mut self.to_server,
        };
        while way.fault.is_none() {
            let taken = match way.records.next(&mut bytes) {
                Ok(None) => return Ok(None),
                Ok(Some(record)) => self.view.show(direction, &record, out)?,
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                way.fault = Some(Fault { error, offset: way.records.offset() });
                return Ok(way.fault);
            }
        }
        Ok(None)
    }

    /// Shows that a direction has ended.
    pub(super) fn end(&mut self, direction: Direction, out: &mut impl Write) -> io::Result<()> {
        let way = match direction {
            Direction::ToApplication => &self.to_application,
            Direction::ToServer => &self.to_server,
        };
        match (self.view.format, way.tail()) {
            (Format::Json, _) => Ok(()),
            (Format::Text, 0) => writeln!(out, "#{} {direction} end", self.view.connection),
            (Format::Text, tail) => {
                writeln!(out, "#{} {direction} end, {tail} bytes into a record", self.view.connection)
            }
        }
    }

    /// Shows what is left to show when both directions have ended.
    pub(super) fn finish(mut self, out: &mut impl Write) -> io::Result<()> {
        self.view.requests.end_all();
        self.view.show_requests(out)?;
        if self.view.format == Format::Text {
            return Ok(());
        }
        let (valid, tail) = (self.to_application.fault.is_none(), self.to_application.tail());
        let management = self.view.requests.management();
        writeln!(out, r#"{{"valid":{valid},"truncated_tail_bytes":{tail},"management":{management}}}"#)
    }
}

impl Way {
    /// Bytes of a record that did not come whole. What broke a direction is no tail.
    fn tail(&self) -> usize {
        if self.fault.is_some() { 0 } else { self.records.tail() }
    }
}

impl View {
    fn show(
        &mut self,
        direction: Direction,
        record: &Record<'_>,
        out: &mut impl Write,
    ) -> io::Result<Result<(), ProtocolError>> {
        let taken = match direction {
            Direction::ToApplication => self.requests.take(record),
            Direction::ToServer => {
                if record.header.kind == RecordType::EndRequest {
                    self.requests.end(record.header.id);
                }
                Ok(Params::default())
            }
        };
        if self.format == Format::Text {
            let params = match record.header.kind {
                RecordType::GetValues | RecordType::GetValuesResult => Params::new(record.content),
                _ => taken.unwrap_or_default(),
            };
            write!(out, "{}", text::Lines { connection: self.connection, direction, record, params })?;
        }
        let taken = taken.map(drop);
        self.show_requests(out)?;
        Ok(taken)
    }

    fn show_requests(&mut self, out: &mut impl Write) -> io::Result<()> {
        while let Some(request) = self.requests.pop() {
            if self.format == Format::Json {
                writeln!(out, "{}", json::Line(&request))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0";
    const PARAMS: &[u8] = b"\x01\x04\0\x01\0\x08\0\0\x04\x02NAMEva\x01\x04\0\x01\0\0\0\0";
    const BODY: &[u8] = b"\x01\x05\0\x01\0\x03\0\0abc";
    const BODY_END: &[u8] = b"\x01\x05\0\x01\0\0\0\0";
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// A request of BEGIN and PARAMS with so much of a body.
    fn line(length: u8, digest: &str, complete: bool, aborted: bool) -> String {
        format!(
            r#"{{"id":1,"role":1,"flags":0,"params_complete":true,"params":[["NAME","va"]],"stdin_length":{length},"#
        ) + &format!(r#""stdin_sha256":"{digest}","stdin_complete":{complete},"aborted":{aborted}}}"#)
    }

    fn last(valid: bool, tail: usize, management: u64) -> String {
        format!(r#"{{"valid":{valid},"truncated_tail_bytes":{tail},"management":{management}}}"#)
    }

    /// Checks what is shown of a recording, whole and byte by byte.
    #[track_caller]
    fn check(wire: &[&[u8]], want: &[String]) {
        let wire = wire.concat();
        for size in [wire.len().max(1), 1] {
            let (mut trace, mut out) = (Trace::new(Format::Json, 1), Vec::new());
            for piece in wire.chunks(size) {
                trace.take(Direction::ToApplication, piece, &mut out).expect("a Vec takes all");
            }
            trace.end(Direction::ToApplication, &mut out).expect("a Vec takes all");
            trace.finish(&mut out).expect("a Vec takes all");
            let lines: Vec<_> = out.split_inclusive(|&byte| byte == b'\n').map(String::from_utf8_lossy).collect();
            let want: Vec<_> = want.iter().map(|line| format!("{line}\n")).collect();
            assert_eq!(lines, want, "in pieces of {size}");
        }
    }

    #[test]
    fn a_request() {
        let want = line(3, ABC, true, false);
        check(&[BEGIN, PARAMS, BODY, BODY_END], &[want.clone(), last(true, 0, 0)]);
        check(&[BEGIN, PARAMS, BODY, BODY_END, BEGIN, PARAMS, BODY, BODY_END], &[want.clone(), want, last(true, 0, 0)]);
        check(&[], &[last(true, 0, 0)]);
    }

    #[test]
    fn requests_that_stay_incomplete() {
        check(&[BEGIN, PARAMS], &[line(0, NOTHING, false, false), last(true, 0, 0)]);
        check(&[BEGIN, PARAMS, BODY], &[line(3, ABC, false, false), last(true, 0, 0)]);
        let abort = b"\x01\x02\0\x01\0\0\0\0";
        let aborted = line(3, ABC, false, true);
        check(&[BEGIN, PARAMS, BODY, abort, BODY], &[aborted.clone(), last(true, 0, 0)]);
        check(
            &[BEGIN, PARAMS, BODY, abort, BEGIN, PARAMS, BODY, BODY_END, abort],
            &[aborted, line(3, ABC, true, true), last(true, 0, 0)],
        );
    }

    #[test]
    fn a_tail_counts_as_nothing_else() {
        let want = line(0, NOTHING, false, false);
        for len in 1..BODY.len() {
            check(&[BEGIN, PARAMS, &BODY[..len]], &[want.clone(), last(true, len, 0)]);
        }
        // Only some of its padding is missing.
        check(&[BEGIN, PARAMS, b"\x01\x05\0\x01\0\x03\x05\0abcPAD"], &[want, last(true, 14, 0)]);
    }

    #[test]
    fn a_broken_stream_shows_the_requests_so_far() {
        let whole = line(3, ABC, true, false);
        check(&[BEGIN, PARAMS, BODY, BODY_END, b"GET"], &[whole.clone(), last(false, 0, 0)]);
        check(&[BEGIN, PARAMS, BEGIN, BODY], &[line(0, NOTHING, false, false), last(false, 0, 0)]);
    }

    #[test]
    fn management_records_are_counted() {
        let query = b"\x01\x09\0\0\0\x0f\0\0\x0d\0FCGI_MAX_REQS";
        let unknown = b"\x01\x63\0\0\0\x01\x01\0xx";
        check(&[query, BEGIN, query, PARAMS, unknown], &[line(0, NOTHING, false, false), last(true, 0, 3)]);
    }

    #[test]
    fn an_answer_ends_its_request() {
        let (mut trace, mut out) = (Trace::new(Format::Json, 1), Vec::new());
        let mut take = |direction, bytes: &[u8]| {
            trace.take(direction, bytes, &mut out).expect("a Vec takes all");
            std::mem::take(&mut out)
        };
        assert_eq!(take(Direction::ToApplication, &[BEGIN, PARAMS].concat()), b"");
        let shown = take(Direction::ToServer, b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(String::from_utf8_lossy(&shown), line(0, NOTHING, false, false) + "\n");
        // What the server still sends of it is nobody's, and the id is free.
        assert_eq!(take(Direction::ToApplication, &[BODY, BODY_END, BEGIN].concat()), b"");
    }

    #[test]
    fn text_of_both_directions() {
        let (mut trace, mut out) = (Trace::new(Format::Text, 2), Vec::new());
        let to_application = [BEGIN, PARAMS, &BODY[..9]].concat();
        assert_eq!(trace.take(Direction::ToApplication, &to_application, &mut out).expect("a Vec takes all"), None);
        let fault = trace.take(Direction::ToServer, b"\x01\x06\0\x01\0\0\0\0HTTP", &mut out).expect("a Vec takes all");
        assert_eq!(fault, Some(Fault { error: ProtocolError::Version(b'H'), offset: 8 }));
        for direction in [Direction::ToApplication, Direction::ToServer] {
            trace.end(direction, &mut out).expect("a Vec takes all");
        }
        trace.finish(&mut out).expect("a Vec takes all");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "\
#2 > id 1   BEGIN_REQUEST         8 bytes, 0 padding: Responder, flags 0
#2 > id 1   PARAMS                8 bytes, 0 padding
        NAME=va
#2 > id 1   PARAMS                0 bytes, 0 padding: end of stream
#2 < id 1   STDOUT                0 bytes, 0 padding: end of stream
#2 > end, 9 bytes into a record
#2 < end
"
        );
    }
}
