//! `fcgi-spawn --on-demand --idle`: which worker has nothing to do, and which only looks so.

use std::path::Path;
use std::time::{Duration, Instant};

use fcgi_tests::{Address, Program, Stray, eventually, holds_for, proc, skip, wire};

use crate::app::{connect, expect_hello};
use crate::launcher::{Launcher, path_of};

/// Programs of others answer every request with these records: an empty header, and the end.
const PERL: &str = r#"
my $end = "\1\6\0\1\0\2\0\0\r\n\1\6\0\1\0\0\0\0\1\3\0\1\0\10\0\0\0\0\0\0\0\0\0\0";
while (accept(my $client, STDIN)) {
    sysread $client, my $request, 65536;
    syswrite $client, $end;
    close $client;
}
"#;

/// The first thread only waits: what counts is what the others do.
const PYTHON: &str = r#"
import socket, threading
end = bytes.fromhex("0106000100020000 0d0a 0106000100000000 0103000100080000 0000000000000000")
listener = socket.socket(fileno=0)
def serve():
    while True:
        client, _ = listener.accept()
        client.recv(65536)
        client.sendall(end)
        client.close()
threading.Thread(target=serve).start()
threading.Event().wait()
"#;

/// Between two requests: six a second.
const PERIOD: Duration = Duration::from_millis(166);

/// `--idle` of these tests, and for how long there are requests.
const IDLE: Duration = Duration::from_secs(2);
const REQUESTS: Duration = Duration::from_secs(5);

/// A worker that starts with the first connection.
fn on_demand(program: &[&str], prepare: impl FnOnce(&Path)) -> Launcher {
    let options = ["-s", "@/app.sock", "--on-demand", "--idle", "2s"];
    let launcher = Launcher::start_with(&options, program, prepare);
    launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    launcher
}

fn lines(launcher: &Launcher, what: &str) -> usize {
    launcher.process.stderr().lines().iter().filter(|line| line.contains(what)).count()
}

/// Six requests a second do not stop the worker, and it is stopped when there are no more.
#[track_caller]
fn lives_by_requests(launcher: &Launcher, request: impl Fn(&Address)) {
    let address = launcher.socket();
    let worker = eventually("five seconds without a gap between requests", || {
        request(&address);
        let worker = proc::children(launcher.process.pid())[0];
        let (begin, mut last, mut widest) = (Instant::now(), Instant::now(), Duration::ZERO);
        while begin.elapsed() < REQUESTS {
            holds_for(PERIOD, || true);
            request(&address);
            widest = widest.max(last.elapsed());
            last = Instant::now();
        }
        // A busy machine may have made the worker idle.
        (widest < IDLE / 2).then_some(worker)
    });
    assert_eq!(proc::children(launcher.process.pid()), [worker], "{}", launcher.process.stderr().text());
    let worker = Stray::adopt(worker);
    let before = lines(launcher, "is idle, stopped");
    worker.wait_gone();
    eventually("the line about it", || (lines(launcher, "is idle, stopped") == before + 1).then_some(()));
    assert_eq!(proc::children(launcher.process.pid()), [0; 0]);
}

/// A request to a program that serves no particular page.
fn any_response(address: &Address) {
    let mut connection = connect(address);
    connection.send(&wire::get(1, 0, "/"));
    connection.response(1);
}

#[test]
fn a_worker_of_fcgi_app_lives_by_requests() {
    let launcher = on_demand(&[path_of("hello").to_str().expect("a plain path")], |_| ());
    lives_by_requests(&launcher, expect_hello);
}

#[test]
fn a_worker_of_php_lives_by_requests() {
    let Some(php) = Program::installed("php-cgi") else { skip!("php-cgi is not installed") };
    let launcher = on_demand(&[php.path().to_str().expect("a plain path"), "-n"], |_| ());
    lives_by_requests(&launcher, any_response);
}

#[test]
fn a_worker_in_perl_lives_by_requests() {
    let Some(perl) = Program::installed("perl") else { skip!("perl is not installed") };
    let launcher = on_demand(&[perl.path().to_str().expect("a plain path"), "-e", PERL], |_| ());
    lives_by_requests(&launcher, any_response);
}

#[test]
fn a_worker_lives_by_requests_of_any_thread() {
    let Some(python) = Program::installed("python3") else { skip!("python3 is not installed") };
    let launcher = on_demand(&[python.path().to_str().expect("a plain path"), "-c", PYTHON], |_| ());
    lives_by_requests(&launcher, any_response);
}

#[test]
fn a_program_that_wakes_by_itself_is_never_idle_and_reported_once() {
    let Some(perl) = Program::installed("perl") else { skip!("perl is not installed") };
    // It forks nothing: on a busy machine that would be more work at one look than at the next.
    let text = "select(undef, undef, undef, 0.1) while 1";
    let launcher = on_demand(&[perl.path().to_str().expect("a plain path"), "-e", text], |_| ());
    drop(connect(&launcher.socket()));
    launcher
        .process
        .stderr()
        .wait_for_line("the report", |line| line.contains("was not idle for 2s though no client was connected"));
    let workers = proc::children(launcher.process.pid());
    assert!(holds_for(2 * IDLE, || proc::children(launcher.process.pid()) == workers));
    assert_eq!(lines(&launcher, "was not idle"), 1, "{}", launcher.process.stderr().text());
}
