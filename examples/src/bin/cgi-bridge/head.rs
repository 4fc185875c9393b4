//! The header block in front of a CGI answer. RFC 3875 section 6.

use fcgi_app::Response;

/// The largest block, in bytes.
pub(super) const MAX_LEN: usize = 64 << 10;

/// The most header fields.
const MAX_FIELDS: usize = 256;

/// A header block, understood.
#[derive(Debug, PartialEq)]
pub(super) struct Head {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    /// Bytes of the block, with the empty line that ends it.
    pub(super) len: usize,
}

impl Head {
    /// Reads the block at the front of `bytes`; `None` if it does not end there yet. Lines end in LF or CRLF.
    ///
    /// A first line `HTTP/1.1 404 Not Found`, as programs called `nph-*` write it, is read as a `Status`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        let (mut status, mut start) = (None, 0);
        if bytes.starts_with(b"HTTP/") {
            let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return partial(bytes) };
            let line = bytes[..end].trim_ascii();
            let after_version = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
            status = Some(code(&line[after_version..])?);
            start = end + 1;
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let (len, fields) = match httparse::parse_headers(&bytes[start..], &mut fields) {
            Ok(httparse::Status::Complete(block)) => block,
            Ok(httparse::Status::Partial) => return partial(bytes),
            Err(error) => return Err(format!("its header block is malformed: {error}")),
        };
        if fields.is_empty() && status.is_none() {
            return Err("its header block is empty".to_owned());
        }
        let mut head = Self { status: 0, fields: Vec::new(), len: start + len };
        let mut has_location = false;
        for field in fields {
            if field.name.eq_ignore_ascii_case("status") {
                status = Some(code(field.value)?);
            } else {
                has_location |= field.name.eq_ignore_ascii_case("location");
                head.fields.push((field.name.to_owned(), field.value.trim_ascii().to_owned()));
            }
        }
        head.status = status.unwrap_or(if has_location { 302 } else { 200 });
        Ok(Some(head))
    }

    pub(super) fn send(&self, out: &mut Response<'_>) {
        out.status(self.status);
        for (name, value) in &self.fields {
            out.header(name, value);
        }
    }
}

fn partial(bytes: &[u8]) -> Result<Option<Head>, String> {
    if bytes.len() > MAX_LEN { Err(format!("its header block is longer than {MAX_LEN} bytes")) } else { Ok(None) }
}

/// The number in `404 Not Found`; clients are told the standard reason.
fn code(text: &[u8]) -> Result<u16, String> {
    let digits = text.trim_ascii().split(|&byte| byte == b' ').next().unwrap_or_default();
    let number = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 3).and_then(|text| text.parse().ok());
    number
        .filter(|number| (200..=999).contains(number))
        .ok_or_else(|| format!("its status is '{}'", text.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], status: u16, fields: &[(&str, &str)], body: &[u8]) {
        let len = bytes.len() - body.len();
        for cut in 0..len {
            assert_eq!(Head::parse(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let fields = fields.iter().map(|&(name, value)| (name.to_owned(), value.as_bytes().to_owned())).collect();
        assert_eq!(Head::parse(bytes), Ok(Some(Head { status, fields, len })));
    }

    #[test]
    fn header_blocks() {
        check(b"Content-Type: text/plain\n\nbody", 200, &[("Content-Type", "text/plain")], b"body");
        check(b"status: 404 Not Here\r\nX-A:  b \r\n\r\n", 404, &[("X-A", "b")], b"");
        check(b"Location: /there\n\n", 302, &[("Location", "/there")], b"");
        check(b"Status: 201\nLocation: /there\n\n", 201, &[("Location", "/there")], b"");
        check(b"HTTP/1.1 418 Teapot\r\nX-A: b\r\n\r\n\n", 418, &[("X-A", "b")], b"\n");
        check(b"HTTP/1.0 204\n\n", 204, &[], b"");
    }

    #[test]
    fn what_is_no_header_block() {
        for block in [
            &b"Hello, World!\n"[..],
            b"\nbody",
            b"no colon\n\n",
            b"Status: abc\n\n",
            b"Status: 100 Continue\n\n",
            b"Status: +20\n\n",
            b"Status: 2000\n\n",
            b"HTTP/1.1\n\n",
            b"A: b\n folded\n\n",
            b"A b: c\n\n",
        ] {
            assert!(Head::parse(block).is_err(), "{}", block.escape_ascii());
        }
        assert!(Head::parse(&[b'a'; MAX_LEN + 1]).is_err());
        assert!(Head::parse("A: b\n".repeat(257).as_bytes()).is_err());
    }
}
