//! FastCGI records as literal bytes.
//!
//! Written from the specification, without `fcgi-proto`: if its encoder and its decoder shared a mistake, tests that
//! use them for both sides would not see it. Nothing here is checked or clever, so that wrong bytes can be
//! spelt as easily as right ones. Section numbers are those of the FastCGI specification 1.0.

use std::io::{self, Read};

/// Record types (section 8).
pub const BEGIN_REQUEST: u8 = 1;
/// See section 5.4.
pub const ABORT_REQUEST: u8 = 2;
/// See section 5.5.
pub const END_REQUEST: u8 = 3;
/// See section 5.2.
pub const PARAMS: u8 = 4;
/// See section 5.3.
pub const STDIN: u8 = 5;
/// See section 5.3.
pub const STDOUT: u8 = 6;
/// See section 5.3.
pub const STDERR: u8 = 7;
/// See section 5.3.
pub const DATA: u8 = 8;
/// See section 4.1.
pub const GET_VALUES: u8 = 9;
/// See section 4.1.
pub const GET_VALUES_RESULT: u8 = 10;
/// See section 4.2.
pub const UNKNOWN_TYPE: u8 = 11;

/// The role of an ordinary application (section 6.2).
pub const RESPONDER: u16 = 1;
/// The flag that asks to keep the connection (section 5.1).
pub const KEEP_CONN: u8 = 1;

/// A record (section 3.3): version, type, id, length of the content, length of the padding, reserved; then both.
pub fn padded_record(kind: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let [id1, id0] = id.to_be_bytes();
    let length = u16::try_from(content.len()).expect("a record holds at most 65535 bytes");
    let [length1, length0] = length.to_be_bytes();
    let mut bytes = vec![1, kind, id1, id0, length1, length0, padding, 0];
    bytes.extend_from_slice(content);
    // Not zero: nobody may look at it.
    bytes.resize(bytes.len() + usize::from(padding), 0xee);
    bytes
}

/// A record without padding.
pub fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    padded_record(kind, id, content, 0)
}

/// BEGIN_REQUEST (section 5.1): role, flags, five reserved bytes.
pub fn begin(id: u16, role: u16, flags: u8) -> Vec<u8> {
    let [role1, role0] = role.to_be_bytes();
    record(BEGIN_REQUEST, id, &[role1, role0, flags, 0, 0, 0, 0, 0])
}

/// A name-value pair (section 3.4): both lengths, in one byte up to 127 and in four above, then both.
pub fn pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [name, value] {
        match u8::try_from(part.len()) {
            Ok(length @ ..=127) => bytes.push(length),
            _ => {
                let length = u32::try_from(part.len()).expect("a length has 31 bits");
                bytes.extend_from_slice(&(length | 0x8000_0000).to_be_bytes());
            }
        }
    }
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(value);
    bytes
}

/// Several pairs, one after the other.
pub fn pairs(list: &[(&str, &str)]) -> Vec<u8> {
    list.iter().flat_map(|(name, value)| pair(name.as_bytes(), value.as_bytes())).collect()
}

/// A whole stream (section 3.3): records of at most `size` content bytes, then an empty one.
pub fn stream(kind: u8, id: u16, content: &[u8], size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = content.chunks(size).flat_map(|part| record(kind, id, part)).collect();
    bytes.extend(record(kind, id, &[]));
    bytes
}

/// A whole request to a Responder, with the params that web servers always send and `more` ones.
pub fn request(id: u16, flags: u8, path: &str, more: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let method = if body.is_empty() { "GET" } else { "POST" };
    let mut params = pairs(&[
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REQUEST_METHOD", method),
        ("SCRIPT_NAME", path),
        ("DOCUMENT_URI", path),
        ("REQUEST_URI", path),
        ("QUERY_STRING", ""),
        ("CONTENT_LENGTH", if body.is_empty() { "" } else { &length }),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "192.0.2.1"),
    ]);
    params.extend(pairs(more));
    let mut bytes = begin(id, RESPONDER, flags);
    bytes.extend(stream(PARAMS, id, &params, 65535));
    bytes.extend(stream(STDIN, id, body, 32768));
    bytes
}

/// A GET without a body.
pub fn get(id: u16, flags: u8, path: &str) -> Vec<u8> {
    request(id, flags, path, &[], &[])
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its type.
    pub kind: u8,
    /// Its request id.
    pub id: u16,
    /// Its content, without padding.
    pub content: Vec<u8>,
}

impl Record {
    /// Reads a record; `None` when the input ends before its first byte.
    pub fn read(input: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; 8];
        match input.read_exact(&mut header[..1]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        input.read_exact(&mut header[1..])?;
        let [version, kind, id1, id0, length1, length0, padding, _reserved] = header;
        if version != 1 {
            return Err(io::Error::other(format!("a record of version {version}")));
        }
        let mut content = vec![0; usize::from(u16::from_be_bytes([length1, length0]))];
        input.read_exact(&mut content)?;
        input.read_exact(&mut vec![0; usize::from(padding)])?;
        Ok(Some(Record { kind, id: u16::from_be_bytes([id1, id0]), content }))
    }
}

/// What an application answered to one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// The whole of FCGI_STDOUT: CGI headers, an empty line, the body.
    pub stdout: Vec<u8>,
    /// The whole of FCGI_STDERR.
    pub stderr: Vec<u8>,
    /// From END_REQUEST.
    pub app_status: u32,
    /// From END_REQUEST; 0 is REQUEST_COMPLETE.
    pub protocol_status: u8,
}

