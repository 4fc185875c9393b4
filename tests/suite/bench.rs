//! `fcgi-bench`, with `hello` and with applications that misbehave.

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use fcgi_tests::wire::{self, BEGIN_REQUEST, END_REQUEST, Record, STDIN, STDOUT};
use fcgi_tests::{Address, Connection, Process, Program, Signal, TempDir, eventually, free_port, proc, temp_dir};
use serde_json::{Value, json};

use crate::app::{App, fails_with_one_line};

const HELLO: [&str; 4] = ["--script", "/hello", "--expect", "Hello, World!"];

fn bench(address: &Address, arguments: &[&str]) -> Command {
    let mut command = Program::ours("fcgi-bench").command();
    command.args(arguments).arg(address.to_string());
    command
}

/// The summary as JSON, and the exit status.
#[track_caller]
fn run(address: &Address, arguments: &[&str]) -> (Value, i32) {
    let mut process = Process::start(bench(address, arguments).arg("--json"));
    let status = process.wait_exit().code().expect("an exit status");
    assert_eq!(process.stderr().to_end(), "");
    (process.stdout().to_end().parse().expect("JSON"), status)
}

/// Asserts that the members of `want` are in a summary.
#[track_caller]
fn check((summary, status): &(Value, i32), want: &Value, want_status: i32) {
    for (name, value) in want.as_object().expect("members") {
        assert_eq!(&summary[name], value, "{name} in {summary}");
    }
    assert_eq!(*status, want_status, "{summary}");
}

/// An application that does with each of its connections what `serve` does.
fn application(serve: impl Fn(&mut Connection) + Send + 'static) -> (Address, TempDir) {
    let dir = temp_dir();
    let path = dir.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a listener");
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            serve(&mut stream.into());
        }
    });
    (Address::Unix(path), dir)
}

/// Reads requests until one ends, and gives its id; 0 at the end of the input.
fn request(connection: &mut Connection) -> u16 {
    while let Ok(Some(Record { kind, id, content })) = Record::read(connection) {
        if kind == STDIN && content.is_empty() {
            return id;
        }
    }
    0
}

fn answer(id: u16) -> Vec<u8> {
    let stdout = wire::stream(STDOUT, id, b"Status: 200 OK\r\n\r\nHello, World!", 65535);
    [stdout, wire::record(END_REQUEST, id, &[0; 8])].concat()
}

fn hello() -> (App, TempDir) {
    let dir = temp_dir();
    (App::on_descriptor_0("hello", &Address::Unix(dir.path().join("app.sock"))), dir)
}

// ---------------------------------------------------------------------------------------------- with hello

#[test]
fn kept_connections_serve_all_requests() {
    let (app, _dir) = hello();
    let summary = run(&app.address, &[&["-n", "500", "-c", "3"], &HELLO[..]].concat());
    let want =
        json!({"requests": 500, "ok": 500, "failed": 0, "connections": 3, "retries": 0, "checked_body": "exact"});
    check(&summary, &want, 0);
    let latency = |name: &str| summary.0["latency_us"][name].as_f64().expect("a number");
    assert!(0.0 < latency("min") && latency("min") <= latency("50%") && latency("99.9%") <= latency("max"));
}

#[test]
fn an_abstract_socket_is_an_address() {
    let app = App::on_descriptor_0("hello", &Address::abstract_socket("bench"));
    let summary = run(&app.address, &[&["-n", "50"], &HELLO[..]].concat());
    check(&summary, &json!({"ok": 50, "failed": 0}), 0);
}

#[test]
fn a_connection_per_request() {
    let app = App::on_descriptor_0("hello", &Address::loopback(0));
    let summary = run(&app.address, &[&["-n", "50", "-c", "2", "--per-request"], &HELLO[..]].concat());
    check(&summary, &json!({"ok": 50, "failed": 0, "connections": 50, "retries": 0}), 0);
}

