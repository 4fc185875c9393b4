//! `bench-app`, and the script that measures it.

use std::process::Command;
use std::thread;
use std::time::Duration;

use fcgi_tests::wire::{self, KEEP_CONN};
use fcgi_tests::{Address, Process, Program, TempDir, once_is_enough, repository, skip, temp_dir};

use crate::app::{App, expect_hello};

fn bench_app() -> (App, TempDir) {
    let dir = temp_dir();
    (App::on_descriptor_0("bench-app", &Address::Unix(dir.path().join("app.sock"))), dir)
}

#[test]
fn it_routes_on_script_name() {
    let (app, _dir) = bench_app();
    expect_hello(&app.address);
    let alphabet = (b'a'..=b'z').cycle().take(10 << 20);
    assert!(app.ask("/big").body().iter().copied().eq(alphabet), "10 MiB of the alphabet");
    assert_eq!(app.ask("/hello/").status(), 404);
}

#[test]
fn its_echo_is_the_body() {
    let (app, _dir) = bench_app();
    for length in [0, 1, 4096, 100_000, 3 << 20] {
        let body: Vec<u8> = (0..length).map(|index: u32| (index % 251) as u8).collect();
        let request = wire::request(1, KEEP_CONN, "/echo", &[], &body);
        let mut connection = app.connect();
        let mut writer = connection.try_clone().expect("a second handle");
        let response = thread::scope(|scope| {
            scope.spawn(|| writer.send(&request));
            connection.response(1)
        });
        assert!(response.body() == body, "the echo of {length} bytes differs");
    }
}

/// A line for each program and for `fcgi-spawn`; the numbers are for people to judge.
#[test]
fn the_bench_script_prints_its_tables() {
    once_is_enough!();
    for program in ["bash", "rustc", "perl"] {
        if Program::installed(program).is_none() {
            skip!("{program} is not installed");
        }
    }
    let mut command = Command::new(repository().join("examples/bench/run"));
    command.args(["--quick", "--peers", "floor bench-app"]).env("BENCH_PROGRAMS", Program::folder());
    let mut process = Process::start(&mut command);
    let status = process.wait_exit_within(Duration::from_secs(240));
    let (table, errors) = (process.stdout().to_end(), process.stderr().to_end());
    assert!(status.success(), "{status}:\n{table}{errors}");
    let number = |program: &str, column: usize| {
        let line = table.lines().find(|line| line.starts_with(&format!("| {program} |")));
        line.and_then(|line| line.split(['|', ',']).nth(column)).and_then(|cell| cell.trim().parse::<f64>().ok())
    };
    for program in ["floor", "bench-app"] {
        let calls_of_kept = number(program, 2);
        assert!(calls_of_kept.is_some_and(|calls| calls < 10.0), "{program}:\n{table}");
    }
    for (what, column) in [("its own", 2), ("its worker's", 4)] {
        let rss = number("fcgi-spawn", column);
        assert!(rss.is_some_and(|kib| kib > 100.0), "{what} memory:\n{table}");
    }
}
