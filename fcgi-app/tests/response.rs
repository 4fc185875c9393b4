//! What a handler's answers are on the wire.

mod common;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use fcgi_app::{Body, Cookie, ErrorLog, Form, HandlerError, Request, Response, Roles, SameSite};

use common::{CLOSE, Client, END_PARAMS, END_STDIN, KEEP, Running, answer, begin, begin_role, get, params, record};

const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// What a handler answers to a GET, as one record.
#[track_caller]
fn check(handler: impl Fn(&mut Response<'_>) -> io::Result<()> + Send + Sync + 'static, want: impl AsRef<[u8]>) {
    let server = Running::start(move |_: &Request, _: &mut Body, out: &mut Response| handler(out));
    let got = server.ask(&get(CLOSE, &[]));
    assert!(got == answer(want.as_ref(), 0), "{}", got.escape_ascii());
}

/// Handlers that misuse the response are answered 500, and nothing of what they wrote is seen.
#[track_caller]
fn check_refused<H>(handler: H)
where
    H: for<'a, 'c> Fn(&'a mut Response<'c>) -> &'a mut Response<'c> + Send + Sync + 'static,
{
    let server = Running::start(move |_: &Request, _: &mut Body, out: &mut Response| {
        handler(out);
        out.write_all(b"secret")
    });
    let (stdout, end) = ask(&server, &get(CLOSE, &[])).receive_answer();
    let text = String::from_utf8(stdout).expect("text");
    assert!(text.starts_with("Status: 500 ") && !text.contains("secret") && !text.contains("evil"), "{text}");
    assert_eq!(end[3], 1, "appStatus");
}

fn ask(server: &Running, request: &[u8]) -> Client {
    let mut client = server.connect();
    client.send(request);
    client
}

/// A file that is gone again at the end of its test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(content: &[u8]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("fcgi-app-{}-{}.file", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).expect("a file");
        Self(path)
    }

    fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn text_and_html() {
    check(
        |out| out.no_store().text("hi"),
        "Status: 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhi",
    );
    check(
        |out| out.status(404).html(format_args!("<p>{}</p>", 7)),
        "Status: 404 Not Found\r\nContent-Length: 8\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>7</p>",
    );
}

#[test]
fn cookies() {
    check(
        |out| {
            out.cookie(&Cookie::new("a", "1")).cookie(&Cookie::new("b", "").secure().same_site(SameSite::None));
            Ok(())
        },
        "Status: 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1; Path=/; HttpOnly; SameSite=Lax\r\n\
         Set-Cookie: b=; Path=/; Secure; HttpOnly; SameSite=None\r\n\r\n",
    );
    check_refused(|out| out.cookie(&Cookie::new("a", "1\r\nX-Evil: evil")));
    check_refused(|out| out.cookie(&Cookie::new("a", "1").path("/; Domain=evil")));
}

#[test]
fn redirects() {
    check(
        |out| {
            out.redirect(303, "/a b?x=%20&y=\u{e9}");
            Ok(())
        },
        "Status: 303 See Other\r\nContent-Length: 0\r\nLocation: /a%20b?x=%20&y=%C3%A9\r\n\r\n",
    );
    for location in ["", "/\r\nX-Evil: evil", "/evil\n", "/evil\0", "/evil\x7f"] {
        check_refused(move |out| out.redirect(302, location));
    }
    check_refused(|out| out.redirect(200, "/evil"));
    check_refused(|out| out.redirect(304, "/evil"));
}

#[test]
fn files_that_the_web_server_sends() {
    check(
        |out| {
            out.content_type("image/png").x_accel_redirect("/files/\u{e9} 100%?.png");
            Ok(())
        },
        "Status: 200 OK\r\nContent-Type: image/png\r\nX-Accel-Redirect: /files/%C3%A9%20100%25%3F.png\r\n\r\n",
    );
    check(
        |out| {
            out.x_sendfile(Path::new("/srv/a\nb"));
            Ok(())
        },
        "Status: 200 OK\r\nX-Sendfile: /srv/a%0Ab\r\n\r\n",
    );
    check_refused(|out| out.x_sendfile("evil/relative"));
}

