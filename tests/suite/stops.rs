//! What a stop of `fcgi-spawn` does to clients, and to the next one in its place.

use std::fs;
use std::time::Duration;

use fcgi_tests::{Address, Process, Program, Signal, Stray, eventually, free_port, proc, skip, wire};

use crate::app::{connect, expect_hello, wait_until_it_listens};
use crate::launcher::{Launcher, in_folder, launcher, path_of, script};

/// Answers one request after the other, each in a fifth of a second, and ends between two.
const SLOW: &str = r#"
my $end = "\1\6\0\1\0\2\0\0\r\n\1\6\0\1\0\0\0\0\1\3\0\1\0\10\0\0\0\0\0\0\0\0\0\0";
my $stop = 0;
$SIG{TERM} = sub { $stop = 1 };
while (!$stop && accept(my $client, STDIN)) {
    sysread $client, my $request, 65536;
    my $until = time + 0.2; my $left;
    while (($left = $until - time) > 0) { select(undef, undef, undef, $left) }
    syswrite $client, $end;
    close $client;
}
"#;

#[test]
fn who_has_connected_before_is_served() {
    let Some(perl) = Program::installed("perl") else { skip!("perl is not installed") };
    let perl = [perl.path().to_str().expect("a plain path"), "-MTime::HiRes=time", "-e", SLOW];
    let mut launcher = Launcher::start_program(&["-s", "@/app.sock"], &perl);
    launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    let mut clients: Vec<_> = (0..4).map(|_| connect(&launcher.socket())).collect();
    clients.iter_mut().for_each(|client| client.send(&wire::get(1, 0, "/")));
    launcher.process.signal(Signal::TERM);
    for client in &mut clients {
        client.response(1);
    }
    assert_eq!(launcher.process.wait_exit().code(), Some(0));
}

/// A new program does not take the place of a supervisor that is stopping, even if it was asked to before.
#[test]
fn a_stop_ends_the_replacement_of_the_program() {
    let Some(perl) = Program::installed("perl") else { skip!("perl is not installed") };
    let perl = [perl.path().to_str().expect("a plain path"), "-MTime::HiRes=time", "-e", SLOW];
    let mut launcher = Launcher::start_program(&["-s", "@/app.sock", "--status", "@/status"], &perl);
    launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    // The second one waits when the stop begins.
    let mut clients: Vec<_> = (0..3).map(|_| connect(&launcher.socket())).collect();
    clients.iter_mut().for_each(|client| client.send(&wire::get(1, 0, "/")));
    launcher.process.signal(Signal::USR2);
    launcher.process.signal(Signal::TERM);
    for client in &mut clients {
        client.response(1);
    }
    assert_eq!(launcher.process.wait_exit().code(), Some(0));
    assert!(!launcher.process.stderr().to_end().contains("has taken over"));
}

/// The first one waits for a worker that does not end; the next one has the same files.
#[test]
fn the_next_one_binds_at_once() {
    let options = ["-s", "@/app.sock", "-P", "@/pid", "--status", "@/status"];
    let deaf = "trap '' TERM; while :; do sleep 0.1; done";
    let first = [&options[..], &["--stop-timeout", "3s"]].concat();
    let mut first = Launcher::start_with(&first, &["@/program"], |dir| {
        script(dir, "program", deaf);
    });
    first.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    let worker = Stray::adopt(proc::children(first.process.pid())[0]);
    first.process.signal(Signal::TERM);
    eventually("a path without a socket", || (!first.path("app.sock").exists()).then_some(()));
    let start = || {
        let mut command = launcher();
        command.args(in_folder(&options, &first.path(""))).args(["-n", "--"]);
        Process::start(command.arg(path_of("hello")))
    };
    let mut second = start();
    let address = first.socket();
    wait_until_it_listens(&address);
    expect_hello(&address);
    assert!(worker.is_alive(), "the first one is over");
    assert_eq!(first.process.wait_exit().code(), Some(1), "its worker was killed");

    expect_hello(&address);
    let pid = fs::read_to_string(first.path("pid")).expect("a pid file");
    assert_eq!(pid, second.pid().to_string());
    let mut check = Process::start(launcher().args(["--check", "--status"]).arg(first.path("status")));
    assert_eq!(check.wait_exit().code(), Some(0), "{}", check.stdout().text());
    assert_eq!(second.stop().code(), Some(0));
    let left: Vec<_> =
        fs::read_dir(first.path("")).expect("a directory").flatten().map(|file| file.file_name()).collect();
    assert_eq!(left, ["program"]);
}

/// They would wait for the worker to end, and be reset then.
#[test]
fn who_comes_later_is_turned_away() {
    let port = free_port();
    let mut launcher = Launcher::start_with(
        &["-a", "127.0.0.1", "-p", &port.to_string(), "--stop-timeout", "3s"],
        &["@/program"],
        |dir| {
            script(dir, "program", "trap '' TERM; while :; do sleep 0.1; done");
        },
    );
    let address = Address::loopback(port);
    launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    address.connect().expect("it listens");
    launcher.process.signal(Signal::TERM);
    eventually("a refusal", || address.connect().is_err().then_some(()));
    assert!(!launcher.process.has_ended(), "the worker was to be waited for");
    assert_eq!(launcher.process.wait_exit_within(Duration::from_secs(30)).code(), Some(1));
}
