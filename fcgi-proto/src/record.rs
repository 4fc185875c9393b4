use core::fmt;

use crate::ProtocolError;

/// The type of a record, the byte `FCGI_Header.type`.
///
/// Reading it is total and loses nothing: a number nobody has defined is kept as it came. Records of types 1, 2, 3, 9, 10
/// and 11 are discrete; 4 to 8 are streams, whose record borders carry no meaning and which an empty record ends.
/// Specification section 3.3 and section 8, "Types and Constants".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// `FCGI_BEGIN_REQUEST`, 1: a web server opens a request.
    BeginRequest,
    /// `FCGI_ABORT_REQUEST`, 2: a web server wants a request ended early.
    AbortRequest,
    /// `FCGI_END_REQUEST`, 3: an application closes a request.
    EndRequest,
    /// `FCGI_PARAMS`, 4: the stream of name-value pairs, to the application.
    Params,
    /// `FCGI_STDIN`, 5: the stream of the request body, to the application.
    Stdin,
    /// `FCGI_STDOUT`, 6: the stream of the answer, to the web server.
    Stdout,
    /// `FCGI_STDERR`, 7: the stream of log text, to the web server.
    Stderr,
    /// `FCGI_DATA`, 8: the second input stream of a Filter, to the application.
    Data,
    /// `FCGI_GET_VALUES`, 9: a web server asks for the application's capacities.
    GetValues,
    /// `FCGI_GET_VALUES_RESULT`, 10: the answer to it.
    GetValuesResult,
    /// `FCGI_UNKNOWN_TYPE`, 11: the answer to a management record nobody understood.
    UnknownType,
    /// Any other number: 0 and 12 to 255.
    Other(u8),
}

impl RecordType {
    /// Names the type byte of a header. Total: every byte has a type.
    pub const fn from_wire(byte: u8) -> Self {
        match byte {
            1 => Self::BeginRequest,
            2 => Self::AbortRequest,
            3 => Self::EndRequest,
            4 => Self::Params,
            5 => Self::Stdin,
            6 => Self::Stdout,
            7 => Self::Stderr,
            8 => Self::Data,
            9 => Self::GetValues,
            10 => Self::GetValuesResult,
            11 => Self::UnknownType,
            other => Self::Other(other),
        }
    }

    /// The type byte of a header; the inverse of [`from_wire`](Self::from_wire).
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::BeginRequest => 1,
            Self::AbortRequest => 2,
            Self::EndRequest => 3,
            Self::Params => 4,
            Self::Stdin => 5,
            Self::Stdout => 6,
            Self::Stderr => 7,
            Self::Data => 8,
            Self::GetValues => 9,
            Self::GetValuesResult => 10,
            Self::UnknownType => 11,
            Self::Other(other) => other,
        }
    }
}

/// The specification's name without the `FCGI_` in front of it, or `type N`.
impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match *self {
            Self::BeginRequest => "BEGIN_REQUEST",
            Self::AbortRequest => "ABORT_REQUEST",
            Self::EndRequest => "END_REQUEST",
            Self::Params => "PARAMS",
            Self::Stdin => "STDIN",
            Self::Stdout => "STDOUT",
            Self::Stderr => "STDERR",
            Self::Data => "DATA",
            Self::GetValues => "GET_VALUES",
            Self::GetValuesResult => "GET_VALUES_RESULT",
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::Other(number) => return write!(f, "type {number}"),
        })
    }
}

/// The eight bytes in front of every record's content, `FCGI_Header`.
///
/// ```text
///   0         1      2     3     4          5          6         7
/// +---------+------+-----------+---------------------+---------+----------+
/// | version | type | requestId | contentLength       | padding | reserved |
/// |    1    |      | B1     B0 | B1        B0        |  length |    0     |
/// +---------+------+-----------+---------------------+---------+----------+
///   then contentLength bytes of content, then paddingLength bytes of padding
/// ```
///
/// Encoding cannot fail; decoding checks the version and no more. Specification section 3.3, "Records".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the content is.
    pub kind: RecordType,
    /// Which request the record belongs to; 0 for management records.
    pub id: u16,
    /// Bytes of content that follow the header.
    pub content: u16,
    /// Bytes of padding that follow the content, to be skipped.
    pub padding: u8,
}

impl Header {
    /// Bytes of a header on the wire.
    pub const LEN: usize = 8;
    /// The largest content of a record, in bytes.
    pub const MAX_CONTENT: u16 = u16::MAX;

    /// A header without padding.
    pub const fn new(kind: RecordType, id: u16, content: u16) -> Self {
        Self { kind, id, content, padding: 0 }
    }

