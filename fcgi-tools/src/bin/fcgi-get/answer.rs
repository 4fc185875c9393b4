//! The answer of a CGI program: a header section, an empty line, the body.

use std::io::Write;

use fcgi_proto::{EndRequest, ProtocolStatus};

use super::{not_printed, protocol};
use crate::error::Error;

/// The longest header section, in bytes.
const MAX_HEAD: usize = 256 * 1024;

/// Copies the body to `out` while it comes; of the rest it keeps the status.
pub(super) struct Answer<W> {
    out: W,
    include: bool,
    /// What has come of the header section.
    head: Vec<u8>,
    /// Its status, when it was complete.
    status: Option<u16>,
    /// Bytes of the body that came.
    body: usize,
    ended: bool,
}

impl<W: Write> Answer<W> {
    pub(super) fn new(out: W, include: bool) -> Self {
        Answer { out, include, head: Vec::new(), status: None, body: 0, ended: false }
    }

    /// More of it.
    pub(super) fn stdout(&mut self, content: &[u8]) -> Result<(), Error> {
        if self.ended {
            return Err(protocol("the application sent more after the end of its answer"));
        }
        if self.status.is_some() {
            self.body += content.len();
            return self.print(content);
        }
        // An end of the section may begin in what came before.
        let seen = self.head.len().saturating_sub(2);
        self.head.extend_from_slice(content);
        let Some(end) = end_of_head(&self.head, seen) else {
            return if self.head.len() <= MAX_HEAD {
                Ok(())
            } else {
                Err(protocol(format!("the header section is longer than {MAX_HEAD} bytes")))
            };
        };
        let head = std::mem::take(&mut self.head);
        self.status = Some(status(&head[..end])?);
        self.body = head.len() - end;
        self.print(if self.include { &head } else { &head[end..] })
    }

    /// There is no more of it.
    pub(super) fn stdout_end(&mut self) {
        self.ended = true;
    }

    /// How much of it came, for a message about one that is not whole.
    pub(super) fn came(&self) -> String {
        match (self.status, self.body) {
            (None, _) if self.head.is_empty() => "nothing of it came".to_owned(),
            (None, _) => "its header section is not whole".to_owned(),
            (Some(_), 1) => "1 byte of its body came".to_owned(),
            (Some(_), body) => format!("{body} bytes of its body came"),
        }
    }

    /// The exit status.
    pub(super) fn end(self, end: EndRequest) -> Result<u8, Error> {
        let refused = |why| Err(protocol(format!("the application refused the request: {why}")));
        match end.protocol_status {
            ProtocolStatus::RequestComplete => {}
            ProtocolStatus::CantMpxConn => return refused("FCGI_CANT_MPX_CONN"),
            ProtocolStatus::Overloaded => return refused("FCGI_OVERLOADED"),
            ProtocolStatus::UnknownRole => return refused("FCGI_UNKNOWN_ROLE"),
            ProtocolStatus::Other(status) => return refused(&format!("protocolStatus {status}")),
        }
        match self.status {
            Some(..400) => Ok(0),
            Some(_) => Ok(22),
            None if self.head.is_empty() => Err(protocol("the application answered nothing")),
            None => Err(protocol("the answer ended in its header section")),
        }
    }

    fn print(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // Flushed, so that a slow answer is seen as it comes.
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(|error| not_printed(&error))
    }
}

/// Where the body begins: behind an empty line, which ends in LF or CRLF. Nothing before `from` is looked at.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let starts_empty = |at: usize| match &bytes[at..] {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    };
    if let (0, Some(end)) = (from, starts_empty(0)) {
        return Some(end);
    }
    let newlines = bytes.iter().enumerate().skip(from).filter(|&(_, &byte)| byte == b'\n');
    newlines.filter_map(|(at, _)| starts_empty(at + 1)).next()
}