#[test]
fn headers_of_any_injection_are_refused() {
    for (name, value) in
        [("X", "a\r\nevil"), ("X", "a\nevil"), ("X", "evil\0"), ("X\r\nevil", "a"), ("X evil", "a"), ("", "evil")]
    {
        check_refused(move |out| out.set(name, value));
    }
    check_refused(|out| out.status(99));
    check_refused(|out| out.set("Status", "200 evil"));
}

/// They are for the connection between web server and client, of which the application knows nothing.
#[test]
fn fields_of_one_connection_are_refused() {
    for name in ["Connection", "keep-alive", "TE", "Trailer", "Transfer-Encoding", "upgrade", "Proxy-Authenticate"] {
        check_refused(move |out| out.set(name, "evil"));
        check_refused(move |out| out.append(name, "evil"));
    }
    for length in ["", "evil", "-1", "+1", "1, 1", "18446744073709551616"] {
        check_refused(move |out| out.set("Content-Length", length));
    }
    check_refused(|out| out.set("Content-Length", "6").append("Content-Length", "7"));
    for status in [100, 103, 199, 1000] {
        check_refused(move |out| out.status(status));
    }
    check_refused(|out| out.status(200).reason("evil\r\nX: y"));
    for control in 1..32 {
        if control != b'\t' {
            check_refused(move |out| out.set("X", [b'a', control, b'b']));
        }
    }
    check_refused(|out| out.set("X", "evil\x7f"));
    check(
        |out| out.set("X", b"a\tb\xe9").write_all(b""),
        b"Status: 200 OK\r\nContent-Length: 0\r\nX: a\tb\xe9\r\n\r\n",
    );
}

#[test]
fn the_first_misuse_is_the_one_reported() {
    let records = records_of(|out| {
        out.set("Connection", "close").set("X y", "").status(99);
        Ok(())
    });
    let (_, line) = records.iter().find(|(kind, _)| *kind == STDERR).expect("a line");
    assert_eq!(String::from_utf8_lossy(line), "GET /: header 'Connection': only the web server may send it\n");
}

#[test]
fn headers_are_replaced_added_removed_and_read() {
    check(
        |out| {
            out.content_type("text/html").set("x-a", "1").append("Vary", "A").append("Vary", "B").set("X-A", "2");
            assert_eq!((out.header("VARY"), out.header("x-a")), (Some(&b"B"[..]), Some(&b"2"[..])));
            assert_eq!(out.header("X-B"), None);
            out.set("X-B", "").remove("x-b").text("hi")
        },
        "Status: 200 OK\r\nContent-Length: 2\r\nVary: A\r\nVary: B\r\nX-A: 2\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\nhi",
    );
    check(
        |out| {
            out.status(299).reason("As I like it").set("X-A", "1").write_all(b"some")?;
            assert_eq!((out.header("X-A"), out.status_code(), out.bytes_written()), (Some(&b"1"[..]), 299, 4));
            out.reset();
            assert_eq!((out.header("X-A"), out.status_code(), out.bytes_written()), (None, 200, 0));
            out.status(299).reason("A phrase that is longer than the room in front of the header section is").text("x")
        },
        "Content-Length: 1\r\nStatus: 299 A phrase that is longer than the room in front of the header section is\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\nx",
    );
    check_refused(|out| {
        let _ = out.write_all(&[b's'; 10]);
        out.remove("X")
    });
}

/// RFC 9110 sections 9.3.2, 15.3.5 and 15.4.5.
#[test]
fn responses_without_a_body() {
    let head = |handler: fn(&mut Response<'_>) -> io::Result<()>, want: &[u8]| {
        let server = Running::start(move |_: &Request, _: &mut Body, out: &mut Response| handler(out));
        let got = server.ask(&get(CLOSE, &[("REQUEST_METHOD", "HEAD")]));
        assert!(got == answer(want, 0), "{}", got.escape_ascii());
    };
    // How long the body is that was not written is not known.
    head(|_| Ok(()), b"Status: 200 OK\r\n\r\n");
    head(|out| out.write_all(b"hi"), b"Status: 200 OK\r\nContent-Length: 2\r\n\r\n");
    head(|out| out.set("Content-Length", "9").flush(), b"Status: 200 OK\r\nContent-Length: 9\r\n\r\n");
    check(|out| out.status(204).write_all(b"dropped"), b"Status: 204 No Content\r\n\r\n");
    check(
        |out| out.status(304).set("ETag", "\"a\"").write_all(b""),
        b"Status: 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
    );
    check(
        |out| {
            out.write_all(b"written before")?;
            out.status(204);
            Ok(())
        },
        b"Status: 204 No Content\r\n\r\n",
    );
}

