//! `hello`, the smallest application, asked over literal bytes.

use std::fs;
use std::net::{Ipv6Addr, TcpListener};
use std::process::Stdio;
use std::thread;

use fcgi_tests::wire::{self, KEEP_CONN};
use fcgi_tests::{Address, Process, Program, Signal, eventually, free_port, skip, temp_dir};

use crate::app::{App, expect_hello, fails_with_one_line, unescape};

/// `hello` on a unix socket as descriptor 0; the folder has to outlive it.
fn hello() -> (App, fcgi_tests::TempDir) {
    let dir = temp_dir();
    let app = App::on_descriptor_0("hello", &Address::Unix(dir.path().join("app.sock")));
    (app, dir)
}

#[test]
fn descriptor_0_is_a_unix_socket() {
    let (app, _dir) = hello();
    expect_hello(&app.address);
}

#[test]
fn descriptor_0_is_a_tcp_socket() {
    expect_hello(&App::on_descriptor_0("hello", &Address::loopback(0)).address);
}

#[test]
fn fcgi_bind_is_a_unix_path() {
    let dir = temp_dir();
    expect_hello(&App::with_bind("hello", Address::Unix(dir.path().join("app.sock"))).address);
}

#[test]
fn fcgi_bind_is_an_ipv4_address() {
    expect_hello(&App::with_bind("hello", Address::loopback(free_port())).address);
}

#[test]
fn fcgi_bind_is_an_ipv6_address() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        skip!("there is no IPv6 here");
    }
    expect_hello(&App::with_bind("hello", Address::Tcp((Ipv6Addr::LOCALHOST, free_port()).into())).address);
}

#[test]
fn hello_is_13_bytes_of_plain_text() {
    let (app, _dir) = hello();
    let response = app.ask("/hello");
    assert_eq!((response.status(), response.body()), (200, &b"Hello, World!"[..]));
    let content_type = response.header("Content-Type").expect("a Content-Type");
    assert!(content_type.starts_with("text/plain"), "{content_type}");
    assert!(response.header("Status").is_some(), "a Status is always written: {response:?}");
    assert_eq!((response.app_status, response.protocol_status, &response.stderr[..]), (0, 0, &b""[..]));
}

/// The system calls by which a process reads and writes files, of which its connections are some.
fn reads_and_writes(pid: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let count = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some((count("syscr:")?, count("syscw:")?))
}

/// Not one call for sockets, which on i686 before Linux 4.3 is tried and refused first.
#[test]
fn a_request_on_a_kept_connection_is_one_read_and_one_write() {
    let (app, _dir) = hello();
    let mut connection = app.connect();
    let mut ask = |requests: u64| {
        for _ in 0..requests {
            connection.send(&wire::get(1, KEEP_CONN, "/hello"));
            assert_eq!(connection.response(1).status(), 200);
        }
    };
    ask(1);
    let pid = app.process.pid();
    let Some((reads, writes)) = reads_and_writes(pid) else { skip!("the kernel does not count reads and writes") };
    ask(1000);
    let calls = reads_and_writes(pid).map(|(now_reads, now_writes)| (now_reads - reads, now_writes - writes));
    let (reads, writes) = calls.expect("still counted");
    // The kernel counts them when they are over; and the housekeeper has something to do now and then.
    assert!((999..1010).contains(&reads) && (999..1010).contains(&writes), "{reads} reads, {writes} writes");
}

#[test]
fn the_page_names_pid_uptime_and_params() {
    let (app, _dir) = hello();
    let mut connection = app.connect();
    let evil = [("X_EVIL", "<script>alert('&\"')</script>"), ("X_<B>", "bold")];
    connection.send(&wire::request(1, 0, "/", &evil, &[]));
    let response = connection.response(1);
    assert_eq!(response.status(), 200);
    assert!(response.header("Content-Type").is_some_and(|value| value.starts_with("text/html")), "{response:?}");
    let page = response.text();
    assert!(!page.contains("<script>") && !page.contains("X_<B>"), "the page is not escaped:\n{page}");
    let text = unescape(&page);
    for part in
        [&app.process.pid().to_string()[..], "REMOTE_ADDR", "192.0.2.1", "<script>alert('&\"')</script>", "X_<B>"]
    {
        assert!(text.contains(part), "{part} is not in the page:\n{page}");
    }
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let uptime = words.windows(2).find(|pair| pair[0].parse::<u32>().is_ok() && pair[1].starts_with('s'));
    assert!(uptime.is_some(), "no uptime in seconds is in the page:\n{page}");
}

