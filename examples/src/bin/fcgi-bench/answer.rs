//! An answer as it comes, compared with the expected one piece by piece: nothing but its header block is ever held.

use fcgi_proto::{EndRequest, ProtocolStatus};

use super::failure::{Class, Failure};

/// The longest header block of an answer, in bytes.
const MAX_HEADER_BLOCK: usize = 64 * 1024;

/// The most fields in it.
const MAX_FIELDS: usize = 64;

/// What is a right answer.
#[derive(Debug)]
pub(super) struct Expectation {
    pub(super) status: u16,
    pub(super) body: ExpectedBody,
    /// Whether `Content-Length` speaks of the body that comes, as it does not in the answer to a HEAD.
    pub(super) content_length: bool,
}

/// What is a right body.
#[derive(Debug)]
pub(super) enum ExpectedBody {
    Any,
    Length(u64),
    Exactly(Vec<u8>),
}

/// What has come of an answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Whether anything has.
    pub(super) begun: bool,
    /// The header block, as long as it is not whole.
    partial: Vec<u8>,
    head: Option<Head>,
    /// Bytes of the body so far.
    len: u64,
    /// The first thing that was wrong.
    fault: Option<String>,
}

/// What a header block said.
#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    content_length: Option<u64>,
}

impl Answer {
    /// Forgets everything, for the next answer.
    pub(super) fn clear(&mut self) {
        self.partial.clear();
        (self.begun, self.head, self.len, self.fault) = (false, None, 0, None);
    }

    /// Takes a piece of STDOUT.
    pub(super) fn take(&mut self, content: &[u8], want: &Expectation) {
        self.begun = true;
        if self.head.is_some() {
            return self.take_body(content, &want.body);
        }
        if self.fault.is_some() {
            return;
        }
        // Mostly it comes whole, and is read where it is.
        let mut joined = std::mem::take(&mut self.partial);
        let block = match &joined[..] {
            [] => content,
            _ => {
                joined.extend_from_slice(content);
                &joined
            }
        };
        match Head::parse(block) {
            Ok(Some((head, len))) => {
                self.head = Some(head);
                self.take_body(&block[len..], &want.body);
                joined.clear();
            }
            Ok(None) if block.len() > MAX_HEADER_BLOCK => self.fault = Some("the header block has no end".into()),
            Ok(None) if joined.is_empty() => joined.extend_from_slice(content),
            Ok(None) => {}
            Err(fault) => self.fault = Some(fault),
        }
        self.partial = joined;
    }

    fn take_body(&mut self, content: &[u8], want: &ExpectedBody) {
        if let (ExpectedBody::Exactly(want), None) = (want, &self.fault) {
            let rest = usize::try_from(self.len).ok().and_then(|len| want.get(len..)).unwrap_or_default();
            if !rest.starts_with(content) {
                let same = rest.iter().zip(content).take_while(|(a, b)| a == b).count();
                self.fault = Some(if same == rest.len() {
                    format!("the body is longer than {} bytes", want.len())
                } else {
                    format!("the body differs at byte {}", self.len + same as u64)
                });
            }
        }
        self.len += content.len() as u64;
    }

    /// Says whether the answer was right, now that the request ended.
    pub(super) fn verdict(&self, end: EndRequest, want: &Expectation) -> Result<(), Failure> {
        match end.protocol_status {
            ProtocolStatus::RequestComplete => {}
            ProtocolStatus::CantMpxConn => return Err(Failure::new(Class::Refused, "CANT_MPX_CONN")),
            ProtocolStatus::Overloaded => return Err(Failure::new(Class::Refused, "OVERLOADED")),
            ProtocolStatus::UnknownRole => return Err(Failure::new(Class::Refused, "UNKNOWN_ROLE")),
            ProtocolStatus::Other(n) => return Err(Failure::new(Class::Refused, format!("protocol status {n}"))),
        }
        // The status first: an error page differs from the expected body, too.
        match self.head {
            Some(Head { status, .. }) if status != want.status => {
                return Err(Failure::wrong(format!("status {status} instead of {}", want.status)));
            }
            None if self.fault.is_none() => return Err(Failure::wrong("no whole header block")),
            _ => {}
        }
        if let Some(fault) = &self.fault {
            return Err(Failure::wrong(fault));
        }
        let due = match &want.body {
            ExpectedBody::Any => None,
            ExpectedBody::Length(due) => Some(*due),
            ExpectedBody::Exactly(body) => Some(body.len() as u64),
        };
        let promised = self.head.and_then(|head| head.content_length).filter(|_| want.content_length);
        match (due, promised) {
            (Some(due), _) if due != self.len => {
                Err(Failure::wrong(format!("a body of {} bytes instead of {due}", self.len)))
            }
            (_, Some(promised)) if promised != self.len => {
                Err(Failure::wrong(format!("a body of {} bytes with Content-Length: {promised}", self.len)))
            }
            // A handler that fails after its header block has no other way to say so.
            _ if end.app_status != 0 => Err(Failure::wrong(format!("appStatus {}", end.app_status))),
            _ => Ok(()),
        }
    }
}

