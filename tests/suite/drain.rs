//! Clients of a worker that is to end: a program that drops what it holds when it is asked is asked when it holds nothing.

use std::fs;
use std::time::{Duration, Instant};

use fcgi_tests::{
    Address, Connection, Process, Program, Signal, Stray, eventually, free_port, needs_root, proc, skip, temp_dir, wire,
};

use crate::app::{connect, expect_hello, wait_until_it_listens};
use crate::launcher::{Launcher, in_folder, launcher};

/// Answers one request of a connection after the other, each after some seconds, and dies when it is asked to end. A
/// byte in a file stands for each request that it has begun.
const DROPS: &str = r#"
my $end = "\1\6\0\1\0\2\0\0\r\n\1\6\0\1\0\0\0\0\1\3\0\1\0\10\0\0\0\0\0\0\0\0\0\0";
while (accept(my $client, STDIN)) {
    while (sysread $client, my $request, 65536) {
        open my $begun, '>>', $ARGV[0]; print $begun '.'; close $begun;
        select undef, undef, undef, $ARGV[1];
        syswrite $client, $end;
    }
    close $client;
}
"#;

/// A supervisor of such a program, with a client whose request is under way. `None` without Perl.
fn under_way(options: &[&str], seconds: &str) -> Option<(Launcher, Connection)> {
    under_way_at(None, options, seconds)
}

/// The same at this port.
fn under_way_at(port: Option<u16>, options: &[&str], seconds: &str) -> Option<(Launcher, Connection)> {
    let perl = Program::installed("perl")?;
    let number = port.map(|port| port.to_string());
    let at = number.as_ref().map_or(vec!["-s", "@/app.sock"], |port| vec!["-a", "127.0.0.1", "-p", port]);
    let options = [&at, options].concat();
    let program = [perl.path().to_str().expect("a plain path"), "-e", DROPS, "@/begun", seconds];
    let launcher = Launcher::start_with(&options, &program, |_| ());
    launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    let mut client = connect(&port.map_or(launcher.socket(), Address::loopback));
    client.send(&wire::get(1, 0, "/"));
    eventually("a request under way", || launcher.path("begun").exists().then_some(()));
    Some((launcher, client))
}

fn worker(launcher: &Launcher) -> Stray {
    Stray::adopt(proc::children(launcher.process.pid())[0])
}

/// A reload, a worker that is too many, and a stop.
#[test]
fn what_a_program_holds_is_answered() {
    for signal in [Signal::HUP, Signal::TTOU, Signal::TERM] {
        let Some((mut launcher, mut client)) = under_way(&["-F", "2"], "0.5") else { skip!("perl is not installed") };
        // Of two workers either has the client: each is to end sooner or later.
        launcher.process.signal(signal);
        client.response(1);
        drop(client);
        if signal == Signal::HUP {
            launcher.process.stderr().wait_for_line("the end of a reload", |line| line.ends_with(": reloaded"));
        }
        if signal == Signal::TTOU {
            eventually("one worker", || (proc::children(launcher.process.pid()).len() == 1).then_some(()));
        }
        if signal != Signal::TERM {
            launcher.process.signal(Signal::TERM);
        }
        assert_eq!(launcher.process.wait_exit().code(), Some(0));
    }
}

/// A TCP socket has no file that could go first: it is shut down when all workers were asked, and their clients are seen
/// until then.
#[test]
fn what_a_program_holds_is_answered_over_tcp() {
    for signal in [Signal::HUP, Signal::TERM] {
        let port = free_port();
        let Some((mut launcher, mut client)) = under_way_at(Some(port), &[], "1") else {
            skip!("perl is not installed")
        };
        launcher.process.signal(signal);
        client.response(1);
        drop(client);
        if signal == Signal::HUP {
            launcher.process.stderr().wait_for_line("the end of a reload", |line| line.ends_with(": reloaded"));
            launcher.process.signal(Signal::TERM);
        }
        assert_eq!(launcher.process.wait_exit().code(), Some(0));
        assert!(!launcher.process.stderr().to_end().contains("cannot be seen"));
    }
}