/// The value of `Status`, 200 without one. RFC 3875, section 6.3.3.
fn status(head: &[u8]) -> Result<u16, Error> {
    let mut status = 200;
    let mut headers = 0;
    for line in head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        let bad = || protocol(format!("not a header: {}", line.escape_ascii()));
        let at = line.iter().position(|&byte| byte == b':').filter(|&at| at > 0).ok_or_else(bad)?;
        headers += 1;
        if line[..at].eq_ignore_ascii_case(b"Status") {
            let value = line[at + 1..].trim_ascii_start();
            let code = value.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            let number = std::str::from_utf8(code).ok().and_then(|code| code.parse().ok());
            status = number.filter(|number| code.len() == 3 && (100..=999).contains(number)).ok_or_else(bad)?;
        }
    }
    if headers == 0 { Err(protocol("the answer has no header")) } else { Ok(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: EndRequest = EndRequest { app_status: 0, protocol_status: ProtocolStatus::RequestComplete };

    /// The answer, cut in two anywhere, is printed as `body` and ends in this status.
    #[track_caller]
    fn check(bytes: &[u8], body: &[u8], exit: u8) {
        for cut in 0..=bytes.len() {
            let mut out = Vec::new();
            let mut answer = Answer::new(&mut out, false);
            answer.stdout(&bytes[..cut]).and_then(|()| answer.stdout(&bytes[cut..])).expect("a proper answer");
            assert_eq!(answer.end(COMPLETE).expect("a proper answer"), exit, "cut at {cut}");
            assert_eq!(out, body, "cut at {cut}");
        }
    }

    #[track_caller]
    fn refuses(bytes: &[u8], message: &str) {
        let mut answer = Answer::new(Vec::new(), false);
        let error = answer.stdout(bytes).and_then(|()| answer.end(COMPLETE)).expect_err(message);
        assert_eq!((error.to_string(), error.exit_status()), (message.into(), 1));
    }

    #[test]
    fn the_status_decides() {
        check(b"Status: 204 No Content\r\n\r\n", b"", 0);
        check(b"Content-Type: text/plain\nstatus:302\n\nbody\n\nmore", b"body\n\nmore", 0);
        check(b"X: y\r\n\r\n\r\nbody", b"\r\nbody", 0);
        check(b"Status: 399\n\r\n", b"", 0);
        check(b"Status: 400\n\nno", b"no", 22);
        check(b"A: b\r\nStatus: 503 Later\r\nC: d\r\n\r\nno", b"no", 22);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        refuses(b"", "the application answered nothing");
        refuses(b"Status: 200\n", "the answer ended in its header section");
        refuses(b"\nbody", "the answer has no header");
        refuses(b"HTTP/1.1 200 OK\r\n\r\n", "not a header: HTTP/1.1 200 OK");
        refuses(b": x\n\n", "not a header: : x");
        refuses(b"Status: fine\n\n", "not a header: Status: fine");
        refuses(b"Status: 0200\n\n", "not a header: Status: 0200");
        refuses(&[b'x'; MAX_HEAD + 1], "the header section is longer than 262144 bytes");
    }

    #[test]
    fn what_came_is_counted_at_every_cut() {
        let bytes = b"Status: 200\r\n\r\nbody";
        for cut in 0..=bytes.len() {
            for first in 0..=cut {
                let mut answer = Answer::new(Vec::new(), true);
                answer.stdout(&bytes[..first]).and_then(|()| answer.stdout(&bytes[first..cut])).expect("a response");
                let want = match cut {
                    0 => "nothing of it came",
                    1..15 => "its header section is not whole",
                    15 => "0 bytes of its body came",
                    16 => "1 byte of its body came",
                    17 => "2 bytes of its body came",
                    18 => "3 bytes of its body came",
                    _ => "4 bytes of its body came",
                };
                assert_eq!(answer.came(), want, "{first} and {cut}");
            }
        }
    }

    #[test]
    fn the_header_section_is_printed_as_it_came() {
        let mut out = Vec::new();
        Answer::new(&mut out, true).stdout(b"A: b\r\nC: d\n\nbody").expect("a proper answer");
        assert_eq!(out, b"A: b\r\nC: d\n\nbody");
    }

    #[test]
    fn refusals_are_named() {
        let end = |protocol_status| Answer::new(Vec::new(), false).end(EndRequest { app_status: 0, protocol_status });
        for (status, name) in [
            (ProtocolStatus::CantMpxConn, "FCGI_CANT_MPX_CONN"),
            (ProtocolStatus::Overloaded, "FCGI_OVERLOADED"),
            (ProtocolStatus::UnknownRole, "FCGI_UNKNOWN_ROLE"),
            (ProtocolStatus::Other(9), "protocolStatus 9"),
        ] {
            let error = end(status).expect_err(name);
            assert_eq!(error.to_string(), format!("the application refused the request: {name}"));
            assert_eq!(error.exit_status(), 1);
        }
    }
}
