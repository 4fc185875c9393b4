//! The application's records, turned into an HTTP answer: bytes in, bytes out, no I/O.

use std::io::{self, Write};

use fcgi_proto::{EndRequest, ProtocolError, ProtocolStatus, ResponseDecoder, ResponseEvent};
use http_net::ServerConn;

use super::connection::now;
use super::failure::Failure;
use super::header_block::HeaderBlock;

/// The longest header block of an answer, in bytes.
const MAX_HEADER_BLOCK: usize = 64 * 1024;

/// The longest line of log text that is kept in one piece.
const MAX_LOG_LINE: usize = 8 * 1024;

/// One answer on its way from the application to the client.
pub(super) struct Answer {
    records: ResponseDecoder,
    state: State,
    /// Bytes of the body that came.
    body: u64,
    log: Log,
}

/// How far the answer has come.
enum State {
    /// Still in the header block, of which this much came.
    Header(Vec<u8>),
    /// In the body, of which so much may come, if the application said how long it is.
    Body { left: Option<u64> },
    /// Past the header block of an answer that has no body, whatever the application sends.
    NoBody,
    /// Complete.
    Ended,
}

impl Answer {
    pub(super) fn new() -> Self {
        Self { records: ResponseDecoder::new(), state: State::Header(Vec::new()), body: 0, log: Log(Vec::new()) }
    }

    /// Whether the application ended the request.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Takes bytes that came from the application, and adds to `out` what is to leave for the client.
    pub(super) fn receive(
        &mut self,
        mut bytes: &[u8],
        http: &mut ServerConn,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        while let Some(event) = self.records.next(&mut bytes).map_err(|error| self.fault(error))? {
            match event {
                ResponseEvent::Stdout { content, .. } => self.output(content, http, out)?,
                ResponseEvent::Stderr { content, .. } => self.log.write(content),
                ResponseEvent::End { end, .. } => {
                    refused(end)?;
                    return self.end(http, out);
                }
                // The end of the output is not that of the request. The others are the end of a log, and responses to
                // questions that were not asked.
                ResponseEvent::StdoutEnd { .. }
                | ResponseEvent::StderrEnd { .. }
                | ResponseEvent::Values(_)
                | ResponseEvent::UnknownType(_) => {}
            }
        }
        Ok(())
    }

    /// The application closed the connection without `FCGI_END_REQUEST`: what came is not known to be whole, even if the
    /// output was ended.
    pub(super) fn end_of_input(&self) -> Failure {
        let came = self.came();
        Failure::application(
            502,
            format!("the application closed the connection before the end of the response: {came}"),
        )
    }

    /// What bytes that are no record mean. fcgi-app sends zeros, which no record begins with, to break a response off.
    fn fault(&self, error: ProtocolError) -> Failure {
        match error {
            ProtocolError::Version(0) => {
                Failure::application(502, format!("the application broke the response off: {}", self.came()))
            }
            error => error.into(),
        }
    }

    /// How much of a response came that is not whole.
    fn came(&self) -> String {
        match &self.state {
            State::Header(block) if block.is_empty() => "nothing of it came".to_owned(),
            State::Header(_) => "its header section is not whole".to_owned(),
            State::Body { .. } | State::NoBody | State::Ended => {
                format!("{} byte{} of its body came", self.body, if self.body == 1 { "" } else { "s" })
            }
        }
    }

    fn output(&mut self, content: &[u8], http: &mut ServerConn, out: &mut Vec<u8>) -> Result<(), Failure> {
        match &mut self.state {
            State::Header(block) => {
                block.extend_from_slice(content);
                // Only a line's end can end the block.
                if content.contains(&b'\n') {
                    return self.header(http, out);
                }
                if block.len() > MAX_HEADER_BLOCK {
                    return Err(too_long());
                }
                Ok(())
            }
            State::Body { left } => {
                let mut content = content;
                if let Some(left) = left {
                    // What exceeds the announced length would be taken for the next answer.
                    content = content.get(..usize::try_from(*left).unwrap_or(usize::MAX)).unwrap_or(content);
                    *left -= content.len() as u64; // which is `left` at most
                }
                self.body += content.len() as u64;
                Ok(http.send_body(content, out)?)
            }
            State::NoBody | State::Ended => Ok(()),
        }
    }

    fn header(&mut self, http: &mut ServerConn, out: &mut Vec<u8>) -> Result<(), Failure> {
        let State::Header(bytes) = &mut self.state else { return Ok(()) };
        let Some(HeaderBlock { response, content_length, len }) = HeaderBlock::parse(bytes)? else {
            return if bytes.len() > MAX_HEADER_BLOCK { Err(too_long()) } else { Ok(()) };
        };
        let body = bytes.split_off(len);
        let (response, state) = match content_length {
            _ if matches!(response.status(), 204 | 304) => (response, State::NoBody),
            Some(len) => (response.content_length(len), State::Body { left: content_length }),
            None => (response.chunked(), State::Body { left: None }),
        };
        http.respond_with_date(&response, &now(), out)
            .map_err(|error| Failure::application(502, format!("the application sent a bad header field: {error}")))?;
        self.state = state;
        self.output(&body, http, out)
    }