/// Larger than what the sockets hold, so that nobody gets on who does not read while he writes.
#[test]
fn a_body_comes_back() {
    let (app, _dir) = hello();
    for mode in ["--kept", "--per-request"] {
        let arguments = ["-n", "5", "--script", "/echo", "--body", "3000000", "--expect-echo", mode];
        check(&run(&app.address, &arguments), &json!({"ok": 5, "failed": 0}), 0);
    }
    let short = ["-n", "5", "--script", "/echo", "--body", "10", "--expect", "length=11"];
    let first = json!({"wrong": "a body of 10 bytes instead of 11"});
    check(&run(&app.address, &short), &json!({"ok": 0, "failed": 5, "first_failures": first}), 1);
}

#[test]
fn wrong_answers_are_counted_and_shown() {
    let (app, _dir) = hello();
    let mut process =
        Process::start(&mut bench(&app.address, &["-n", "7", "--script", "/hello", "--expect", "Hello!"]));
    assert_eq!(process.wait_exit().code(), Some(1));
    let text = process.stdout().to_end();
    for line in ["ok           0", "failed       7", "  wrong      7, the first: the body differs at byte 5"] {
        assert!(text.lines().any(|have| have == line), "no line '{line}' in\n{text}");
    }
}

#[test]
fn multiplexing_that_is_refused_is_counted() {
    let (app, _dir) = hello();
    let (summary, status) = run(&app.address, &[&["-n", "100", "--multiplex", "4"], &HELLO[..]].concat());
    let (ok, refused) = (summary["ok"].as_u64().expect("a count"), summary["failures"]["refused"].as_u64());
    assert!(ok > 0 && refused == Some(100 - ok) && ok < 100, "{summary}");
    assert_eq!((&summary["first_failures"]["refused"], status), (&json!("CANT_MPX_CONN"), 1));
}

#[test]
fn multiplexed_requests_are_answered() {
    let dir = temp_dir();
    let app = App::multiplexing(&Address::Unix(dir.path().join("app.sock")));
    for (requests, body) in [(2000, "0"), (2000, "3000"), (500, "100000")] {
        let want = json!({"requests": requests, "ok": requests, "failed": 0, "connections": 2});
        let arguments = ["-n", &requests.to_string(), "-c", "2", "--multiplex", "64", "--body", body];
        check(&run(&app.address, &arguments), &want, 0);
    }
    let (summary, status) = run(&app.address, &["-n", "100", "--multiplex", "100", "--param", "ECHO_SLEEP_MS=200"]);
    let (ok, refused) = (summary["ok"].as_u64().expect("a count"), summary["failures"]["refused"].as_u64());
    assert!(ok >= 64 && refused == Some(100 - ok), "{summary}");
    assert_eq!((&summary["first_failures"]["refused"], status), (&json!("OVERLOADED"), 1));
    // Handlers' threads have ended. The main thread stays, one that accepts, and one of each of the eight connections,
    // should none have been closed when the next came.
    let pid = app.process.pid();
    eventually("only threads that accept are left", || {
        let threads = proc::status(pid, "Threads").first()?.parse::<u32>().ok()?;
        (threads <= 10).then_some(())
    });
}

#[test]
fn time_and_ctrl_c_end_a_run() {
    let (app, _dir) = hello();
    let (_, status) = run(&app.address, &[&["-t", "1"], &HELLO[..]].concat());
    assert_eq!(status, 0);
    let mut process = Process::start(&mut bench(&app.address, &[&["-t", "1000", "--progress"], &HELLO[..]].concat()));
    let line = process.stderr().wait_for_line("a progress line", |line| line.starts_with("fcgi-bench: 1 s, "));
    assert!(line.ends_with(" in the last second, 0 failed"), "{line}");
    process.signal(Signal::INT);
    assert_eq!(process.wait_exit().code(), Some(0));
    assert!(process.stdout().to_end().contains("\nlatency      min "));
}

