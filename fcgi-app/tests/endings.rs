//! How a response ends whose handler failed: whole, or so that it cannot pass for whole (../shared/protocol.md, P47).

mod common;

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

use fcgi_app::{Body, HandlerError, HttpError, Limits, Request, Response, Roles};

use common::{CLOSE, Client, END_PARAMS, END_STDIN, KEEP, Running, begin, get, params, record};

const STDERR_END: &[u8] = b"\x01\x07\0\x01\0\0\0\0";
const STDOUT_END: &[u8] = b"\x01\x06\0\x01\0\0\0\0";
/// What no record begins with.
const BREAK: &[u8] = &[0; 8];
/// More than is collected, so that part of the response is sent.
const LARGE: &[u8] = &[b'x'; 10_000];

/// Does what `WHAT` names, after what `FIRST` names.
fn fail(request: &Request, _: &mut Body, out: &mut Response) -> Result<(), HandlerError> {
    out.content_type("text/plain");
    match request.param_str("FIRST") {
        Some("large") => out.write_all(LARGE)?,
        Some("flushed") => {
            out.write_all(b"begun")?;
            out.flush()?;
        }
        Some("announced") => {
            out.set("Content-Length", "20000").write_all(LARGE)?;
        }
        Some("announced whole") => {
            out.set("Content-Length", "10000").write_all(LARGE)?;
        }
        Some("no content") => {
            out.status(204).flush()?;
        }
        _ => {}
    }
    match request.param_str("WHAT") {
        Some("error") => Err("it broke".into()),
        Some("panic") => panic!("it broke"),
        Some("abort") => {
            out.abort();
            Ok(())
        }
        Some("source") => Ok(out.send_from(Broken, None)?),
        Some("short") => Ok(()),
        other => panic!("nothing is called {other:?}"),
    }
}

/// A source that gives little, then breaks.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("it broke"))
    }
}

fn running(multiplexed: bool) -> Running {
    if multiplexed { Running::multiplexed(Limits::default(), fail) } else { Running::start(fail) }
}

/// All of a response that is broken off: STDOUT without its end, one line, the end of STDERR, what is no record, and the
/// end of the connection.
#[track_caller]
fn check_broken(got: &[u8], stdout: &[u8], line: &str) {
    let mut tail = record(7, format!("{line}; the response is broken off\n").as_bytes());
    tail.extend_from_slice(STDERR_END);
    tail.extend_from_slice(BREAK);
    let shown = got.escape_ascii();
    let front = got.strip_suffix(&tail[..]).unwrap_or_else(|| panic!("it does not end in '{line}': {shown}"));
    let (mut rest, mut content) = (front, Vec::new());
    while let [1, 6, 0, 1, high, low, padding, 0, after @ ..] = rest {
        let (now, later) = after.split_at(usize::from(*high) << 8 | usize::from(*low));
        assert!(!now.is_empty(), "STDOUT is ended: {shown}");
        content.extend_from_slice(now);
        rest = &later[usize::from(*padding)..];
    }
    assert!(rest.is_empty() && content == stdout, "{shown}");
}

#[test]
fn part_of_a_response_is_broken_off() {
    for multiplexed in [false, true] {
        let server = running(multiplexed);
        for flags in [CLOSE, KEEP] {
            for (first, body) in [("large", LARGE), ("flushed", b"begun"), ("announced", LARGE)] {
                for (what, why) in [
                    ("error", "it broke"),
                    ("panic", "the handler panicked: it broke"),
                    ("abort", "the handler aborted the response"),
                    ("source", "it broke"),
                ] {
                    let head = match first {
                        "announced" => "Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20000\r\n\r\n",
                        _ => "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n",
                    };
                    let got = server.ask(&get(flags, &[("FIRST", first), ("WHAT", what), ("SCRIPT_NAME", "/a")]));
                    check_broken(&got, &[head.as_bytes(), body].concat(), &format!("GET /a: {why}"));
                }
            }
        }
        let got = server.ask(&get(KEEP, &[("FIRST", "announced"), ("WHAT", "short")]));
        let head = b"Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20000\r\n\r\n";
        let why = "GET /: the body has 10000 of the 20000 bytes of its Content-Length";
        check_broken(&got, &[&head[..], LARGE].concat(), why);
    }
}

/// The client has all that it was promised: to break it off would take that away.
#[test]
fn nothing_owed_is_an_orderly_end() {
    for multiplexed in [false, true] {
        let server = running(multiplexed);
        let mut client = server.connect();
        for (first, method) in [("announced whole", "GET"), ("no content", "GET"), ("flushed", "HEAD")] {
            client.send(&get(KEEP, &[("FIRST", first), ("WHAT", "error"), ("REQUEST_METHOD", method)]));
            let records = client.receive_records();
            let (kind, end) = records.last().expect("an end");
            assert_eq!((*kind, &end[..]), (3, &[0, 0, 0, 1, 0, 0, 0, 0][..]), "{first}: {records:?}");
        }
    }
}

