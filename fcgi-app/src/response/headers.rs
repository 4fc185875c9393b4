//! The header section of a response: set, added, removed and read while nothing of it was sent.

use super::{FRONT, Head, Length, Response};
use crate::Cookie;

/// Why a header is refused that comes after the section.
const TOO_LATE: &str = "the header section ended with the first byte of the body";

impl Response<'_> {
    /// Sets a header, in place of all that have this name.
    ///
    /// Refused are names that are no token, control characters other than the tab in values, a `Content-Length` that is
    /// no number, `Status`, and the fields that are for a single connection, which is the web server's: `Connection`,
    /// `Keep-Alive`, `TE`, `Trailer`, `Transfer-Encoding`, `Upgrade` and `Proxy-*` (RFC 9110 section 7.6.1).
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        if self.check_header(name, value) {
            self.take_out(name);
            self.push_header(name, value);
        }
        self
    }

    /// Adds a header beside those that have this name, as `Set-Cookie`, `Vary` and `Link` need it.
    ///
    /// What [`set`](Self::set) refuses is refused, and a second `Content-Length`, `Content-Type` or `Location`.
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        let is_single = ["Content-Length", "Content-Type", "Location"].iter().any(|one| one.eq_ignore_ascii_case(name));
        if is_single && self.header(name).is_some() {
            return self.refuse_header(name, "a response has only one");
        }
        if self.check_header(name, value) {
            self.push_header(name, value);
        }
        self
    }

    /// Removes all headers that have this name.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        if self.head != Head::Open {
            return self.refuse_header(name, TOO_LATE);
        }
        if name.eq_ignore_ascii_case("Content-Length") {
            self.length = Length::Counted;
        }
        self.take_out(name);
        self
    }

    /// The value of the last header of this name that was set and not yet sent.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let section = match self.head {
            Head::Open => &self.buffer[FRONT..],
            Head::Complete => &self.buffer[FRONT..self.body_at - 2],
            Head::Sent | Head::Over => &[],
        };
        lines(section).filter_map(|line| value_of(line, name)).last()
    }

    /// Whether a header may be set; else it is refused.
    fn check_header(&mut self, name: &str, value: &[u8]) -> bool {
        let why = if self.head != Head::Open {
            TOO_LATE
        } else if !is_token(name) {
            "not a header name"
        } else if name.eq_ignore_ascii_case("Status") {
            "the status is set by Response::status"
        } else if is_hop_by_hop(name) {
            "only the web server may send it"
        } else if value.iter().copied().any(is_control) {
            "a control character in the value"
        } else if name.eq_ignore_ascii_case("Content-Length") {
            match decimal_of(value) {
                Some(length) => {
                    self.length = Length::Announced(length);
                    return true;
                }
                None => "not a number of bytes",
            }
        } else {
            return true;
        };
        self.refuse_header(name, why);
        false
    }

    fn push_header(&mut self, name: &str, value: &[u8]) {
        self.buffer.reserve(name.len() + value.len() + 4);
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b": ");
        self.buffer.extend_from_slice(value);
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// Takes a header out of a section that is open.
    fn take_out(&mut self, name: &str) {
        let mut at = FRONT;
        loop {
            let Some(line) = lines(&self.buffer[at..]).next() else { return };
            let (len, is_it) = (line.len() + 2, value_of(line, name).is_some());
            if is_it {
                self.buffer.drain(at..at + len);
            } else {
                at += len;
            }
        }
    }

    /// Sets the `Content-Type`.
    pub fn content_type(&mut self, value: &str) -> &mut Self {
        self.set("Content-Type", value)
    }

    /// Adds a `Set-Cookie` header. A cookie that clients would misread is refused.
    pub fn cookie(&mut self, cookie: &Cookie<'_>) -> &mut Self {
        match cookie.fault() {
            Some(fault) => self.refuse(fault),
            None => self.append("Set-Cookie", cookie.to_string()),
        }
    }

    /// Sets a variable that a request gets which an [`Authorizer`](crate::Authorizer) lets go on: the header
    /// `Variable-NAME` (specification section 6.3).
    pub fn variable(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        if name.is_empty() {
            return self.refuse("a variable has a name");
        }
        self.set(&format!("Variable-{name}"), value)
    }

    /// Forbids caches to store the response: `Cache-Control: no-store`.
    pub fn no_store(&mut self) -> &mut Self {
        self.set("Cache-Control", "no-store")
    }
}

/// Whether `name` is a token, RFC 9110 section 5.6.2.
pub(crate) fn is_token(name: &str) -> bool {
    let is_other = |byte| matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_other(byte))
}

/// Whether a header is for the next connection only, RFC 9110 section 7.6.1, which is between web server and client.
fn is_hop_by_hop(name: &str) -> bool {
    const FIELDS: [&str; 6] = ["Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade"];
    let is_proxys = name.get(..6).is_some_and(|front| front.eq_ignore_ascii_case("Proxy-"));
    is_proxys || FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name))
}

/// Whether a byte may not be in the value of a header: RFC 9110 section 5.5.
pub(super) fn is_control(byte: u8) -> bool {
    byte != b'\t' && byte.is_ascii_control()
}

/// The lines of a header section, without their ends.
fn lines(section: &[u8]) -> impl Iterator<Item = &[u8]> {
    // No value contains CR or LF.
    section.split_inclusive(|&byte| byte == b'\n').map(|line| &line[..line.len() - 2])
}

/// The value of a header line, if it has this name.
fn value_of<'l>(line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    if found.eq_ignore_ascii_case(name.as_bytes()) { value.strip_prefix(b": ") } else { None }
}

/// A number of bytes.
fn decimal_of(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}