    /// Reads a header. The reserved byte is ignored; a type nobody has defined is kept.
    ///
    /// # Errors
    /// [`ProtocolError::Version`]: nothing else in a header can be wrong by itself.
    #[inline]
    pub const fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, ProtocolError> {
        let &[version, kind, id1, id0, content1, content0, padding, _reserved] = bytes;
        if version != 1 {
            return Err(ProtocolError::Version(version));
        }
        Ok(Self {
            kind: RecordType::from_wire(kind),
            id: u16::from_be_bytes([id1, id0]),
            content: u16::from_be_bytes([content1, content0]),
            padding,
        })
    }

    /// Writes the header; the inverse of [`decode`](Self::decode).
    #[inline]
    pub const fn encode(self) -> [u8; Self::LEN] {
        let [id1, id0] = self.id.to_be_bytes();
        let [content1, content0] = self.content.to_be_bytes();
        [1, self.kind.to_wire(), id1, id0, content1, content0, self.padding, 0]
    }
}

/// Cuts a stream's bytes into records of at most `max` content bytes each: a header and its content, in order.
///
/// Nothing is copied: the headers and contents are what a gathering write takes. The empty record that *ends* the
/// stream is not among them ([`Header::new`] with content 0); empty `bytes` give no record at all. A `max` of 0
/// counts as 1.
///
/// ```
/// use fcgi_proto::{records, Header, RecordType};
///
/// let cut: Vec<_> = records(RecordType::Stdout, 1, b"Hello", 3).collect();
/// assert_eq!(cut[0], (Header::new(RecordType::Stdout, 1, 3), &b"Hel"[..]));
/// assert_eq!(cut[1], (Header::new(RecordType::Stdout, 1, 2), &b"lo"[..]));
/// ```
///
/// Specification section 3.3, "Types of record": a stream is the concatenation of its contents.
pub fn records(kind: RecordType, id: u16, bytes: &[u8], max: u16) -> impl Iterator<Item = (Header, &[u8])> {
    bytes.chunks(usize::from(max.max(1))).map(move |content| {
        // A chunk is never longer than `max`, so the fallback is never taken; it keeps this free of a panic.
        let len = u16::try_from(content.len()).unwrap_or(max);
        (Header::new(kind, id, len), content)
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;

    #[track_caller]
    fn check(wire: [u8; 8], want: Header) {
        assert_eq!(Header::decode(&wire), Ok(want));
        assert_eq!(want.encode(), wire);
    }

    #[test]
    fn headers() {
        check([1, 1, 0, 1, 0, 8, 0, 0], Header { kind: RecordType::BeginRequest, id: 1, content: 8, padding: 0 });
        check(
            [1, 5, 0x12, 0x34, 0xff, 0xfe, 255, 0],
            Header { kind: RecordType::Stdin, id: 0x1234, content: 0xfffe, padding: 255 },
        );
        check([1, 99, 0, 0, 0, 0, 0, 0], Header { kind: RecordType::Other(99), id: 0, content: 0, padding: 0 });
    }

    #[test]
    fn reserved_byte_is_ignored() {
        let header = Header { kind: RecordType::Params, id: 1, content: 0, padding: 7 };
        assert_eq!(Header::decode(&[1, 4, 0, 1, 0, 0, 7, 0xaa]), Ok(header));
    }

    #[test]
    fn any_version_but_1_is_refused() {
        for version in (0..=255).filter(|&v| v != 1) {
            let wire = [version, 4, 0, 1, 0, 0, 0, 0];
            assert_eq!(Header::decode(&wire), Err(ProtocolError::Version(version)));
        }
    }

    #[test]
    fn every_type_byte_survives() {
        for byte in 0..=255 {
            assert_eq!(RecordType::from_wire(byte).to_wire(), byte);
        }
    }

    #[test]
    fn types_are_shown_by_name() {
        let names = "type 0, BEGIN_REQUEST, ABORT_REQUEST, END_REQUEST, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, \
            GET_VALUES_RESULT, UNKNOWN_TYPE, type 12";
        assert!((0..=12).map(RecordType::from_wire).map(|kind| format!("{kind}")).eq(names.split(", ")));
        assert_eq!(format!("[{:8}]", RecordType::Stdin), "[STDIN   ]");
    }

    #[test]
    fn records_split_at_the_maximum() {
        let bytes = [7u8; 131_071];
        let lens: [u16; 3] = core::array::from_fn(|i| {
            let (header, content) = records(RecordType::Stdin, 3, &bytes, Header::MAX_CONTENT).nth(i).expect("three");
            assert_eq!(usize::from(header.content), content.len());
            header.content
        });
        assert_eq!(lens, [65535, 65535, 1]);
        assert_eq!(records(RecordType::Stdin, 3, b"", 10).count(), 0);
        assert_eq!(records(RecordType::Stdin, 3, b"ab", 0).count(), 2);
    }
}