#[test]
fn a_body_keeps_to_its_length() {
    check(|out| out.set("Content-Length", "4").write_all(b"1234"), b"Status: 200 OK\r\nContent-Length: 4\r\n\r\n1234");
    check_refused(|out| out.set("Content-Length", "5"));
    let records = records_of(|out| out.set("Content-Length", "5").write_all(b"1234"));
    assert!(records[0].1.starts_with(b"Status: 500 "), "{records:?}");
    let (_, line) = records.iter().find(|(kind, _)| *kind == STDERR).expect("a line");
    assert_eq!(String::from_utf8_lossy(line), "GET /: the body has 4 of the 5 bytes of its Content-Length\n");
}

#[test]
fn variables_of_an_authorizer() {
    let server = Running::start(Roles::new().authorizer(|_: &Request, out: &mut Response| -> io::Result<()> {
        out.variable("USER", "ann").variable("LEVEL", "3");
        Ok(())
    }));
    let got = server.ask(&[&begin_role(2, CLOSE)[..], END_PARAMS].concat());
    let want = b"Status: 200 OK\r\nContent-Length: 0\r\nVariable-USER: ann\r\nVariable-LEVEL: 3\r\n\r\n";
    assert!(got == answer(want, 0), "{}", got.escape_ascii());
    check_refused(|out| out.variable("A b", "evil"));
    check_refused(|out| out.variable("", "evil"));
}

#[test]
fn a_small_file_leaves_in_one_record() {
    let file = TempFile::new(b"0123456789");
    let path = file.path();
    check(
        move |out| out.content_type("text/plain").send_file(File::open(&path)?),
        "Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n0123456789",
    );
    let path = file.path();
    check(
        move |out| {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(7))?;
            out.send_file(file)
        },
        "Status: 200 OK\r\nContent-Length: 3\r\n\r\n789",
    );
}

#[test]
fn a_large_file_flows_and_head_reads_nothing_of_it() {
    let content: Vec<u8> = (0..3_000_000).map(|i: u32| (i % 251) as u8).collect();
    let file = TempFile::new(&content);
    let path = file.path();
    let server = Running::start(move |_: &Request, _: &mut Body, out: &mut Response| out.send_file(File::open(&path)?));
    let mut client = ask(&server, &get(KEEP, &[]));
    let (stdout, end) = client.receive_answer();
    let head = b"Status: 200 OK\r\nContent-Length: 3000000\r\n\r\n";
    assert!(stdout.starts_with(head) && stdout[head.len()..] == content[..]);
    assert_eq!(end, [0; 8]);
    client.send(&get(CLOSE, &[("REQUEST_METHOD", "HEAD")]));
    assert_eq!(client.receive_all(), answer(head, 0));
}

/// Their sizes are 0 and 4096.
#[test]
fn files_of_proc_and_sysfs() {
    for path in ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/kallsyms"] {
        let Ok(mut content) = std::fs::read(path) else { continue };
        let server =
            Running::start(move |_: &Request, _: &mut Body, out: &mut Response| out.send_file(File::open(path)?));
        // The kernel's symbols come and go with the programs of others.
        let (stdout, end) = loop {
            let answer = ask(&server, &get(CLOSE, &[])).receive_answer();
            let now = std::fs::read(path).expect("it was there");
            if now == std::mem::replace(&mut content, now.clone()) {
                break answer;
            }
        };
        let shown = stdout[..stdout.len().min(200)].escape_ascii();
        assert!(stdout.ends_with(&content) && !content.is_empty() && end == [0; 8], "{path}: {shown}");
    }
}