// ------------------------------------------------------------------------------- with nobody, or somebody odd

#[test]
fn nobody_who_listens_is_a_failure_of_each_request_for_two_seconds() {
    let (summary, status) = run(&Address::loopback(free_port()), &["-n", "1000000", "-c", "2"]);
    assert_eq!((&summary["ok"], &summary["gave_up"], status), (&json!(0), &json!(true), 1));
    assert_eq!(summary["failures"]["connect"], summary["requests"]);
    assert_eq!(summary["first_failures"]["connect"], "Connection refused");
}

/// As a worker does that stops just when a request is on its way.
#[test]
fn what_a_closing_application_did_not_answer_is_sent_again() {
    let (address, _dir) = application(|connection| {
        let id = request(connection);
        connection.send(&answer(id));
        request(connection);
    });
    let summary = run(&address, &[&["-n", "10"], &HELLO[..]].concat());
    check(&summary, &json!({"ok": 10, "failed": 0, "retries": 9, "connections": 10}), 0);
    let mut process = Process::start(&mut bench(&address, &["-n", "3"]));
    process.stdout().wait_for_line("the retries", |line| line.starts_with("retried      2,"));
    assert_eq!(process.wait_exit().code(), Some(0));
}

#[test]
fn a_connection_that_was_closed_is_not_used_again() {
    let (address, _dir) = application(|connection| {
        let id = request(connection);
        connection.send(&answer(id));
    });
    let summary = run(&address, &[&["-n", "10"], &HELLO[..]].concat());
    check(&summary, &json!({"ok": 10, "failed": 0, "connections": 10}), 0);
    // It may just not have been closed yet when we looked.
    let (found, retries) = (&summary.0["connections_found_closed"], &summary.0["retries"]);
    assert_eq!(found.as_u64().zip(retries.as_u64()).map(|(found, retries)| found + retries), Some(9));
}

#[test]
fn lost_answers_are_told_apart() {
    let (address, _dir) = application(|connection| {
        request(connection);
    });
    let failures = json!({"connect": 0, "cut": 0, "refused": 0, "timeout": 0, "unanswered": 3, "wrong": 0});
    check(&run(&address, &["-n", "3"]), &json!({"ok": 0, "retries": 0, "failures": failures}), 1);

    for part in [1, 8, 20, 40] {
        let (address, _dir) = application(move |connection| {
            let id = request(connection);
            connection.send(&answer(id)[..part]);
        });
        let failures = json!({"connect": 0, "cut": 3, "refused": 0, "timeout": 0, "unanswered": 0, "wrong": 0});
        check(&run(&address, &["-n", "3"]), &json!({"ok": 0, "retries": 0, "failures": failures}), 1);
    }
}

/// Eight zero bytes stand in place of a record's header.
#[test]
fn a_response_that_is_broken_off_is_cut() {
    let (address, _dir) = application(|connection| {
        let id = request(connection);
        connection.send(&[wire::record(STDOUT, id, b"Status: 200 OK\r\n\r\nHello"), vec![0; 8]].concat());
    });
    let want = json!({"ok": 0, "retries": 0, "first_failures": {"cut": "broken off within an answer"}});
    check(&run(&address, &["-n", "3"]), &want, 1);
}

