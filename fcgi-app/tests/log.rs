//! What a server says of its peers.

mod common;

use std::io::{self, Write};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use common::{END_PARAMS, KEEP, Running, begin, get, record};
use fcgi_app::{Body, Limits, Request, Response};

/// The lines that were logged.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().expect("no panic").push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
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
    log::set_logger(&LINES).expect("the only one");
    log::set_max_level(log::LevelFilter::Info);
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