#[test]
fn sources_of_unknown_length_and_too_short_ones() {
    check(|out| out.send_from(&b"0123456789"[..], None), "Status: 200 OK\r\nContent-Length: 10\r\n\r\n0123456789");
    check(|out| out.send_from(&b"0123456789"[..], Some(4)), "Status: 200 OK\r\nContent-Length: 4\r\n\r\n0123");
    // Nothing was sent yet, so the client learns it.
    let server = Running::start(|_: &Request, _: &mut Body, out: &mut Response| out.send_from(&b"01"[..], Some(4)));
    let (stdout, end) = ask(&server, &get(CLOSE, &[])).receive_answer();
    assert!(stdout.starts_with(b"Status: 500 ") && end[3] == 1, "{}", stdout.escape_ascii());
}

/// The records of an answer to a GET.
fn records_of(handler: impl Fn(&mut Response<'_>) -> io::Result<()> + Send + Sync + 'static) -> Vec<(u8, Vec<u8>)> {
    let server = Running::start(move |_: &Request, _: &mut Body, out: &mut Response| handler(out));
    ask(&server, &get(CLOSE, &[])).receive_records()
}

#[test]
fn log_lines_leave_behind_the_body() {
    let records = records_of(|out| {
        out.content_type("text/plain");
        writeln!(out.error_log(), "one\0")?;
        out.write_all(b"hi")?;
        write!(out.error_log(), "two")
    });
    let head = &b"Status: 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nhi"[..];
    let lines: [(u8, &[u8]); 3] = [(STDERR, b"one\\0\n"), (STDERR, b"two\n"), (STDERR, b"")];
    let want = [(STDOUT, head), lines[0], lines[1], lines[2], (STDOUT, b""), (3, &[0; 8])];
    assert_eq!(records, want.map(|(kind, content)| (kind, content.to_vec())));
}

/// HAProxy 2.6.12 dies of lines in a write of their own, ahead of the header section or among body records; nginx takes
/// more lines ahead of it than its header buffer holds for too large a header.
#[test]
fn log_lines_leave_only_with_the_end_of_the_answer() {
    let records = records_of(|out| {
        writeln!(out.error_log(), "early")?;
        out.error_log().flush()?;
        out.write_all(b"body")?;
        out.flush()?;
        writeln!(out.error_log(), "late")?;
        out.error_log().flush()?;
        out.write_all(b" end")?;
        out.flush()
    });
    let kinds: Vec<u8> = records.iter().map(|&(kind, _)| kind).collect();
    assert_eq!(kinds, [STDOUT, STDOUT, STDERR, STDERR, STDERR, STDOUT, 3]);
    let contents: Vec<&[u8]> = records.iter().map(|(_, content)| &content[..]).collect();
    let head = &b"Status: 200 OK\r\n\r\nbody"[..];
    assert_eq!(contents[..6], [head, b" end", b"early\n", b"late\n", b"", b""]);
}

#[test]
fn a_long_log_arrives_whole_in_records_that_web_servers_take() {
    let line = |number: usize| format!("{number} {}\n", "x".repeat(number * 500));
    let records =
        records_of(move |out| (0..20).try_for_each(|number| out.error_log().write_all(line(number).as_bytes())));
    let (lines, end) = records[1..].split_at(records.len() - 4);
    assert!(lines.iter().all(|(kind, content)| *kind == STDERR && content.len() <= 8184));
    let logged = lines.iter().flat_map(|(_, content)| content).copied().collect::<Vec<u8>>();
    assert!(logged == (0..20).map(line).collect::<String>().into_bytes());
    assert_eq!(end.iter().map(|&(kind, _)| kind).collect::<Vec<_>>(), [STDERR, STDOUT, 3]);
}

#[test]
fn what_a_logger_writes_goes_to_the_request_under_way() {
    let server = Running::start(|request: &Request, _: &mut Body, out: &mut Response| {
        if let Some(text) = request.param_str("LOG") {
            writeln!(ErrorLog, "{text}")?;
        }
        out.write_all(b"hi")
    });
    let mut client = ask(&server, &get(KEEP, &[("LOG", "mine")]));
    assert_eq!(client.receive_records()[1], (STDERR, b"mine\n".to_vec()));
    client.send(&get(CLOSE, &[]));
    let records = client.receive_records();
    assert!(records.iter().all(|&(kind, _)| kind != STDERR), "nothing is left over for the next: {records:?}");
}

#[test]
fn a_request_with_a_log_line_still_costs_one_write() {
    // Two writes would arrive as one if the reader were late, but not 50 times.
    let server = Running::start(|_: &Request, _: &mut Body, out: &mut Response| {
        writeln!(out.error_log(), "line")?;
        out.write_all(b"hi")
    });
    let whole = ask(&server, &get(CLOSE, &[])).receive_all().len();
    let mut client = server.connect();
    for _ in 0..50 {
        client.send(&get(KEEP, &[]));
        let mut buffer = [0; 4096];
        assert_eq!(client.0.read(&mut buffer).expect("an answer"), whole);
    }
}

#[test]
fn what_fails_says_why_in_the_error_log() {
    let server = Running::start(|request: &Request, _: &mut Body, _: &mut Response| -> Result<(), HandlerError> {
        match request.param_str("WHAT") {
            Some("error") => Err("two\nlines".into()),
            Some("panic") => panic!("a panic that a {} wants", "test"),
            other => panic!("nobody asks for {other:?}"),
        }
    });
    let mut client = server.connect();
    for (what, why) in [("error", "two\\nlines"), ("panic", "the handler panicked: a panic that a test wants")] {
        client.send(&get(KEEP, &[("WHAT", what), ("SCRIPT_NAME", "/x")]));
        let records = client.receive_records();
        let (_, line) = records.iter().find(|(kind, _)| *kind == STDERR).expect("it is said");
        assert_eq!(String::from_utf8_lossy(line), format!("GET /x: {why}\n"));
    }
}

#[test]
fn requests_over_a_limit_say_so_in_the_error_log() {
    fn filter(_: &Request, _: &mut Body, _: &mut Response) -> io::Result<()> {
        Ok(())
    }
    let server = Running::start(Roles::new().filter(filter));
    let mut client = server.connect();
    client.send(&[&begin_role(3, KEEP)[..], &record(4, b"\x01\xff\xff\xff\xff")].concat());
    let records = client.receive_records();
    assert_eq!(records[1], (STDERR, b"the request is answered 431: its params are longer than allowed\n".to_vec()));
    assert!(records[0].1.starts_with(b"Status: 431 "), "{records:?}");
}

#[test]
fn forms() {
    let server = Running::start(|request: &Request, body: &mut Body, out: &mut Response| -> Result<(), HandlerError> {
        match Form::read(request, body, 20) {
            Ok(form) => Ok(out.text(form.get("name").ok_or("no name")?)?),
            Err(error) => Ok(out.status(error.status()).text(error)?),
        }
    });
    let mut client = server.connect();
    let form = "application/x-www-form-urlencoded";
    for (content_type, length, body, status, text) in [
        (form, "", &b"x=&name=J%C3%BCrgen"[..], "200 ", "J\u{fc}rgen"),
        (form, "22", b"name=0123456789012345", "413 ", "the form has more than 20 bytes"),
        (form, "", b"name=0123456789012345", "413 ", "the form has more than 20 bytes"),
        (form, "15", b"name=012345678", "400 ", "the form was cut"),
        ("text/plain", "", b"name=x", "415 ", "the body is not application/x-www-form-urlencoded"),
    ] {
        let pairs = params(&[("CONTENT_TYPE", content_type), ("CONTENT_LENGTH", length)]);
        client.send(&[&begin(KEEP)[..], &pairs, END_PARAMS, &record(5, body), END_STDIN].concat());
        let got = String::from_utf8(client.receive_answer().0).expect("text");
        let want = format!("\r\n\r\n{text}");
        assert!(got.starts_with(&format!("Status: {status}")) && got.ends_with(&want), "{text}: {got}");
    }
}