impl Head {
    /// Reads a header block and gives its length; `None` if it does not end within `bytes`.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let (len, fields) = match httparse::parse_headers(bytes, &mut fields) {
            Ok(httparse::Status::Complete(whole)) => whole,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(format!("a malformed header block: {error}")),
        };
        let value = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|f| f.value);
        let status = match value("Status") {
            // A reason may follow.
            Some(line) => decimal(line.split(|&byte| byte == b' ').next().unwrap_or_default())
                .and_then(|status| u16::try_from(status).ok())
                .ok_or_else(|| format!("Status: {}", line.escape_ascii()))?,
            None if value("Location").is_some() => 302,
            None => 200,
        };
        let content_length = match value("Content-Length") {
            Some(text) => Some(decimal(text).ok_or_else(|| format!("Content-Length: {}", text.escape_ascii()))?),
            None => None,
        };
        Ok(Some((Self { status, content_length }, len)))
    }
}

/// Digits and nothing else, no sign.
fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: EndRequest = EndRequest { app_status: 0, protocol_status: ProtocolStatus::RequestComplete };

    fn want(body: ExpectedBody) -> Expectation {
        Expectation { status: 200, body, content_length: true }
    }

    fn exactly(body: &str) -> Expectation {
        want(ExpectedBody::Exactly(body.into()))
    }

    /// Checks an answer that comes in two pieces, cut anywhere; an error is what was wrong with it.
    #[track_caller]
    fn check(stdout: &str, want: &Expectation, wanted: Result<(), &str>) {
        let mut answer = Answer::default();
        for cut in 0..=stdout.len() {
            answer.clear();
            assert!(!answer.begun);
            for piece in [&stdout.as_bytes()[..cut], &stdout.as_bytes()[cut..]] {
                answer.take(piece, want);
            }
            let got = answer.verdict(COMPLETE, want).map_err(|failure| failure.why);
            assert_eq!(got.as_ref().map_err(|why| &why[..]), wanted.as_ref().map_err(|why| *why), "cut at {cut}");
        }
    }

    #[test]
    fn bodies() {
        let answer = "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nabcd";
        check(answer, &exactly("abcd"), Ok(()));
        check(answer, &want(ExpectedBody::Any), Ok(()));
        check(answer, &want(ExpectedBody::Length(4)), Ok(()));
        check(answer, &exactly("abXd"), Err("the body differs at byte 2"));
        check(answer, &exactly("abc"), Err("the body is longer than 3 bytes"));
        check(answer, &exactly("abcde"), Err("a body of 4 bytes instead of 5"));
        check(answer, &want(ExpectedBody::Length(5)), Err("a body of 4 bytes instead of 5"));
    }

    #[test]
    fn statuses() {
        check("Content-Type: text/plain\n\nabcd", &exactly("abcd"), Ok(()));
        check("\nabcd", &exactly("abcd"), Ok(()));
        check("Status: 404 Not Found\n\nno", &exactly("abcd"), Err("status 404 instead of 200"));
        check("Location: /x\n\n", &exactly(""), Err("status 302 instead of 200"));
        check("Status: +200\n\n", &exactly(""), Err("Status: +200"));
        let not_found = Expectation { status: 404, ..exactly("no") };
        check("Status: 404\n\nno", &not_found, Ok(()));
    }

    #[test]
    fn a_promised_length_is_kept() {
        check("Content-Length: 4\n\nabcd", &want(ExpectedBody::Any), Ok(()));
        let short = Err("a body of 3 bytes with Content-Length: 4");
        check("Content-Length: 4\n\nabc", &want(ExpectedBody::Any), short);
        check("Content-Length: -4\n\nabc", &want(ExpectedBody::Any), Err("Content-Length: -4"));
        let head = Expectation { content_length: false, ..exactly("") };
        check("Content-Length: 4\n\n", &head, Ok(()));
    }

    #[test]
    fn no_whole_header_block() {
        check("", &exactly(""), Err("no whole header block"));
        check("Status: 200\n", &exactly(""), Err("no whole header block"));
        check("{}\n\n", &exactly(""), Err("a malformed header block: invalid header name"));
        let mut answer = Answer::default();
        for _ in 0..3 {
            answer.take(&[b'a'; 40_000], &exactly(""));
        }
        let why = answer.verdict(COMPLETE, &exactly("")).map_err(|failure| failure.why);
        assert_eq!(why, Err("the header block has no end".into()));
    }

    #[test]
    fn ends() {
        let mut answer = Answer::default();
        answer.take(b"\n", &exactly(""));
        for (app_status, protocol_status, class, why) in [
            (1, ProtocolStatus::RequestComplete, Class::Wrong, "appStatus 1"),
            (0, ProtocolStatus::CantMpxConn, Class::Refused, "CANT_MPX_CONN"),
            (0, ProtocolStatus::Overloaded, Class::Refused, "OVERLOADED"),
            (0, ProtocolStatus::UnknownRole, Class::Refused, "UNKNOWN_ROLE"),
            (0, ProtocolStatus::Other(9), Class::Refused, "protocol status 9"),
        ] {
            let end = EndRequest { app_status, protocol_status };
            assert_eq!(answer.verdict(end, &exactly("")), Err(Failure::new(class, why)));
        }
    }
}