/// A web server may keep a connection for later requests: nothing tells whether one is on its way.
#[test]
fn a_connection_that_is_kept_delays_it_for_its_time_only() {
    let Some((mut launcher, mut client)) = under_way(&["--drain", "1s"], "0.1") else { skip!("perl is not installed") };
    client.response(1);
    let old = worker(&launcher);
    let begun = Instant::now();
    launcher.process.signal(Signal::HUP);
    old.wait_gone();
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// Half of the time that a worker has to end stays for those that do not end when they are asked.
#[test]
fn a_stop_waits_for_half_of_its_time() {
    let Some((mut launcher, mut client)) = under_way(&["--drain", "1h", "--stop-timeout", "2s"], "0.1") else {
        skip!("perl is not installed")
    };
    client.response(1);
    let begun = Instant::now();
    launcher.process.signal(Signal::TERM);
    assert_eq!(launcher.process.wait_exit().code(), Some(0), "it was killed");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn without_a_time_for_it_a_worker_is_asked_at_once() {
    let Some((mut launcher, mut client)) = under_way(&["--drain", "off"], "1000") else {
        skip!("perl is not installed")
    };
    let old = worker(&launcher);
    launcher.process.signal(Signal::HUP);
    old.wait_gone();
    client.expect_closed();
}

/// It has reported that it is up, and so answers its clients before it ends.
#[test]
fn fcgi_app_is_asked_at_once() {
    let mut launcher = Launcher::start(&["-s", "@/app.sock", "--drain", "1h"]);
    wait_until_it_listens(&launcher.socket());
    expect_hello(&launcher.socket());
    let _kept = connect(&launcher.socket());
    let old = Stray::adopt(launcher.workers(1)[0]);
    launcher.process.signal(Signal::HUP);
    old.wait_gone();
    assert_eq!(launcher.process.stop().code(), Some(0));
}

/// What is held for a moment goes on: it is asked by a signal of which it takes note, and ends when it likes.
#[test]
fn a_worker_that_is_held_goes_on() {
    let Some(perl) = Program::installed("perl") else { skip!("perl is not installed") };
    let text = r#"$SIG{CONT} = sub { open my $file, '>', $ARGV[0] }; $SIG{TERM} = sub { exit 0 }; sleep 1 while 1"#;
    let program = [perl.path().to_str().expect("a plain path"), "-e", text, "@/went-on"];
    let mut launcher = Launcher::start_with(&["-s", "@/app.sock"], &program, |_| ());
    launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    assert_eq!(launcher.process.stop().code(), Some(0));
}

/// As with `hidepid`, or without the file system.
#[test]
fn without_proc_workers_are_asked_at_once() {
    needs_root!();
    let Some(perl) = Program::installed("perl") else { skip!("perl is not installed") };
    let dir = temp_dir();
    let mut command = launcher();
    let program = command.get_program().to_owned();
    command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"]).arg(program);
    command.args(in_folder(&["-s", "@/app.sock", "--drain", "1h", "-n", "--"], dir.path())).arg(perl.path());
    command.args(["-e", DROPS]).arg(dir.path().join("begun")).arg("1000");
    let mut process = Process::start(&mut command);
    process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    let mut client = connect(&Address::Unix(dir.path().join("app.sock")));
    client.send(&wire::get(1, 0, "/"));
    eventually("a request under way", || dir.path().join("begun").exists().then_some(()));
    process.signal(Signal::HUP);
    process.stderr().wait_for_line("why", |line| line.contains("the clients of workers cannot be seen in /proc"));
    process.stderr().wait_for_line("the end of a reload", |line| line.ends_with(": reloaded"));
    assert_eq!(process.stop().code(), Some(0));
    assert!(!fs::read(dir.path().join("begun")).expect("it was there").is_empty());
}