/// Web servers and networks cut a request anywhere. The first parts of a batch all go out before any second part,
/// and a whole request goes between, so that the application has seen most of the first ones alone.
#[test]
fn a_request_may_be_cut_at_every_byte() {
    let (app, _dir) = hello();
    let body = b"body";
    let request = wire::request(1, 0, "/echo", &[("X_LONG", &"v".repeat(200))], body);
    let cuts: Vec<usize> = (1..request.len()).collect();
    for batch in cuts.chunks(50) {
        let mut begun: Vec<_> = batch.iter().map(|&cut| (cut, app.connect())).collect();
        for (cut, connection) in &mut begun {
            connection.send(&request[..*cut]);
        }
        expect_hello(&app.address);
        for (cut, connection) in &mut begun {
            connection.send(&request[*cut..]);
        }
        for (cut, mut connection) in begun {
            assert_eq!(connection.response(1).body(), body, "cut at {cut}");
            connection.expect_closed();
        }
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let (app, _dir) = hello();
    let mut connection = app.connect();
    for byte in wire::get(1, 0, "/hello") {
        connection.send(&[byte]);
    }
    assert_eq!(connection.response(1).text(), "Hello, World!");
}

#[test]
fn a_kept_connection_serves_100_requests() {
    let (app, _dir) = hello();
    let mut connection = app.connect();
    for number in 0..100 {
        // The id is the web server's to choose, anew each time.
        let id = if number % 2 == 0 { 1 } else { 65535 };
        connection.send(&wire::get(id, KEEP_CONN, "/hello"));
        assert_eq!(connection.response(id).text(), "Hello, World!", "request {number}");
    }
    connection.send(&wire::get(1, 0, "/hello"));
    assert_eq!(connection.response(1).text(), "Hello, World!");
    connection.expect_closed();
}

#[test]
fn requests_sent_in_one_piece_are_answered_in_order() {
    let (app, _dir) = hello();
    let mut connection = app.connect();
    connection
        .send(&[wire::get(1, KEEP_CONN, "/hello"), wire::get(2, KEEP_CONN, "/"), wire::get(3, 0, "/hello")].concat());
    assert_eq!(connection.response(1).text(), "Hello, World!");
    assert!(connection.response(2).text().contains("192.0.2.1"));
    assert_eq!(connection.response(3).text(), "Hello, World!");
    connection.expect_closed();
}

#[test]
fn other_flags_than_keep_conn_mean_nothing() {
    let (app, _dir) = hello();
    let mut connection = app.connect();
    connection.send(&wire::get(1, !KEEP_CONN, "/hello"));
    assert_eq!(connection.response(1).text(), "Hello, World!");
    connection.expect_closed();
}

/// The answer begins while the body is still on its way, so the test has to read while it writes.
#[test]
fn a_body_is_echoed_byte_for_byte() {
    let (app, _dir) = hello();
    for length in [1, 65535, 65536, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|index: u32| (index % 251) as u8).collect();
        let request = wire::request(1, KEEP_CONN, "/echo", &[], &body);
        let mut connection = app.connect();
        let mut writer = connection.try_clone().expect("a second handle");
        let response = thread::scope(|scope| {
            scope.spawn(|| writer.send(&request));
            connection.response(1)
        });
        assert_eq!(response.header("Content-Type").as_deref(), Some("application/octet-stream"));
        assert!(response.body() == body, "the echo of {length} bytes differs");
    }
}

#[test]
fn a_body_that_nobody_reads_does_no_harm() {
    let (app, _dir) = hello();
    let mut connection = app.connect();
    for _ in 0..3 {
        connection.send(&wire::request(1, KEEP_CONN, "/hello", &[], &[b'x'; 50_000]));
        assert_eq!(connection.response(1).text(), "Hello, World!");
    }
}

#[test]
fn padding_is_skipped_on_every_record() {
    let (app, _dir) = hello();
    let mut connection = app.connect();
    let params = wire::pairs(&[("REQUEST_METHOD", "POST"), ("SCRIPT_NAME", "/echo"), ("CONTENT_LENGTH", "4")]);
    let records = [
        wire::padded_record(wire::BEGIN_REQUEST, 1, &[0, 1, 0, 0, 0, 0, 0, 0], 255),
        wire::padded_record(wire::PARAMS, 1, &params, 7),
        wire::padded_record(wire::PARAMS, 1, &[], 8),
        wire::padded_record(wire::STDIN, 1, b"body", 1),
        wire::padded_record(wire::STDIN, 1, &[], 255),
    ];
    connection.send(&records.concat());
    assert_eq!(connection.response(1).text(), "body");
}

