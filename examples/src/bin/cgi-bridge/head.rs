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
    /// The program's own reason phrase, if it gives one.
    reason: Option<String>,
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
        let is_whole_http = bytes.starts_with(b"HTTP/");
        if is_whole_http {
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
        let mut head = Self { status: 0, reason: None, fields: Vec::new(), len: start + len };
        let mut has_location = false;
        for field in fields {
            if field.name.eq_ignore_ascii_case("status") {
                status = Some(code(field.value)?);
            } else {
                has_location |= field.name.eq_ignore_ascii_case("location");
                head.fields.push((field.name.to_owned(), field.value.trim_ascii().to_owned()));
            }
        }
        let default = (if has_location { 302 } else { 200 }, None);
        (head.status, head.reason) = status.unwrap_or(default);
        if is_whole_http && head.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("Transfer-Encoding")) {
            return Err("its body is in chunks, which only a web server may make".to_owned());
        }
        Ok(Some(head))
    }

    /// Begins the response. Fields that belong to the connection to the client are left out: their names are returned.
    pub(super) fn send(&self, out: &mut Response<'_>) -> Vec<&str> {
        out.status(self.status);
        if let Some(reason) = &self.reason {
            out.reason(reason);
        }
        let mut dropped = Vec::new();
        for (name, value) in &self.fields {
            if is_hop_by_hop(name) {
                dropped.push(&**name);
            } else if SINGLE.iter().any(|single| single.eq_ignore_ascii_case(name)) {
                out.set(name, value);
            } else {
                out.append(name, value);
            }
        }
        dropped
    }
}

/// Fields of which the last one counts.
const SINGLE: [&str; 3] = ["Content-Length", "Content-Type", "Location"];

/// Whether a field is for one connection only, RFC 9110 section 7.6.1.
fn is_hop_by_hop(name: &str) -> bool {
    const FIELDS: [&str; 6] = ["Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade"];
    let is_proxys = name.get(..6).is_some_and(|front| front.eq_ignore_ascii_case("Proxy-"));
    is_proxys || FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name))
}

fn partial(bytes: &[u8]) -> Result<Option<Head>, String> {
    if bytes.len() > MAX_LEN { Err(format!("its header block is longer than {MAX_LEN} bytes")) } else { Ok(None) }
}

/// The number in `404 Not Found`, and the words behind it.
fn code(text: &[u8]) -> Result<(u16, Option<String>), String> {
    let text = text.trim_ascii();
    let (digits, phrase) = text.split_at(text.iter().position(|&byte| byte == b' ').unwrap_or(text.len()));
    let number = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 3).and_then(|text| text.parse().ok());
    let number = number
        .filter(|number| (200..=999).contains(number))
        .ok_or_else(|| format!("its status is '{}'", text.escape_ascii()))?;
    let phrase = std::str::from_utf8(phrase.trim_ascii()).ok().filter(|phrase| !phrase.is_empty());
    Ok((number, phrase.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], status: (u16, Option<&str>), fields: &[(&str, &str)], body: &[u8]) {
        let len = bytes.len() - body.len();
        for cut in 0..len {
            assert_eq!(Head::parse(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let fields = fields.iter().map(|&(name, value)| (name.to_owned(), value.as_bytes().to_owned())).collect();
        let (status, reason) = (status.0, status.1.map(str::to_owned));
        assert_eq!(Head::parse(bytes), Ok(Some(Head { status, reason, fields, len })));
    }

    #[test]
    fn header_blocks() {
        check(b"Content-Type: text/plain\n\nbody", (200, None), &[("Content-Type", "text/plain")], b"body");
        check(b"status: 404 Not Here\r\nX-A:  b \r\n\r\n", (404, Some("Not Here")), &[("X-A", "b")], b"");
        check(b"Location: /there\n\n", (302, None), &[("Location", "/there")], b"");
        check(b"Status: 201\nLocation: /there\n\n", (201, None), &[("Location", "/there")], b"");
        check(b"HTTP/1.1 418 Teapot\r\nX-A: b\r\n\r\n\n", (418, Some("Teapot")), &[("X-A", "b")], b"\n");
        check(b"HTTP/1.0 204\n\n", (204, None), &[], b"");
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
            b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n",
            b"A: b\n folded\n\n",
            b"A b: c\n\n",
        ] {
            assert!(Head::parse(block).is_err(), "{}", block.escape_ascii());
        }
        assert!(Head::parse(&[b'a'; MAX_LEN + 1]).is_err());
        assert!(Head::parse("A: b\n".repeat(257).as_bytes()).is_err());
    }
}