#[test]
fn silence_and_nonsense_are_told_apart() {
    let (address, _dir) = application(|connection| {
        request(connection);
        connection.expect_closed();
    });
    let silent = run(&address, &["-n", "1", "--timeout", "1"]);
    check(&silent, &json!({"failed": 1, "first_failures": {"timeout": "no whole answer in time"}}), 1);

    let (address, _dir) = application(|connection| {
        request(connection);
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let nonsense = run(&address, &["-n", "1"]);
    check(&nonsense, &json!({"failed": 1, "first_failures": {"wrong": "FastCGI version 72 instead of 1"}}), 1);

    let (address, _dir) = application(|connection| {
        let id = request(connection);
        connection.send(&answer(id + 1));
    });
    let stranger = json!({"wrong": "a record of request 2, which is not active"});
    check(&run(&address, &["-n", "1"]), &json!({"failed": 1, "first_failures": stranger}), 1);
}

#[test]
fn a_connection_that_is_left_open_is_noticed() {
    let (address, _dir) = application(|connection| {
        let id = request(connection);
        connection.send(&answer(id));
        request(connection);
    });
    let open = run(&address, &["-n", "1", "--per-request", "--timeout", "1"]);
    let first = json!({"timeout": "the connection was not closed after its answer"});
    check(&open, &json!({"failed": 1, "first_failures": first}), 1);
}

/// Three requests begin before the first of them is whole; their answers come mixed, the last one first.
#[test]
fn requests_are_multiplexed() {
    let (address, _dir) = application(|connection| {
        loop {
            let mut begun = 0;
            let mut whole = Vec::new();
            while whole.len() < 3 {
                let Ok(Some(Record { kind, id, content })) = Record::read(connection) else { return };
                begun += usize::from(kind == BEGIN_REQUEST);
                if kind == STDIN && content.is_empty() {
                    assert_eq!(begun, 3);
                    whole.push(id);
                }
            }
            let mut answers: Vec<_> = whole.iter().rev().map(|&id| answer(id)).collect();
            let ends: Vec<_> = answers.iter_mut().map(|answer| answer.split_off(answer.len() - 24)).collect();
            connection.send(&[answers.concat(), ends.concat()].concat());
        }
    });
    let summary = run(&address, &[&["-n", "30", "-c", "1", "--multiplex", "3"], &HELLO[..]].concat());
    check(&summary, &json!({"ok": 30, "failed": 0, "connections": 1, "requests_at_once_per_connection": 3}), 0);
}

// ---------------------------------------------------------------------------------------- the command line

#[test]
fn what_cannot_be_done_is_one_line_and_status_2() {
    let app = Address::Unix("/nowhere/app.sock".into());
    for (arguments, want) in [
        (&["-n", "0"][..], "-n '0' is not a number from 1 to 18446744073709551615"),
        (&["--bogus"], "invalid option '--bogus' (see --help)"),
        (&["--body", "@/nowhere/x"], "cannot read '/nowhere/x': No such file or directory"),
    ] {
        let failed = fails_with_one_line(&mut bench(&app, arguments));
        assert_eq!(failed, (2, format!("fcgi-bench: {want}\n")), "{arguments:?}");
    }
}

/// No request begins earlier than the last answer and the pause, however many are under way at a time.
#[test]
fn a_connection_rests_between_its_answers() {
    let dir = temp_dir();
    let app = App::multiplexing(&Address::Unix(dir.path().join("app.sock")));
    for (mode, rests) in [(&["--kept"][..], 9), (&["--per-request"], 9), (&["--multiplex", "2"], 4)] {
        let (summary, status) = run(&app.address, &[&["-n", "10", "--pause", "20"], mode].concat());
        assert_eq!((summary["ok"].as_u64(), status), (Some(10), 0), "{summary}");
        assert!(summary["seconds"].as_f64() >= Some(0.02 * f64::from(rests)), "{mode:?}: {summary}");
    }
}

#[test]
fn the_help_names_the_options() {
    let mut process = Process::start(Program::ours("fcgi-bench").command().arg("--help"));
    assert_eq!(process.wait_exit().code(), Some(0));
    let help = process.stdout().to_end();
    for option in ["-n ", "-t ", "-c ", "--kept", "--per-request", "--multiplex", "--pause", "--script", "--param"]
        .into_iter()
        .chain(["--body", "--status", "--expect", "--expect-echo", "--timeout", "--json", "--progress", "--help"])
    {
        assert!(help.contains(&format!("\n  {option}")) || help.contains(&format!(", {option}")), "{option}");
    }
}