/// What is not FastCGI costs its connection and one line in the log, nothing else.
#[test]
fn bad_input_closes_the_connection_with_one_line() {
    let (app, _dir) = hello();
    let cases: [(&str, Vec<u8>); 6] = [
        ("garbage", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6".to_vec()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("version 2", [&[2], &wire::get(1, 0, "/hello")[1..]].concat()),
        ("a truncated header", wire::get(1, 0, "/hello")[..4].to_vec()),
        (
            "a length larger than the bytes",
            [wire::begin(1, wire::RESPONDER, 0), b"\x01\x04\0\x01\0\x64\0\0short".to_vec()].concat(),
        ),
        ("a pair longer than the params", {
            let params = wire::stream(wire::PARAMS, 1, b"\x04\x7fNAMEvalue", 100);
            [wire::begin(1, wire::RESPONDER, 0), params].concat()
        }),
    ];
    for (number, (what, bytes)) in cases.iter().enumerate() {
        let mut connection = app.connect();
        connection.send(bytes);
        connection.end_sending();
        connection.expect_closed();
        let lines = eventually(&format!("a line in the log about {what}"), || {
            let lines = app.process.stderr().lines();
            (lines.len() > number).then_some(lines)
        });
        // The next connection works, and nothing more was said.
        expect_hello(&app.address);
        assert_eq!(app.process.stderr().lines().len(), number + 1, "after {what}: {lines:#?}");
    }
}

#[test]
fn a_connection_that_just_closes_is_no_event() {
    let (app, _dir) = hello();
    for _ in 0..20 {
        app.connect().end_sending();
    }
    let mut kept = app.connect();
    kept.send(&wire::get(1, KEEP_CONN, "/hello"));
    kept.response(1);
    kept.end_sending();
    kept.expect_closed();
    expect_hello(&app.address);
    assert_eq!(app.process.stderr().text(), "");
}

#[test]
fn get_values_is_answered() {
    let (app, _dir) = hello();
    let mut connection = app.connect();
    let names = [("FCGI_MPXS_CONNS", ""), ("FCGI_MAX_CONNS", ""), ("NOBODY_KNOWS_THIS", ""), ("FCGI_MAX_REQS", "")];
    connection.send(&wire::record(wire::GET_VALUES, 0, &wire::pairs(&names)));
    let record = connection.record();
    assert_eq!((record.kind, record.id), (wire::GET_VALUES_RESULT, 0));
    let mut values = short_pairs(&record.content);
    values.sort();
    let [(conns, max_conns), (reqs, max_reqs), (mpxs, multiplexes)] = &values[..] else { panic!("{values:?}") };
    assert_eq!([&conns[..], reqs, mpxs], ["FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"]);
    assert_eq!(multiplexes, "0");
    for number in [max_conns, max_reqs] {
        assert!(number.parse::<u32>().is_ok_and(|number| number >= 1), "{values:?}");
    }
    // The connection serves requests afterwards.
    connection.send(&wire::get(1, 0, "/hello"));
    assert_eq!(connection.response(1).text(), "Hello, World!");
}

/// Pairs whose lengths have one byte each.
fn short_pairs(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    while let [name, value, rest @ ..] = bytes {
        let (name, rest) = rest.split_at(usize::from(*name));
        let (value, rest) = rest.split_at(usize::from(*value));
        pairs.push((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()));
        bytes = rest;
    }
    pairs
}

#[test]
fn sigterm_ends_it_with_status_0() {
    let (mut app, _dir) = hello();
    expect_hello(&app.address);
    assert_eq!(app.process.stop().code(), Some(0));
    assert_eq!(app.process.stderr().to_end(), "");
}

#[test]
fn sigterm_ends_it_while_a_kept_connection_is_idle() {
    let (mut app, _dir) = hello();
    let mut kept = app.connect();
    kept.send(&wire::get(1, KEEP_CONN, "/hello"));
    kept.response(1);
    app.process.signal(Signal::TERM);
    kept.expect_closed();
    assert_eq!(app.process.wait_exit().code(), Some(0));
}

#[test]
fn a_bad_fcgi_bind_is_one_line() {
    let dir = temp_dir();
    let no_such_folder = format!("unix:{}/missing/app.sock", dir.path().display());
    let too_long = format!("unix:/{}", "x".repeat(200));
    let bad =
        ["", "nonsense", "unix:", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "[::1]", "::1:99999"];
    for value in bad.into_iter().chain([&no_such_folder[..], &too_long]) {
        let (status, line) = fails_with_one_line(Program::ours("hello").command().env("FCGI_BIND", value));
        assert_eq!(status, 1, "FCGI_BIND={value}: {line}");
    }
}

#[test]
fn an_address_in_use_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = taken.local_addr().expect("its address").to_string();
    let (status, line) = fails_with_one_line(Program::ours("hello").command().env("FCGI_BIND", &address));
    assert!(status == 1 && line.contains(&address), "{status}: {line}");
}

/// A newcomer who types its name gets told what to do, whatever descriptor 0 is.
#[test]
fn started_by_hand_it_explains_itself() {
    for stdin in [Stdio::null(), Stdio::piped()] {
        let mut process = Process::start(Program::ours("hello").command().stdin(stdin));
        assert_eq!(process.wait_exit().code(), Some(1));
        let help = process.stderr().to_end();
        assert!(help.contains("FCGI_BIND") && help.lines().count() <= 20, "{help}");
        assert_eq!(process.stdout().to_end(), "");
    }
}
