//! `echo`, the reference application in all three roles, asked over literal bytes.

use std::fs;
use std::time::{Duration, Instant};

use fcgi_tests::wire::{self, KEEP_CONN};
use fcgi_tests::{Address, TempDir, temp_dir};

use crate::app::App;

const AUTHORIZER: u16 = 2;
const FILTER: u16 = 3;

/// `echo` on a unix socket as descriptor 0; the folder has to outlive it.
fn echo() -> (App, TempDir) {
    let dir = temp_dir();
    let app = App::on_descriptor_0("echo", &Address::Unix(dir.path().join("app.sock")));
    (app, dir)
}

/// A request with just these params.
fn request(role: u16, params: &[(&str, &str)], streams: &[u8]) -> Vec<u8> {
    [wire::begin(1, role, KEEP_CONN), wire::stream(wire::PARAMS, 1, &wire::pairs(params), 65535), streams.to_vec()]
        .concat()
}

fn stdin(body: &[u8]) -> Vec<u8> {
    wire::stream(wire::STDIN, 1, body, 32768)
}

fn responder(params: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    request(wire::RESPONDER, params, &stdin(body))
}

/// The response to one request.
#[track_caller]
fn ask(app: &App, request: &[u8]) -> wire::Response {
    let mut connection = app.connect();
    connection.send(request);
    connection.response(1)
}

/// Every byte of an exchange.
#[test]
fn params_in_their_order_an_empty_line_and_the_body() {
    let (app, _dir) = echo();
    let request: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0\
        \x01\x04\0\x01\0\x20\0\0\x01\x02Bb1\x01\0A\0\x01e\x01\x02Bb2\x0a\x04HTTP_PROXYevil\
        \x01\x04\0\x01\0\0\0\0\
        \x01\x05\0\x01\0\x04\0\0bo\0\xff\x01\x05\0\x01\0\0\0\0";
    let stdout = b"Status: 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 21\r\n\r\n\
        B=b1\nA=\n=e\nB=b2\n\nbo\0\xff";
    let mut connection = app.connect();
    connection.send(request);
    let record = connection.record();
    assert_eq!((record.kind, record.id), (wire::STDOUT, 1));
    assert_eq!(record.content.escape_ascii().to_string(), stdout.escape_ascii().to_string());
    assert_eq!(connection.record(), wire::Record { kind: wire::STDOUT, id: 1, content: vec![] });
    assert_eq!(connection.record(), wire::Record { kind: wire::END_REQUEST, id: 1, content: vec![0; 8] });
    connection.expect_closed();
}

#[test]
fn a_body_shorter_or_longer_than_promised_is_answered_400() {
    let (app, _dir) = echo();
    let big = vec![b'x'; 3_000_000];
    for (length, body, status) in [
        ("5", &b"hell"[..], 400),
        ("1", b"", 400),
        ("3000001", &big, 400),
        ("18446744073709551615", b"hello", 400),
        ("5", b"hello", 200),
        ("4", b"hello", 400),
        ("0", b"hello", 400),
        ("", b"hello", 200),
        ("-1", b"hello", 200),
        ("18446744073709551616", b"hello", 200),
    ] {
        let response = ask(&app, &responder(&[("CONTENT_LENGTH", length)], body));
        assert_eq!(response.status(), status, "CONTENT_LENGTH={length}");
        assert_eq!((response.app_status, response.protocol_status), (0, 0));
        assert!(status == 400 || response.body().ends_with(body));
    }
}

#[test]
fn an_authorizer_grants_what_has_auth_ok() {
    let (app, _dir) = echo();
    for (params, status, variable) in [
        (&[("AUTH_OK", "1"), ("CONTENT_LENGTH", "25")][..], 200, Some("yes")),
        (&[("AUTH_OK", "0")], 403, None),
        (&[], 403, None),
    ] {
        // As mod_fcgid and mod_authnz_fcgi ask: without any STDIN.
        let response = ask(&app, &request(AUTHORIZER, params, &[]));
        assert_eq!((response.status(), response.header("Variable-ECHO").as_deref()), (status, variable));
        assert!(response.header("Status").is_some(), "{response:?}");
    }
}

#[test]
fn a_filter_gets_its_data_too() {
    let (app, _dir) = echo();
    let ask_filter = |params: &[(&str, &str)], body, data| {
        let streams = [stdin(body), wire::stream(wire::DATA, 1, data, 7)].concat();
        ask(&app, &request(FILTER, params, &streams))
    };
    let both = [("CONTENT_LENGTH", "4"), ("FCGI_DATA_LENGTH", "9")];
    assert_eq!(
        ask_filter(&both, b"body", b" and data").text(),
        "CONTENT_LENGTH=4\nFCGI_DATA_LENGTH=9\n\nbody and data"
    );
    assert_eq!(ask_filter(&both, b"bod", b" and data").status(), 400);
    assert_eq!(ask_filter(&both, b"body", b" and dat").status(), 400);
    assert_eq!(ask_filter(&[], b"", b"data").text(), "\ndata");
}

#[test]
fn what_params_ask_for() {
    let (app, _dir) = echo();
    let ask = |params: &[(&str, &str)]| ask(&app, &responder(params, b"body"));

    let stderr = ask(&[("ECHO_STDERR", "to the log")]);
    assert_eq!((stderr.status(), &stderr.stderr[..]), (200, &b"to the log\n"[..]));
    for status in [0, 7, u32::MAX] {
        let response = ask(&[("ECHO_STATUS", &status.to_string())]);
        assert_eq!((response.status(), response.app_status), (200, status));
    }
    let begun = Instant::now();
    assert_eq!(ask(&[("ECHO_SLEEP_MS", "300")]).status(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(ask(&[("ECHO_EARLY", "1"), ("CONTENT_LENGTH", "9")]).text(), "ECHO_EARLY=1\nCONTENT_LENGTH=9\n\n");
    let panicked = ask(&[("ECHO_PANIC", "1")]);
    assert_eq!((panicked.status(), panicked.app_status, panicked.protocol_status), (500, 101, 0));
    // Nothing of an earlier request is left.
    let plain = ask(&[]);
    assert_eq!((plain.text().as_str(), plain.app_status, &plain.stderr[..]), ("\nbody", 0, &b""[..]));
}

/// The answer begins when all of the body came, but it is not held in memory.
#[test]
fn a_large_body_takes_little_memory() {
    const LENGTH: usize = 50 << 20;
    let (app, _dir) = echo();
    let body = b"abcdefghijklmnopqrstuvwxy".repeat(LENGTH / 25);
    let mut connection = app.connect();
    connection.send(&request(wire::RESPONDER, &[("CONTENT_LENGTH", &body.len().to_string())], &[]));
    for piece in body.chunks(65535) {
        connection.send(&wire::record(wire::STDIN, 1, piece));
    }
    connection.send(&wire::record(wire::STDIN, 1, &[]));
    let response = connection.response(1);
    assert!(response.status() == 200 && response.body().ends_with(&body));
    let status = fs::read_to_string(format!("/proc/{}/status", app.process.pid())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let kib: u32 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kib < 16 << 10, "{kib} KiB");
}