    fn end(&mut self, http: &mut ServerConn, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self.state {
            State::Header(_) => return Err(Failure::application(502, "the application sent no whole header block")),
            State::Body { .. } => http.end_body(out).map_err(|_| {
                Failure::application(502, "the application's answer is shorter than its Content-Length")
            })?,
            State::NoBody | State::Ended => {}
        }
        self.state = State::Ended;
        Ok(())
    }
}

/// What a request that was not carried out means.
fn refused(end: EndRequest) -> Result<(), Failure> {
    match end.protocol_status {
        ProtocolStatus::RequestComplete => Ok(()),
        ProtocolStatus::Overloaded | ProtocolStatus::CantMpxConn => {
            Err(Failure::application(503, "the application is overloaded"))
        }
        ProtocolStatus::UnknownRole => Err(Failure::application(502, "the application is no Responder")),
        ProtocolStatus::Other(status) => {
            Err(Failure::application(502, format!("the application ended the request with protocol status {status}")))
        }
    }
}

fn too_long() -> Failure {
    Failure::application(502, format!("the application's header block exceeds {MAX_HEADER_BLOCK} bytes"))
}

/// What the application says on FCGI_STDERR, for our own stderr: whole lines, so that those of several requests do not
/// mix.
struct Log(Vec<u8>);

impl Log {
    fn write(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
        if let Some(at) = self.0.iter().rposition(|&byte| byte == b'\n') {
            let rest = self.0.split_off(at + 1);
            self.flush();
            self.0 = rest;
        }
        if self.0.len() > MAX_LOG_LINE {
            self.0.push(b'\n');
            self.flush();
        }
    }

    fn flush(&mut self) {
        // Nobody is left to be told when our own stderr is gone.
        let _ = io::stderr().write_all(&self.0);
        self.0.clear();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            self.0.push(b'\n');
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use http_net::ServerEvent;

    use super::*;

    /// A record as the application sends it.
    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        let len = u16::try_from(content.len()).expect("short").to_be_bytes();
        [&[1, kind, 0, 1, len[0], len[1], 0, 0], content].concat()
    }

    fn stdout(content: &str) -> Vec<u8> {
        record(6, content.as_bytes())
    }

    fn end() -> Vec<u8> {
        record(3, &[0; 8])
    }

    /// Answers `request` with records that arrive cut into two pieces, at every place where they can be.
    #[track_caller]
    fn check(request: &str, records: &[Vec<u8>], want: Result<&str, u16>) {
        let wire = records.concat();
        for cut in 0..=wire.len() {
            let got = answer(request, &[&wire[..cut], &wire[cut..]]);
            let want = want.map(String::from);
            assert_eq!(got, want, "cut at {cut}");
        }
    }

    /// What leaves for the client, chunks joined, without the date; or the status to fail with.
    fn answer(request: &str, pieces: &[&[u8]]) -> Result<String, u16> {
        match run(request, pieces) {
            (Ok(()), out) => Ok(join_chunks(&out)),
            (Err(Failure::Application(status, _)), _) => Err(status),
            (Err(other), _) => panic!("{other:?}"),
        }
    }

    /// How it ends, and what leaves for the client.
    fn run(request: &str, pieces: &[&[u8]]) -> (Result<(), Failure>, String) {
        let mut http = ServerConn::new();
        assert_eq!(http.feed(request.as_bytes()), request.len());
        while !matches!(http.poll(), Ok(ServerEvent::RequestEnd)) {}
        let (mut answer, mut out) = (Answer::new(), Vec::new());
        let received = pieces.iter().try_for_each(|piece| answer.receive(piece, &mut http, &mut out));
        let end = received.and_then(|()| if answer.is_complete() { Ok(()) } else { Err(answer.end_of_input()) });
        (end, String::from_utf8_lossy(&out).into_owned())
    }

