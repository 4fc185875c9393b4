use std::{mem, str};

use super::Error;

/// The header section of an answer. RFC 3875 section 6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The value of the first header with this name, in any case, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        str::from_utf8(value).ok()
    }

    /// Takes a line, without its end.
    fn take(&mut self, line: &[u8]) -> Result<(), Error> {
        self.headers.push(parse_line(line).ok_or_else(|| malformed(line))?);
        Ok(())
    }

    /// Finds the status among the headers, now that they are complete.
    fn complete(mut self) -> Result<Self, Error> {
        if let Some((_, status)) = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("Status")) {
            self.status = parse_status(status).ok_or_else(|| malformed(status))?;
        } else if self.header("Location").is_some() {
            self.status = 302;
        }
        Ok(self)
    }
}

/// `Name: value`.
fn parse_line(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = str::from_utf8(&line[..colon]).ok()?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then(|| (name.to_owned(), line[colon + 1..].trim_ascii().to_vec()))
}

/// Three digits, with or without a reason behind them.
fn parse_status(value: &[u8]) -> Option<u16> {
    let code = value.split(|&byte| byte == b' ').next()?;
    let is_code = code.len() == 3 && code.iter().all(u8::is_ascii_digit);
    str::from_utf8(code).ok()?.parse().ok().filter(|&code| is_code && code >= 100)
}

fn malformed(line: &[u8]) -> Error {
    Error::Header(line.escape_ascii().take(200).map(char::from).collect())
}

/// A header section that is coming, in any pieces. Lines end in LF or CRLF.
#[derive(Debug)]
pub(crate) struct HeadReader {
    head: Head,
    /// What came of the line under way.
    line: Vec<u8>,
    /// Bytes that may still come.
    left: usize,
}

impl Default for HeadReader {
    fn default() -> Self {
        Self { head: Head { status: 200, headers: Vec::new() }, line: Vec::new(), left: Self::MAX_LEN }
    }
}

impl HeadReader {
    /// The longest section, in bytes.
    pub(crate) const MAX_LEN: usize = 64 << 10;

    /// Takes what belongs to the section off the front of `piece`; gives the section once it is whole.
    pub(crate) fn read(&mut self, piece: &mut &[u8]) -> Result<Option<Head>, Error> {
        while !piece.is_empty() {
            let end = piece.iter().position(|&byte| byte == b'\n');
            let (line, rest) = piece.split_at(end.map_or(piece.len(), |at| at + 1));
            *piece = rest;
            self.left = self.left.checked_sub(line.len()).ok_or(Error::TooLarge("header section", Self::MAX_LEN))?;
            self.line.extend_from_slice(line);
            match self.line.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
                None => {}
                Some([]) => return mem::take(self).head.complete().map(Some),
                Some(line) => {
                    self.head.take(line)?;
                    self.line.clear();
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(section: &[u8], status: u16, headers: &[(&str, &str)]) {
        for cut in 0..section.len() {
            let (mut first, mut second) = (&section[..cut], &[&section[cut..], b"\n\nbody"].concat()[..]);
            let mut reader = HeadReader::default();
            assert_eq!(reader.read(&mut first).expect("no error"), None, "cut at {cut}");
            let head = reader.read(&mut second).expect("no error").expect("whole");
            assert_eq!(second, b"\n\nbody");
            let got: Vec<_> = head.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            let want: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            assert_eq!((head.status, got), (status, want));
        }
    }

    #[test]
    fn lines_end_in_lf_or_crlf() {
        check(b"\n", 200, &[]);
        check(b"\r\n", 200, &[]);
        check(b"Status: 404 Not Here\nX-A: b \n\n", 404, &[("Status", "404 Not Here"), ("X-A", "b")]);
        check(b"status:404\r\nX-A:\r\n\r\n", 404, &[("status", "404"), ("X-A", "")]);
    }

    #[test]
    fn a_redirect_needs_no_status() {
        check(b"Location: /there\n\n", 302, &[("Location", "/there")]);
        check(b"Status: 201\nLocation: /there\n\n", 201, &[("Status", "201"), ("Location", "/there")]);
    }

    #[test]
    fn malformed_sections() {
        for section in ["HTTP/1.1 200 OK\n\n", ": x\n\n", "A: b\n c: d\n\n", "Status: 20\n\n", "Status: x\n\n"] {
            let read = HeadReader::default().read(&mut section.as_bytes());
            assert!(matches!(read, Err(Error::Header(_))), "{section}: {read:?}");
        }
        let read = HeadReader::default().read(&mut &b"A: b\n".repeat(HeadReader::MAX_LEN / 5 + 1)[..]);
        assert!(matches!(read, Err(Error::TooLarge(..))), "{read:?}");
    }
}
