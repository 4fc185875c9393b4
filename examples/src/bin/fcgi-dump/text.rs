//! A record as people read it.

use std::fmt;

use fcgi_proto::{BeginRequest, EndRequest, Params, ProtocolStatus, RecordType, Role, UnknownType};

use super::escape::Escaped;
use super::records::Record;
use super::trace::Direction;

/// How much of a record's content is shown, in bytes.
const SHOWN: usize = 60;

/// A line for a record, and one for each of its params.
pub(super) struct Lines<'a> {
    pub(super) connection: u64,
    pub(super) direction: Direction,
    pub(super) record: &'a Record<'a>,
    /// The params that are whole with this record.
    pub(super) params: Params<'a>,
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { header, content } = self.record;
        let kind = header.kind.to_string();
        let bytes = format!("{} bytes", content.len());
        write!(f, "#{} {} id {:<3} {kind:<17} {bytes:>11}", self.connection, self.direction, header.id)?;
        write!(f, ", {} padding", header.padding)?;
        match header.kind {
            RecordType::BeginRequest => match (*content).try_into() {
                Ok(body) => write_begin(f, BeginRequest::decode(body))?,
                Err(_) => write_content(f, content)?,
            },
            RecordType::EndRequest => match (*content).try_into() {
                Ok(body) => write_end(f, EndRequest::decode(body))?,
                Err(_) => write_content(f, content)?,
            },
            RecordType::UnknownType => match (*content).try_into() {
                Ok(body) => write!(f, ": type {}", UnknownType::decode(body).0)?,
                Err(_) => write_content(f, content)?,
            },
            RecordType::Params | RecordType::Stdin | RecordType::Data | RecordType::Stdout | RecordType::Stderr
                if content.is_empty() =>
            {
                f.write_str(": end of stream")?;
            }
            // Their content follows as pairs.
            RecordType::Params | RecordType::GetValues | RecordType::GetValuesResult => {}
            RecordType::AbortRequest
            | RecordType::Stdin
            | RecordType::Data
            | RecordType::Stdout
            | RecordType::Stderr
            | RecordType::Other(_) => write_content(f, content)?,
        }
        for pair in self.params {
            write!(f, "\n        {}={}", Escaped(pair.name), Escaped(pair.value))?;
        }
        f.write_str("\n")
    }
}

fn write_begin(f: &mut fmt::Formatter<'_>, begin: BeginRequest) -> fmt::Result {
    match Role::from_wire(begin.role) {
        Some(role) => write!(f, ": {role:?}")?,
        None => write!(f, ": unknown role {}", begin.role)?,
    }
    let keep_conn = if begin.keep_conn() { " (KEEP_CONN)" } else { "" };
    write!(f, ", flags {}{keep_conn}", begin.flags)
}

fn write_end(f: &mut fmt::Formatter<'_>, end: EndRequest) -> fmt::Result {
    match end.protocol_status {
        ProtocolStatus::RequestComplete => f.write_str(": REQUEST_COMPLETE")?,
        ProtocolStatus::CantMpxConn => f.write_str(": CANT_MPX_CONN")?,
        ProtocolStatus::Overloaded => f.write_str(": OVERLOADED")?,
        ProtocolStatus::UnknownRole => f.write_str(": UNKNOWN_ROLE")?,
        ProtocolStatus::Other(status) => write!(f, ": unknown status {status}")?,
    }
    write!(f, ", exit status {}", end.app_status)
}

fn write_content(f: &mut fmt::Formatter<'_>, content: &[u8]) -> fmt::Result {
    match content.get(..SHOWN) {
        Some(front) if front.len() < content.len() => write!(f, ": \"{}\"...", front.escape_ascii()),
        _ if content.is_empty() => Ok(()),
        _ => write!(f, ": \"{}\"", content.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Records;

    #[track_caller]
    fn check(mut wire: &[u8], want: &str) {
        let mut records = Records::default();
        let record = records.next(&mut wire).expect("valid").expect("whole");
        let params = match record.header.kind {
            RecordType::Params | RecordType::GetValues => Params::new(record.content),
            _ => Params::default(),
        };
        let lines = Lines { connection: 3, direction: Direction::ToApplication, record: &record, params };
        assert_eq!(lines.to_string(), want);
    }

    #[test]
    fn bodies_of_eight_bytes() {
        check(
            b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0",
            "#3 > id 1   BEGIN_REQUEST         8 bytes, 0 padding: Responder, flags 1 (KEEP_CONN)\n",
        );
        check(
            b"\x01\x01\x01\0\0\x08\0\0\0\x09\x02\0\0\0\0\0",
            "#3 > id 256 BEGIN_REQUEST         8 bytes, 0 padding: unknown role 9, flags 2\n",
        );
        check(
            b"\x01\x03\0\x01\0\x08\0\0\0\0\x01\0\x02\0\0\0",
            "#3 > id 1   END_REQUEST           8 bytes, 0 padding: OVERLOADED, exit status 256\n",
        );
        check(
            b"\x01\x0b\0\0\0\x08\0\0\x63\0\0\0\0\0\0\0",
            "#3 > id 0   UNKNOWN_TYPE          8 bytes, 0 padding: type 99\n",
        );
        check(b"\x01\x01\0\x01\0\x01\0\0\x05", "#3 > id 1   BEGIN_REQUEST         1 bytes, 0 padding: \"\\x05\"\n");
    }

    #[test]
    fn params_follow_on_lines_of_their_own() {
        check(
            b"\x01\x04\0\x01\0\x0c\x04\0\x01\x02Abc\x01\x04B\x00\xff=\\PAD\0",
            "#3 > id 1   PARAMS               12 bytes, 4 padding\n        A=bc\n        B=\\x00\\xff=\\\\\n",
        );
        check(b"\x01\x04\0\x01\0\0\0\0", "#3 > id 1   PARAMS                0 bytes, 0 padding: end of stream\n");
    }

    #[test]
    fn content_is_short_and_escaped() {
        check(
            b"\x01\x05\0\x01\0\x06\0\0a\"\r\n\0\xff",
            "#3 > id 1   STDIN                 6 bytes, 0 padding: \"a\\\"\\r\\n\\x00\\xff\"\n",
        );
        check(
            &[b"\x01\x63\0\x01\0\x3d\0\0", &[b'x'; 61][..]].concat(),
            &format!("#3 > id 1   type 99              61 bytes, 0 padding: \"{}\"...\n", "x".repeat(60)),
        );
    }
}