/// Nothing is lost yet: the web server gets an error, and the connection goes on.
#[test]
fn what_was_not_sent_is_replaced() {
    for multiplexed in [false, true] {
        let server = running(multiplexed);
        let mut client = server.connect();
        for what in ["error", "panic", "abort", "source"] {
            client.send(&get(KEEP, &[("FIRST", ""), ("WHAT", what)]));
            let (stdout, end) = client.receive_answer();
            assert!(stdout.starts_with(b"Status: 500 ") && !stdout.ends_with(b"broke\n"), "{}", stdout.escape_ascii());
            assert_eq!(end[3], if what == "panic" { 101 } else { 1 });
        }
        client.send(&get(KEEP, &[("FIRST", "announced"), ("WHAT", "short"), ("REQUEST_METHOD", "HEAD")]));
        let (stdout, end) = client.receive_answer();
        assert!(stdout.starts_with(b"Status: 200 ") && end == [0; 8], "a HEAD owes nothing");
    }
}

/// One write: HAProxy 2.6.12 ends by a signal if a read ends with a STDERR record that has content.
#[test]
fn the_rest_leaves_in_one_write() {
    let server = Running::start(fail);
    for _ in 0..50 {
        let mut client = server.connect();
        client.send(&get(KEEP, &[("FIRST", "flushed"), ("WHAT", "error")]));
        let head = record(6, b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nbegun");
        client.receive(head.len());
        let mut buffer = [0; 4096];
        let read = client.0.read(&mut buffer).expect("the rest");
        assert!(buffer[..read].ends_with(&[STDERR_END, BREAK].concat()), "{}", buffer[..read].escape_ascii());
    }
}

/// No web server can be told of one stream of several: the others go on, and this one has no end of its STDOUT.
#[test]
fn beside_other_requests_it_ends_without_the_end_of_stdout() {
    let server = Running::multiplexed(Limits::default(), |request: &Request, body: &mut Body, out: &mut Response| {
        if request.param("WAIT").is_some() {
            let mut text = String::new();
            body.read_to_string(&mut text)?;
            return Ok(out.text(text)?);
        }
        fail(request, body, out)
    });
    let mut client = server.connect();
    let waits = [&begin(KEEP)[..], &params(&[("WAIT", "1")]), END_PARAMS];
    waits.iter().for_each(|bytes| client.send(&with_id(2, bytes)));
    client.send(&get(KEEP, &[("FIRST", "flushed"), ("WHAT", "error")]));
    let records = receive_records_of(&mut client, 1);
    let kinds: Vec<_> = records.iter().map(|(kind, content)| (*kind, content.is_empty())).collect();
    assert_eq!(kinds, [(6, false), (7, false), (7, true), (3, false)], "{records:?}");
    assert_eq!(records[3].1, [0, 0, 0, 1, 0, 0, 0, 0]);
    client.send(&with_id(2, &record(5, b"hello")));
    client.send(&with_id(2, END_STDIN));
    let records = receive_records_of(&mut client, 2);
    assert!(records[0].1.ends_with(b"\r\n\r\nhello") && records.last().is_some_and(|(kind, _)| *kind == 3));
    // The last one there is broken off again.
    client.send(&get(KEEP, &[("FIRST", "flushed"), ("WHAT", "error")]));
    assert!(client.receive_all().ends_with(&[STDERR_END, BREAK].concat()));
}

fn with_id(id: u8, record: &[u8]) -> Vec<u8> {
    let mut record = record.to_vec();
    record[3] = id;
    record
}

/// The records of one request until its end.
fn receive_records_of(client: &mut Client, id: u8) -> Vec<(u8, Vec<u8>)> {
    let mut records = Vec::new();
    while records.last().is_none_or(|&(kind, _)| kind != 3) {
        let header = client.receive(8);
        assert_eq!((header[0], header[3]), (1, id), "{header:?}");
        let content = client.receive(usize::from(header[4]) << 8 | usize::from(header[5]));
        client.receive(usize::from(header[6]));
        records.push((header[1], content));
    }
    records
}

#[test]
fn an_aborted_request_still_ends_orderly() {
    let server = Running::start(|_: &Request, body: &mut Body, out: &mut Response| {
        out.write_all(LARGE)?;
        body.read_to_end(&mut Vec::new()).map(drop)
    });
    let mut client = server.connect();
    client.send(&[&begin(KEEP)[..], END_PARAMS].concat());
    let head = client.receive(8);
    client.send(&record(2, b""));
    let (len, mut rest) = (usize::from(head[4]) << 8 | usize::from(head[5]), Vec::new());
    client.0.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    rest.extend(client.receive(len));
    let records = client.receive_records();
    assert!(records.iter().all(|(kind, _)| matches!(kind, 3 | 6)), "{records:?}");
}

/// A file that shrinks while it is sent.
#[test]
fn a_file_that_became_shorter_is_broken_off() {
    let path = std::env::temp_dir().join(format!("endings-{}.file", std::process::id()));
    std::fs::write(&path, [b'f'; 200_000]).expect("a file");
    let its_path = path.clone();
    let server = Running::start(move |_: &Request, _: &mut Body, out: &mut Response| {
        let file = File::open(&its_path)?;
        File::options().write(true).open(&its_path)?.set_len(100_000)?;
        // Its length was taken before.
        out.send_from(file, Some(200_000))
    });
    let got = server.ask(&get(CLOSE, &[]));
    std::fs::remove_file(&path).expect("removed");
    assert!(got.ends_with(&[STDERR_END, BREAK].concat()));
    assert!(!got.windows(8).any(|bytes| bytes == STDOUT_END));
}

#[test]
fn the_status_of_an_error_and_all_its_causes() {
    fn handle(request: &Request, _: &mut Body, _: &mut Response) -> Result<(), HandlerError> {
        let cause = || io::Error::other("the disk is away");
        match request.param_str("WHAT") {
            Some("plain") => Err(cause().into()),
            Some("status") => Err(HttpError::new(404, "no such page").into()),
            Some("wrapped") => Err(io::Error::other(HttpError::new(403, "not for you")).into()),
            Some("caused") => Err(Opening(HttpError::new(409, cause())).into()),
            _ => Err(HttpError::new(200, "no error").into()),
        }
    }
    #[derive(Debug)]
    struct Opening(HttpError);
    impl std::fmt::Display for Opening {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("opening the thing")
        }
    }
    impl std::error::Error for Opening {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let server = Running::start(handle);
    let mut client = server.connect();
    for (what, status, line) in [
        ("plain", "500 Internal Server Error", "the disk is away"),
        ("status", "404 Not Found", "no such page"),
        ("wrapped", "403 Forbidden", "not for you"),
        ("caused", "409 Conflict", "opening the thing: the disk is away"),
        ("none", "500 Internal Server Error", "no error"),
    ] {
        client.send(&get(KEEP, &[("WHAT", what)]));
        let records = client.receive_records();
        let stdout = String::from_utf8_lossy(&records[0].1);
        assert!(stdout.starts_with(&format!("Status: {status}\r\n")) && !stdout.contains(line), "{stdout}");
        assert_eq!(String::from_utf8_lossy(&records[1].1), format!("GET /: {line}\n"));
    }
}

/// The message of an error is the application's, too.
#[test]
fn an_error_whose_message_panics() {
    #[derive(Debug)]
    struct Bad;
    impl std::fmt::Display for Bad {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("no message")
        }
    }
    impl std::error::Error for Bad {}
    let server = Running::start(|_: &Request, _: &mut Body, _: &mut Response| Err::<(), _>(Box::new(Bad)));
    let mut client = server.connect();
    for _ in 0..2 {
        client.send(&get(KEEP, &[]));
        let (stdout, end) = client.receive_answer();
        assert!(stdout.starts_with(b"Status: 500 ") && end[3] == 101);
    }
}

