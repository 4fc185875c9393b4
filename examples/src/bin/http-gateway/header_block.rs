//! The header block in front of a CGI answer. RFC 3875 section 6.

use http_net::Response;

use super::failure::Failure;

/// The most header fields an answer may have.
const MAX_FIELDS: usize = 128;

/// Fields that speak of a connection, not of what is sent over it: ours to write.
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// A header block, understood.
#[derive(Debug)]
pub(super) struct HeaderBlock {
    /// The answer's status and fields; not yet how long its body is.
    pub(super) response: Response,
    /// `Content-Length`, if there is one.
    pub(super) content_length: Option<u64>,
    /// Bytes of the block, with the empty line that ends it.
    pub(super) len: usize,
}

impl HeaderBlock {
    /// Reads the block at the front of `bytes`; `None` if it does not end there yet. Lines end in LF or CRLF.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Failure> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let (len, fields) = match httparse::parse_headers(bytes, &mut fields) {
            Ok(httparse::Status::Complete(block)) => block,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(malformed(&error.to_string())),
        };
        let mut response = Response::new(status(fields)?);
        let mut content_length = None;
        for field in fields {
            let name = field.name.to_ascii_lowercase();
            match name.as_str() {
                "status" => {}
                "content-length" => {
                    if content_length.replace(decimal(field.value)?).is_some() {
                        return Err(malformed("two Content-Length fields"));
                    }
                }
                name if HOP_BY_HOP.contains(&name) => {}
                _ => response = response.header(field.name, field.value.trim_ascii()),
            }
        }
        Ok(Some(Self { response, content_length, len }))
    }
}

/// `Status`, or what RFC 3875 makes of an answer without one.
fn status(fields: &[httparse::Header<'_>]) -> Result<u16, Failure> {
    let value = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    let Some(line) = value("status") else {
        return Ok(if value("location").is_some() { 302 } else { 200 });
    };
    // A reason may follow; clients are told the standard one.
    let code = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    match decimal(code) {
        Ok(code @ 200..=599) => Ok(code as u16), // in range
        _ => Err(malformed(&format!("Status: {}", line.escape_ascii()))),
    }
}

/// Digits and nothing else, no sign.
fn decimal(value: &[u8]) -> Result<u64, Failure> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| malformed(&value.escape_ascii().to_string()))
}

fn malformed(what: &str) -> Failure {
    Failure::application(502, format!("the application sent a malformed header block: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], status: u16, content_length: Option<u64>, body: &[u8]) -> Response {
        let len = bytes.len() - body.len();
        for cut in 0..len {
            assert!(HeaderBlock::parse(&bytes[..cut]).expect("no error").is_none(), "cut at {cut}");
        }
        let block = HeaderBlock::parse(bytes).expect("no error").expect("whole");
        assert_eq!((block.response.status(), block.content_length, block.len), (status, content_length, len));
        block.response
    }

    #[test]
    fn lines_end_in_lf_or_crlf() {
        for block in [&b"Status: 404 Not Here\nX-A: b \n\nbody"[..], b"status:404\r\nx-a:b\r\n\r\nbody"] {
            let response = check(block, 404, None, b"body");
            assert_eq!(response.header_value("x-a"), Some(&b"b"[..]));
            assert_eq!(response.header_value("status"), None);
        }
    }

    #[test]
    fn without_a_status_it_is_200_or_with_a_location_302() {
        check(b"Content-Type: text/plain\n\n", 200, None, b"");
        check(b"Location: /there\n\n", 302, None, b"");
        check(b"Status: 201 Created\nLocation: /there\n\n", 201, None, b"");
        check(b"\nbody", 200, None, b"body");
    }

    #[test]
    fn how_the_body_travels_is_ours_to_say() {
        let response =
            check(b"Content-Length: 5\nTransfer-Encoding: chunked\nConnection: close\n\nabcde", 200, Some(5), b"abcde");
        for name in ["content-length", "transfer-encoding", "connection"] {
            assert_eq!(response.header_value(name), None);
        }
    }

    #[test]
    fn malformed_blocks() {
        for block in [
            &b"HTTP/1.1 200 OK\n\n"[..],
            b"no colon\n\n",
            b"Status: abc\n\n",
            b"Status: 100\n\n",
            b"Status: +200\n\n",
            b"Content-Length: -1\n\n",
            b"Content-Length: 18446744073709551616\n\n",
            b"Content-Length: 1\nContent-Length: 1\n\n",
            b"A: b\n c\n\n",
        ] {
            assert!(HeaderBlock::parse(block).is_err(), "{}", block.escape_ascii());
        }
        assert!(HeaderBlock::parse("A: b\n".repeat(129).as_bytes()).is_err());
    }
}