    fn join_chunks(answer: &str) -> String {
        let (head, mut body) = answer.split_once("\r\n\r\n").expect("a head");
        let head: Vec<_> = head.lines().filter(|line| !line.starts_with("date: ")).collect();
        let mut joined = head.join("|");
        joined.push('|');
        if !joined.contains("chunked") {
            return joined + body;
        }
        while let Some((len, rest)) = body.split_once("\r\n") {
            let len = usize::from_str_radix(len, 16).expect("a chunk's length");
            joined += &rest[..len];
            body = &rest[len + 2..];
        }
        joined
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    const OLD: &str = "GET / HTTP/1.0\r\n\r\n";

    #[test]
    fn a_body_of_unknown_length_is_chunked_or_ends_with_the_connection() {
        let records = [stdout("Content-Type: text/x\n\nab"), stdout("cd"), stdout(""), end()];
        check(GET, &records, Ok("HTTP/1.1 200 OK|transfer-encoding: chunked|Content-Type: text/x|abcd"));
        check(OLD, &records, Ok("HTTP/1.1 200 OK|connection: close|Content-Type: text/x|abcd"));
        check(HEAD, &records, Ok("HTTP/1.1 200 OK|transfer-encoding: chunked|Content-Type: text/x|"));
    }

    #[test]
    fn a_body_of_known_length_is_neither_cut_nor_exceeded() {
        let records = |body| [stdout("Content-Length: 4\r\n\r\n"), stdout(body), end()];
        check(GET, &records("abcd"), Ok("HTTP/1.1 200 OK|content-length: 4|abcd"));
        check(GET, &records("abcdef"), Ok("HTTP/1.1 200 OK|content-length: 4|abcd"));
        check(GET, &records("abc"), Err(502));
        check(HEAD, &[stdout("Content-Length: 4\n\n"), end()], Ok("HTTP/1.1 200 OK|content-length: 4|"));
    }

    #[test]
    fn answers_without_a_body() {
        let records = [stdout("Status: 304 Not Modified\nETag: x\nContent-Length: 4\n\nabcd"), end()];
        check(GET, &records, Ok("HTTP/1.1 304 Not Modified|ETag: x|"));
    }

    #[test]
    fn an_answer_ends_with_its_end_record_and_nothing_else() {
        let head = "Content-Length: 1\n\na";
        check(GET, &[stdout(head), end()], Ok("HTTP/1.1 200 OK|content-length: 1|a"));
        check(GET, &[stdout(head), stdout("")], Err(502));
        check(GET, &[stdout(head)], Err(502));
        check(GET, &[], Err(502));
        check(GET, &[end()], Err(502));
        check(GET, &[stdout("Content-Type: text/x\n"), stdout(""), end()], Err(502));
    }

    /// What is logged about a response that is cut into two pieces anywhere, and what left for the client.
    #[track_caller]
    fn check_failure(records: &[Vec<u8>], want: &str, body: &str) {
        let wire = records.concat();
        for cut in 0..=wire.len() {
            let (answer, out) = run(GET, &[&wire[..cut], &wire[cut..]]);
            assert_eq!(answer, Err(Failure::application(502, want)), "cut at {cut}");
            assert!(body.is_empty() == out.is_empty(), "cut at {cut}: {out:?}");
            assert!(
                body.is_empty() || !out.ends_with("0\r\n\r\n") && join_chunks(&out).ends_with(body),
                "cut at {cut}: {out:?}"
            );
        }
    }

    #[test]
    fn a_response_that_is_broken_off_is_named_with_what_came() {
        let zeros = vec![0; 8];
        let broke = |came| format!("the application broke the response off: {came}");
        let none = "nothing of it came";
        check_failure(std::slice::from_ref(&zeros), &broke(none), "");
        let head = "Content-Type: text/x\n\n";
        let partial = "its header section is not whole";
        check_failure(&[stdout(head.trim_end()), zeros.clone()], &broke(partial), "");
        check_failure(&[stdout(&format!("{head}a")), zeros.clone()], &broke("1 byte of its body came"), "a");
        let records = [stdout(head), stdout("ab"), stdout("cd"), record(7, b""), zeros];
        check_failure(&records, &broke("4 bytes of its body came"), "abcd");
        let closed = |came| format!("the application closed the connection before the end of the response: {came}");
        check_failure(&[], &closed(none), "");
        check_failure(&[stdout(head), stdout("abc"), stdout("")], &closed("3 bytes of its body came"), "abc");
        check_failure(&[vec![9; 8]], "the application does not speak FastCGI: FastCGI version 9 instead of 1", "");
    }

    #[test]
    fn refusals_and_nonsense() {
        check(GET, &[record(3, &[0, 0, 0, 0, 2, 0, 0, 0])], Err(503));
        check(GET, &[record(3, &[0, 0, 0, 0, 3, 0, 0, 0])], Err(502));
        check(GET, &[b"HTTP/1.1 200 OK\r\n\r\n".to_vec()], Err(502));
        check(GET, &[stdout("Status: 200\nX Y: z\n\n"), end()], Err(502));
        let long = stdout(&format!("A: {}", "b".repeat(40_000)));
        assert_eq!(answer(GET, &[&long, &long]), Err(502));
    }
}