/// The application's own page is in the place of what failed, as far as it can be written.
#[test]
fn an_error_page_of_the_application() {
    for multiplexed in [false, true] {
        let roles = Roles::new()
            .responder(|_: &Request, body: &mut Body, out: &mut Response| -> Result<(), HandlerError> {
                io::copy(body, &mut io::sink())?;
                out.set("X-Secret", "1").write_all(b"half")?;
                Err(HttpError::new(404, "no such page").into())
            })
            .error_page(|request: &Request, status: u16, out: &mut Response| -> Result<(), HandlerError> {
                out.content_type("text/html");
                match request.param_str("PAGE") {
                    Some("large") => out.write_all(&[b'x'; 20_000])?,
                    Some("error") => Err(format!("no page for {status}"))?,
                    Some("panic") => panic!("no page for {status}"),
                    Some("misused") => {
                        out.set("A B", "c").write_all(b"page")?;
                    }
                    Some("sent") => {
                        out.write_all(&[b'x'; 20_000])?;
                        Err("half a page")?;
                    }
                    _ => write!(out, "page for {status}")?,
                }
                Ok(())
            });
        let server = Running::start_as(|server| server.multiplex(multiplexed), roles);
        let mut client = server.connect();
        let plain = "Status: 404 Not Found\r\nContent-Length: 14\r\nContent-Type: text/plain\r\n\r\n404 Not Found\n";
        let page = "Status: 404 Not Found\r\nContent-Length: 12\r\nContent-Type: text/html\r\n\r\npage for 404";
        for (what, want) in [("", page), ("error", plain), ("panic", plain), ("misused", plain), ("", page)] {
            let body = [record(5, b"body"), END_STDIN.to_vec()].concat();
            client.send(&[&begin(KEEP)[..], &params(&[("PAGE", what)]), END_PARAMS, &body].concat());
            let records = client.receive_records();
            assert_eq!(String::from_utf8_lossy(&records[0].1), want, "{what}");
            assert_eq!(records[1], (7, b"GET /: no such page\n".to_vec()), "{what}");
        }
        client.send(&get(KEEP, &[("PAGE", "large")]));
        let (stdout, end) = client.receive_answer();
        let head = b"Status: 404 Not Found\r\nContent-Type: text/html\r\n\r\n";
        assert_eq!((stdout, end[3]), ([&head[..], &[b'x'; 20_000]].concat(), 1));
        client.send(&get(KEEP, &[("PAGE", "sent")]));
        assert!(client.receive_all().ends_with(BREAK));
    }
}