impl Response {
    /// Reads records up to the END_REQUEST of request `id`. Every other id and every type that is no
    /// part of a response is an error, as it is for nginx.
    pub fn read(input: &mut impl Read, id: u16) -> io::Result<Self> {
        let mut response = Response::default();
        let mut stdout_ended = false;
        loop {
            let record = Record::read(input)?.ok_or_else(|| io::Error::other("closed before END_REQUEST"))?;
            if record.id != id {
                return Err(io::Error::other(format!("a record of id {}: {record:?}", record.id)));
            }
            match record.kind {
                STDOUT if stdout_ended => return Err(io::Error::other("STDOUT after its end")),
                STDOUT => {
                    stdout_ended = record.content.is_empty();
                    response.stdout.extend(record.content);
                }
                STDERR => response.stderr.extend(record.content),
                END_REQUEST => {
                    let body: [u8; 8] = record.content[..]
                        .try_into()
                        .map_err(|_| io::Error::other("END_REQUEST has other than 8 bytes"))?;
                    let [a, b, c, d, protocol_status, ..] = body;
                    response.app_status = u32::from_be_bytes([a, b, c, d]);
                    response.protocol_status = protocol_status;
                    return Ok(response);
                }
                _ => return Err(io::Error::other(format!("not part of a response: {record:?}"))),
            }
        }
    }

    /// The status from the `Status:` header, 200 without one (RFC 3875, section 6.3.3).
    #[track_caller]
    pub fn status(&self) -> u16 {
        let Some(status) = self.header("Status") else { return 200 };
        let code = status.split(' ').next().unwrap_or_default();
        code.parse().unwrap_or_else(|_| panic!("not a status: {status}"))
    }

    /// The value of the header `name`, whatever its case.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<String> {
        let head = String::from_utf8_lossy(self.split().0).into_owned();
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// What comes after the headers.
    #[track_caller]
    pub fn body(&self) -> &[u8] {
        self.split().1
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body()).into_owned()
    }

    /// Headers end at an empty line; lines end in LF or in CRLF.
    #[track_caller]
    fn split(&self) -> (&[u8], &[u8]) {
        let end =
            |mark: &[u8]| self.stdout.windows(mark.len()).position(|bytes| bytes == mark).map(|at| at + mark.len());
        let end = [end(b"\n\n"), end(b"\r\n\r\n")].into_iter().flatten().min();
        self.stdout.split_at(end.unwrap_or_else(|| panic!("no end of the headers: {self:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begin_request_as_in_the_specification() {
        assert_eq!(begin(1, RESPONDER, KEEP_CONN), [1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(begin(0x0203, 0x0405, 6), [1, 1, 2, 3, 0, 8, 0, 0, 4, 5, 6, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn lengths_have_one_byte_up_to_127_and_four_above() {
        assert_eq!(pair(b"A", b""), b"\x01\x00A");
        assert_eq!(pair(&[b'n'; 127], b"v")[..2], [127, 1]);
        assert_eq!(pair(&[b'n'; 128], b"v")[..5], [0x80, 0, 0, 128, 1]);
        assert_eq!(pair(b"n", &[b'v'; 0x1_0203])[..5], [1, 0x80, 1, 2, 3]);
    }

    #[test]
    fn a_stream_ends_in_an_empty_record() {
        let bytes = stream(STDIN, 1, b"abc", 2);
        assert_eq!(bytes, b"\x01\x05\0\x01\0\x02\0\0ab\x01\x05\0\x01\0\x01\0\0c\x01\x05\0\x01\0\0\0\0");
    }

    #[test]
    fn padding_follows_the_content() {
        assert_eq!(padded_record(STDIN, 1, b"a", 2), b"\x01\x05\0\x01\0\x01\x02\0a\xee\xee");
    }

    #[test]
    fn a_response_is_taken_apart() {
        let bytes: Vec<u8> = [
            &b"\x01\x06\0\x01\0\x16\x02\0Status: 404 Not Found\nPP"[..],
            b"\x01\x07\0\x01\0\x04\0\0oops",
            b"\x01\x06\0\x01\0\x0e\0\0X-Y:  z \n\nbody",
            b"\x01\x06\0\x01\0\0\0\0",
            b"\x01\x03\0\x01\0\x08\0\0\0\0\x01\x02\x03\0\0\0",
            b"next",
        ]
        .concat();
        let mut input = &bytes[..];
        let response = Response::read(&mut input, 1).expect("a response");
        assert_eq!(input, b"next");
        assert_eq!((response.status(), response.header("x-y").as_deref()), (404, Some("z")));
        assert_eq!((response.body(), &response.stderr[..]), (&b"body"[..], &b"oops"[..]));
        assert_eq!((response.app_status, response.protocol_status), (0x102, 3));
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for bytes in [
            &b""[..],
            b"\x01\x06\0\x02\0\0\0\0",                          // another id
            b"\x01\x06\0\x01\0\0\0\0\x01\x06\0\x01\0\x01\0\0x", // more after the end
            b"\x01\x0a\0\x01\0\0\0\0",                          // a management record
            b"\x02\x06\0\x01\0\0\0\0",                          // another version
            b"\x01\x03\0\x01\0\x07\0\0\0\0\0\0\0\0\0",          // a short END_REQUEST
        ] {
            assert!(Response::read(&mut &bytes[..], 1).is_err(), "{bytes:?}");
        }
    }
}
