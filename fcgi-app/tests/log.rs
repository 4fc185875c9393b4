//! What a server says of its peers.

mod common;

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{CLOSE, END_PARAMS, KEEP, Running, begin, get, record};
use fcgi_app::{Body, Limits, Request, Response, Roles};

/// The lines that were logged.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        if line.contains("takes its time") {
            thread::sleep(Duration::from_millis(500));
        }
        assert!(!line.contains("does not like"), "a panic that a test wants");
        self.0.lock().expect("no panic").push(line);
    }

    fn flush(&self) {}
}

fn install() {
    // Another test may have done it.
    let _ = log::set_logger(&LINES);
    log::set_max_level(log::LevelFilter::Debug);
}

#[track_caller]
fn expect_line(want: &str) {
    let begun = Instant::now();
    while !LINES.0.lock().expect("no panic").iter().any(|line| line == want) {
        assert!(begun.elapsed() < Duration::from_secs(30), "no line '{want}' in {:#?}", LINES.0.lock());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn each_time_limit_is_named() {
    install();
    let second = Duration::from_secs(1);
    let limits = Limits { params_time: second, silence: second, write_time: second, ..Limits::default() };
    let server = Running::start_with(limits, |_: &Request, body: &mut Body, out: &mut Response| {
        io::copy(body, &mut io::sink())?;
        // Twice: the second says no more than that the first failed.
        let big = vec![b'x'; 8 << 20];
        out.write_all(&big).or_else(|_| out.write_all(&big))
    });
    let [mut half_params, mut half_body, mut reads_nothing] = [(); 3].map(|()| server.connect());
    half_params.send(&begin(KEEP));
    half_body.send(&[&begin(KEEP)[..], END_PARAMS, &record(5, b"some")].concat());
    reads_nothing.send(&get(KEEP, &[]));
    expect_line("WARN peer on the unix socket: the params of a request took too long to come; connection closed");
    expect_line("WARN peer on the unix socket: nothing came of a body for too long; connection closed");
    expect_line("WARN peer on the unix socket: nothing of an answer was taken for too long; connection closed");
}

/// As loudly as another failure, whatever became of the connection.
#[test]
fn a_failure_behind_the_end_of_the_response() {
    install();
    for multiplexed in [false, true] {
        let (go, may_go) = mpsc::channel::<()>();
        let may_go = Mutex::new(may_go);
        let fails_late = move |_: &Request, _: &mut Body, out: &mut Response| {
            out.finish()?;
            may_go.lock().expect("no panic").recv().expect("the test goes on");
            Err::<(), _>(io::Error::other(format!("the job failed: {multiplexed}")))
        };
        let server = Running::start_as(|server| server.multiplex(multiplexed), fails_late);
        let mut client = server.connect();
        client.send(&get(KEEP, &[]));
        client.receive_answer();
        client.send(&[9; 8]); // no FastCGI
        client.receive_all();
        go.send(()).expect("the handler waits");
        expect_line(&format!("ERROR GET /: the job failed: {multiplexed}"));
    }
}

/// A logger may take its time, in which the peer ends its sending: its connection is closed all the same.
#[test]
fn a_logger_that_is_slow() {
    install();
    let fails = |_: &Request, _: &mut Body, _: &mut Response| Err::<(), _>("takes its time");
    let server = Running::start_as(|server| server.multiplex(true), fails);
    let mut client = server.connect();
    client.send(&get(CLOSE, &[]));
    client.receive_answer();
    client.0.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(client.receive_all(), b"");
}

/// A logger that panics is the application's, as a handler is.
#[test]
fn a_logger_that_panics() {
    install();
    let page = Roles::new()
        .responder(|_: &Request, _: &mut Body, _: &mut Response| Err::<(), _>("away"))
        .error_page(|_: &Request, _: u16, _: &mut Response| Err::<(), _>("the logger does not like this"));
    let handler = |_: &Request, _: &mut Body, _: &mut Response| Err::<(), _>("the logger does not like this");
    for (name, roles) in [("page", page), ("handler", handler.into())] {
        let server = Running::start(roles);
        for _ in 0..2 {
            assert!(server.stdout(&get(CLOSE, &[])).starts_with(b"Status: 500 "), "{name}");
        }
    }
}

/// A stop without time does not say that something was under way unless it was.
#[test]
fn a_stop_without_time() {
    install();
    let limits = Limits { stop_timeout: Duration::ZERO, ..Limits::default() };
    let server = Running::start_with(limits, |_: &Request, _: &mut Body, out: &mut Response| out.text("hello"));
    server.ask(&get(CLOSE, &[]));
    drop(server);
    let is_about_it = |line: &String| line.contains("still under way");
    assert!(!LINES.0.lock().expect("no panic").iter().any(is_about_it));
}
