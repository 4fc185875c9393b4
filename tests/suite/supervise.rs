//! `fcgi-spawn` as a supervisor: when workers are started again, how they are stopped, replaced, and how many there are.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fcgi_tests::{
    Address, Process, Program, Signal, Stray, copy_program, dynamic_only, eventually, proc, skip, temp_dir,
    write_executable,
};

use crate::app::{ask, expect_hello};
use crate::launcher::{Launcher, in_folder, launcher, path_of, script};

/// A supervisor of a shell script that is in the private folder, as `@/program`.
fn supervise(options: &[&str], text: &str) -> Launcher {
    let options = [&["-s", "@/app.sock"], options].concat();
    Launcher::start_with(&options, &["@/program"], |dir| {
        script(dir, "program", &text.replace('@', dir.to_str().expect("a plain path")));
    })
}

/// A supervisor of `hello`.
fn hello(options: &[&str]) -> Launcher {
    Launcher::start(&[&["-s", "@/app.sock"], options].concat())
}

/// A supervisor of a copy of `hello` in the private folder, which can be replaced.
fn copied_hello(options: &[&str]) -> Launcher {
    let options = [&["-s", "@/app.sock"], options].concat();
    Launcher::start_with(&options, &["@/hello"], |dir| {
        copy_program(&path_of("hello"), &dir.join("hello"));
    })
}

impl Launcher {
    #[track_caller]
    fn says(&self, what: &str) -> String {
        self.process.stderr().wait_for_line(what, |line| line.contains(what))
    }

    /// Waits until it has said something so many times.
    #[track_caller]
    fn says_times(&self, what: &str, times: usize) {
        let said = || self.process.stderr().lines().iter().filter(|line| line.contains(what)).count();
        eventually(&format!("{times} times '{what}'"), || (said() >= times).then_some(()));
    }

    /// Workers of any name.
    #[track_caller]
    fn children(&self, count: usize) -> Vec<u32> {
        eventually(&format!("{count} children"), || {
            let found = proc::children(self.process.pid());
            (found.len() == count).then_some(found)
        })
    }

    /// Whether there is a file that a worker makes.
    #[track_caller]
    fn waits_for(&self, name: &str) -> String {
        eventually(&format!("the file {name}"), || {
            fs::read_to_string(self.path(name)).ok().filter(|text| text.ends_with('\n'))
        })
    }

    /// Other workers than these, as many.
    #[track_caller]
    fn others(&self, before: &[u32]) -> Vec<u32> {
        eventually("other workers", || {
            let found = self.workers(before.len());
            (!found.iter().any(|pid| before.contains(pid))).then_some(found)
        })
    }

    #[track_caller]
    fn ends(&mut self, status: i32) {
        assert_eq!(self.process.wait_exit().code(), Some(status));
        assert!(!self.path("app.sock").exists(), "the socket is left");
    }
}

/// The times of a file with one a line, in seconds.
fn times(text: &str) -> Vec<f64> {
    text.lines().map(|line| line.parse().expect("a time")).collect()
}

const NOTE_TIME: &str = "date +%s.%N >>@/starts";

// ----------------------------------------------------------------------------------------------- restarts

/// Pauses as the policy has them, said twice per change; the socket accepts throughout, and a start costs little.
#[test]
fn a_crash_loop_follows_the_policy() {
    let options = ["--restart-delay", "200ms", "--backoff-after", "3", "--max-backoff", "1600ms"];
    let launcher = supervise(&options, &format!("{NOTE_TIME}; exit 3"));
    launcher.says("listening on");
    let mut seen = 0;
    let starts = eventually("8 starts", || {
        let starts = times(&fs::read_to_string(launcher.path("starts")).ok()?);
        // Nobody takes connections out of the queue, so that one for each look would fill it, and wait.
        if starts.len() > seen {
            seen = starts.len();
            assert!(launcher.socket().connect().is_ok(), "the socket is closed");
        }
        (seen >= 8).then_some(starts)
    });
    // 200 200 200 400 800 1600 1600 ms after each death, the doubled ones up to a tenth longer.
    let policy = [0.2, 0.2, 0.2, 0.4, 0.8, 1.6, 1.6];
    for (pair, least) in starts.windows(2).zip(policy) {
        let pause = pair[1] - pair[0];
        assert!(pause >= least - 0.01, "{pause} and not {least}: {starts:?}");
    }
    let said: Vec<String> = launcher.process.stderr().lines();
    let pauses: Vec<&str> =
        said.iter().filter_map(|line| line.split_once("restart in ")?.1.split(':').next()).collect();
    assert_eq!(pauses.len(), 6, "of the same two, and no more: {said:#?}");
    let milliseconds = |text: &str| text.strip_suffix("ms").and_then(|text| text.parse().ok()).unwrap_or(1000.0);
    for (pause, least) in pauses.iter().zip([200.0, 200.0, 400.0, 800.0, 1000.0, 1000.0]) {
        assert!((least..=least * 1.1).contains(&milliseconds(pause)), "{pauses:?}");
    }
    launcher.says("exited 3 after");
    launcher.says("4 times in a row it lived less than 30s");
    launcher.says("worker 1: the same once more within");
    // Each end that is reported has its start.
    let before = |what: &str| said.iter().filter_map(|line| Some(line.split_once(what)?.0)).collect::<Vec<_>>();
    assert_eq!(before(" started"), before(" exited 3"), "{said:#?}");
}

/// A clock that jumps by a year forth and back each time somebody looks changes no pause, and nothing else but dates.
#[test]
fn a_clock_that_jumps_changes_nothing() {
    dynamic_only!();
    const JUMPS: &str = "
        #define _GNU_SOURCE
        #include <sys/syscall.h>
        #include <time.h>
        #include <unistd.h>
        int clock_gettime(clockid_t clock, struct timespec *time) {
            static int looks;
            int done = syscall(SYS_clock_gettime, clock, time);
            if (clock == CLOCK_REALTIME) time->tv_sec += (looks++ % 2 ? 366 : -366) * 86400L;
            return done;
        }";
    let Some(cc) = Program::installed("cc") else { skip!("there is no C compiler") };
    let dir = temp_dir();
    let (source, jumps) = (dir.path().join("jumps.c"), dir.path().join("jumps.so"));
    fs::write(&source, JUMPS).expect("written");
    let mut compile = Process::start(cc.command().args(["-shared", "-fPIC", "-o"]).arg(&jumps).arg(&source));
    assert!(compile.wait_exit().success(), "{}", compile.stderr().text());

    let program = script(dir.path(), "program", &format!("echo >>{}; exit 3", dir.path().join("starts").display()));
    let options = ["-s", "@/app.sock", "--log", "@/log", "--status", "@/status", "--max-age", "1s", "--auto-update"];
    let mut command = launcher();
    command.args(in_folder(&options, dir.path())).args(["--restart-delay", "200ms", "--max-backoff", "800ms"]);
    let mut process = Process::start(command.env("LD_PRELOAD", &jumps).args(["-n", "--"]).arg(program));
    let begun = Instant::now();
    let starts = || fs::read_to_string(dir.path().join("starts")).unwrap_or_default().lines().count();
    eventually("6 starts", || (starts() >= 6).then_some(()));
    let pauses = Duration::from_millis(200 + 200 + 200 + 400 + 800);
    assert!(begun.elapsed() >= pauses, "{:?}", begun.elapsed());
    assert_eq!(process.stop().code(), Some(0));
    let log = fs::read_to_string(dir.path().join("log")).expect("a log");
    let years: BTreeSet<&str> = log.lines().filter_map(|line| line.get(..4)).collect();
    if years.len() < 2 {
        skip!("it is linked statically: its clock cannot be replaced");
    }
}

/// Nanoseconds that a process has run, or 0 where the kernel does not say.
pub(crate) fn cpu(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or_default()
}

#[test]
fn a_start_costs_the_supervisor_little() {
    let options = ["--restart-delay", "10ms", "--backoff-after", "off"];
    let launcher = supervise(&options, &format!("{NOTE_TIME}; exit 3"));
    let starts = || fs::read_to_string(launcher.path("starts")).map_or(0, |text| text.lines().count());
    eventually("the first starts", || (starts() >= 5).then_some(()));
    let (before, starts_before) = (cpu(launcher.process.pid()), starts());
    eventually("many more", || (starts() >= starts_before + 100).then_some(()));
    let (spent, started) = (cpu(launcher.process.pid()) - before, (starts() - starts_before) as u64);
    if before == 0 {
        skip!("the kernel has no schedstat");
    }
    eprintln!("{} us of CPU per start", spent / started / 1000);
    assert!(launcher.process.stderr().lines().len() <= 6, "it chatters: {:?}", launcher.process.stderr().lines());
}

#[test]
fn exit_0_is_no_failure_but_not_faster_than_a_second() {
    let begun = Instant::now();
    let launcher = supervise(&["--restart-delay", "2500ms", "--give-up", "1"], &format!("{NOTE_TIME}; exit 0"));
    eventually("5 starts", || {
        let starts = times(&fs::read_to_string(launcher.path("starts")).ok()?);
        (starts.len() >= 5).then_some(())
    });
    // Each a second after the one before at least; a script that notes its time may be late on a busy machine.
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
    launcher.says("exit 0 is no failure");
    launcher.says("restart in 2s: exit 0 within 1s, again and again");
}

/// php-cgi exits 0 after so many requests, and a pause would be the tests' end.
#[test]
fn php_cgi_is_recycled_at_once() {
    let Some(php) = Program::installed("php-cgi") else { skip!("php-cgi is not installed") };
    let dir = temp_dir();
    let socket = dir.path().join("app.sock");
    let mut command = launcher();
    command.env("PHP_FCGI_MAX_REQUESTS", "2").arg("-s").arg(&socket).args(["--restart-delay", "1h", "-n", "--"]);
    let process = Process::start(command.arg(php.path()));
    let address = Address::Unix(socket);
    eventually("a socket", || address.connect().ok());
    // Three exits so soon after their starts would be odd.
    for _ in 0..5 {
        assert!(!ask(&address, "/none").stdout.is_empty());
    }
    process.stderr().wait_for_line("exit 0", |line| line.contains("exited 0") && line.contains("no failure"));
}

#[test]
fn giving_up_ends_it_with_a_failure() {
    let mut launcher =
        supervise(&["--restart-delay", "10ms", "--give-up", "3", "-F", "2"], "mkdir @/first && sleep 1000; exit 3");
    launcher.ends(1);
    launcher.says("giving up after 3 early exits in a row, stopping all workers");
}

#[test]
fn a_program_that_goes_away_is_waited_for() {
    let launcher = copied_hello(&["--restart-delay", "100ms", "--backoff-after", "off"]);
    let worker = launcher.workers(1)[0];
    launcher.says("ready, ");
    fs::rename(launcher.path("hello"), launcher.path("away")).expect("renamed");
    Stray::adopt(worker).signal(Signal::KILL);
    launcher.says("No such file or directory");
    assert!(launcher.socket().connect().is_ok(), "the socket is closed");
    fs::rename(launcher.path("away"), launcher.path("hello")).expect("renamed");
    launcher.workers(1);
    expect_hello(&launcher.socket());
}

/// As in once mode, the shell's status is ours.
#[test]
fn a_line_that_cannot_be_executed_is_the_end() {
    let mut command = launcher();
    let dir = temp_dir();
    command.args(in_folder(&["-s", "@/app.sock", "-n", "-f", "@/missing"], dir.path()));
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait_exit().code(), Some(127), "{}", process.stderr().text());
    assert!(!dir.path().join("app.sock").exists());
}

/// The command that starts it in the background does not wait for ever for what never is up.
#[test]
fn in_the_background_too_a_failing_program_is_supervised() {
    let dir = temp_dir();
    let program = script(dir.path(), "program", "exit 3");
    let mut command = launcher();
    command.args(in_folder(&["-s", "@/app.sock", "-P", "@/pid", "--"], dir.path())).arg(program);
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait_exit().code(), Some(0), "{}", process.stderr().text());
    let pid = fs::read_to_string(dir.path().join("pid")).expect("a pid file");
    let daemon = Stray::adopt(pid.parse().expect("a pid"));
    assert!(process.stderr().to_end().contains("exited 3"), "{}", process.stderr().text());
    assert!(process.stdout().to_end().contains(&pid));
    daemon.signal(Signal::TERM);
    daemon.wait_gone();
}

// --------------------------------------------------------------------------------------------------- stops

#[test]
fn one_that_ignores_the_signal_is_killed() {
    let mut launcher =
        supervise(&["--stop-timeout", "300ms"], "trap '' TERM; echo up >@/up; while :; do sleep 1; done");
    launcher.waits_for("up");
    let all: Vec<Stray> = proc::descendants(launcher.process.pid()).into_iter().map(Stray::adopt).collect();
    launcher.process.signal(Signal::TERM);
    launcher.ends(1);
    launcher.says("does not stop, killed");
    all.iter().for_each(Stray::wait_gone);
}

#[test]
fn grandchildren_go_with_their_group() {
    let text = "sh -c \"trap '' TERM; echo up >@/up; while :; do sleep 1; done\" & wait";
    for (options, status) in [(&["--stop-timeout", "300ms"][..], 1), (&[], 0)] {
        let text = if status == 1 { text.to_owned() } else { text.replace("trap '' TERM; ", "") };
        let mut launcher = supervise(options, &text);
        launcher.waits_for("up");
        let all: Vec<Stray> = proc::descendants(launcher.process.pid()).into_iter().map(Stray::adopt).collect();
        assert!(all.len() >= 2);
        launcher.process.signal(Signal::TERM);
        launcher.ends(status);
        all.iter().for_each(Stray::wait_gone);
    }
}

/// What a shell that crashed has left with the socket would serve in its place.
#[test]
fn grandchildren_of_a_crashed_worker_go_too() {
    let launcher =
        supervise(&["--restart-delay", "1h"], "exec 3<&0; sleep 1000 <&3 & echo $! >@/grandchild; kill -KILL $$");
    let grandchild = Stray::adopt(launcher.waits_for("grandchild").trim().parse().expect("a pid"));
    launcher.says("has left processes in its group");
    grandchild.wait_gone();
}

#[test]
fn a_second_signal_shortens_the_wait() {
    let mut launcher = supervise(&["--stop-timeout", "1h"], "trap '' TERM; echo up >@/up; while :; do sleep 1; done");
    launcher.waits_for("up");
    launcher.process.signal(Signal::TERM);
    launcher.says("SIGTERM: stopping");
    launcher.process.signal(Signal::INT);
    launcher.ends(1);
}

#[test]
fn the_stop_signal_can_be_another() {
    let text = "trap 'echo int >@/got; exit 0' INT; trap '' TERM; echo up >@/up; while :; do sleep 0.1; done";
    let mut launcher = supervise(&["--stop-signal", "INT"], text);
    launcher.waits_for("up");
    launcher.process.signal(Signal::TERM);
    launcher.ends(0);
    launcher.waits_for("got");
}

/// A stop while clients wait, while one always fails, and before anything is up.
#[test]
fn it_stops_in_whatever_state_it_is() {
    for (options, text) in [(&["--restart-delay", "1h"][..], "exit 3"), (&[], "sleep 1000")] {
        let mut launcher = supervise(options, text);
        eventually("a socket", || launcher.socket().connect().ok());
        launcher.process.signal(Signal::TERM);
        launcher.ends(0);
    }
}

// ------------------------------------------------------------------------------------------------- reloads

#[test]
fn a_reload_replaces_all_workers_one_by_one() {
    let launcher = hello(&["-F", "3"]);
    let before = launcher.workers(3);
    launcher.says("ready, ");
    for round in 1..=2 {
        launcher.hup();
        launcher.says_times("reloaded", round);
        expect_hello(&launcher.socket());
    }
    let after = launcher.workers(3);
    assert!(!after.iter().any(|pid| before.contains(pid)), "{before:?} {after:?}");
}

impl Launcher {
    fn hup(&self) {
        Stray::adopt(self.process.pid()).leak(Signal::HUP);
    }
}

/// A signal to a process that is not to be ended afterwards.
pub(crate) trait Leak {
    fn leak(self, signal: Signal);
}

impl Leak for Stray {
    fn leak(self, signal: Signal) {
        self.signal(signal);
        std::mem::forget(self);
    }
}

#[test]
fn a_reload_that_fails_keeps_the_old_workers() {
    let launcher = copied_hello(&["-F", "2"]);
    let before = launcher.workers(2);
    launcher.says("ready, ");
    for (round, broken) in ["#!/bin/sh\nexit 3\n", "no program"].into_iter().enumerate() {
        fs::remove_file(launcher.path("hello")).expect("removed");
        write_executable(&launcher.path("hello"), broken);
        launcher.hup();
        launcher.says_times("reload failed: worker 1", round + 1);
        assert_eq!(launcher.workers(2), before);
        expect_hello(&launcher.socket());
    }
    launcher.says("exited 3 after");
}

#[test]
fn more_and_less() {
    let launcher = hello(&["--status", "@/status"]);
    launcher.workers(1);
    launcher.says("ready, ");
    let signal = |signal| Stray::adopt(launcher.process.pid()).leak(signal);
    let checks = |text: &str| {
        let mut check = crate::launcher::launcher();
        check.arg("--check").arg("--status").arg(launcher.path("status"));
        eventually(text, || {
            let mut check = Process::start(&mut check);
            (check.wait_exit().code() == Some(0) && check.stdout().to_end() == text).then_some(())
        });
    };
    signal(Signal::TTIN);
    launcher.workers(2);
    signal(Signal::TTIN);
    let three = launcher.workers(3);
    checks("3 of 3 workers up\n");
    signal(Signal::TTOU);
    assert_eq!(launcher.workers(2), three[..2]);
    checks("2 of 2 workers up\n");
    signal(Signal::TTOU);
    launcher.workers(1);
    signal(Signal::TTOU);
    launcher.says("the number of workers stays 1: it is from 1 to 1024");
    expect_hello(&launcher.socket());
}

/// Puts a copy in place of a program, in one step.
pub(crate) fn replace(path: &Path, with: &Path) {
    let beside = path.with_extension("new");
    copy_program(with, &beside);
    fs::rename(&beside, path).expect("renamed");
}

#[test]
fn a_changed_program_is_reloaded() {
    let launcher = copied_hello(&["--auto-update", "-F", "2"]);
    let before = launcher.workers(2);
    launcher.says("ready, ");
    replace(&launcher.path("hello"), &path_of("hello"));
    launcher.says(&format!("reloading: '{}' has changed", launcher.path("hello").display()));
    launcher.says("reloaded");
    launcher.others(&before);
    expect_hello(&launcher.socket());
}

/// Under an interpreter the script is what is watched, and `--watch` names whatever else.
#[test]
fn a_changed_script_is_reloaded() {
    let launcher = watching(&["--auto-update"]);
    let text = fs::read_to_string(launcher.path("program")).expect("the script");
    fs::write(launcher.path("program"), text + "#").expect("written");
    launcher.says_times("reloaded", 1);
    assert_eq!(launcher.waits_for("starts").lines().count(), 2);
}

#[test]
fn a_changed_file_is_reloaded() {
    let launcher = watching(&["--watch", "@/settings"]);
    fs::write(launcher.path("settings"), "12").expect("written");
    launcher.says_times("reloaded", 1);
    assert_eq!(launcher.waits_for("starts").lines().count(), 2);
}

/// A launcher with these options, whose worker is a script that notes its starts; there is a file `settings` beside it.
fn watching(options: &[&str]) -> Launcher {
    let text = "echo $$ >>@/starts; exec sleep 1000";
    let options = [&["-s", "@/app.sock"], options].concat();
    let launcher = Launcher::start_with(&options, &["/bin/sh", "@/program"], |dir| {
        script(dir, "program", &text.replace('@', dir.to_str().expect("a plain path")));
        fs::write(dir.join("settings"), "1").expect("written");
    });
    launcher.waits_for("starts");
    launcher.says("ready, ");
    launcher
}

// ------------------------------------------------------------------------------------------------ recycling

#[test]
fn old_workers_are_replaced() {
    let launcher = hello(&["-F", "2", "--max-age", "1s"]);
    let before = launcher.workers(2);
    launcher.others(&before);
    launcher.says("old");
    expect_hello(&launcher.socket());
}

#[test]
fn large_workers_are_replaced() {
    let launcher = hello(&["--max-rss", "1K"]);
    let before = launcher.workers(1);
    launcher.others(&before);
    launcher.says("KiB of memory");
}

// ------------------------------------------------------------------------------------------------ on demand

#[test]
fn workers_come_with_the_first_connection_and_go_when_idle() {
    let mut launcher = hello(&["-F", "2", "--on-demand", "--idle", "1s"]);
    launcher.says("ready, ");
    assert_eq!(proc::children(launcher.process.pid()), [0; 0]);
    for _ in 0..2 {
        expect_hello(&launcher.socket());
        let worker = Stray::adopt(launcher.workers(1)[0]);
        let connection = launcher.socket().connect().expect("a connection");
        eventually("a look that finds it busy", || {
            (cpu(launcher.process.pid()) > 0 && launcher.process.stderr().lines().len() > 1).then_some(())
        });
        drop(connection);
        worker.wait_gone();
        launcher.children(0);
    }
    launcher.says("is idle, stopped");
    assert_eq!(launcher.process.stop().code(), Some(0));
}

/// Only as many as connections keep waiting.
#[test]
fn more_workers_come_as_connections_keep_waiting() {
    // It accepts nothing, so everything keeps waiting.
    let launcher = Launcher::start_program(&["-s", "@/app.sock", "-F", "2", "--on-demand"], &["/bin/sleep", "1000"]);
    launcher.says("ready, ");
    let _waits = launcher.socket().connect().expect("a connection");
    let first = launcher.children(1);
    let both = launcher.children(2);
    assert_eq!(both[0], first[0]);
}

// ------------------------------------------------------------------------------------------ its own program

/// A supervisor that is a copy of ours in the private folder.
struct Replaceable {
    process: Process,
    dir: fcgi_tests::TempDir,
}

impl Replaceable {
    fn start(options: &[&str]) -> Self {
        let dir = temp_dir();
        let program = dir.path().join("fcgi-spawn");
        copy_program(&path_of("fcgi-spawn"), &program);
        let mut command = Command::new(&program);
        command.env_clear().stdin(Stdio::null()).args(in_folder(options, dir.path()));
        let process = Process::start(command.arg("-n").arg("--").arg(path_of("hello")));
        process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
        Replaceable { process, dir }
    }

    fn workers(&self) -> Vec<u32> {
        proc::descendants_named(self.process.pid(), "hello")
    }

    fn says_times(&self, what: &str, times: usize) {
        let said = || self.process.stderr().lines().iter().filter(|line| line.contains(what)).count();
        eventually(&format!("{times} times '{what}'"), || (said() >= times).then_some(()));
    }
}

#[test]
fn its_own_program_is_replaced_in_place() {
    let mut supervisor = Replaceable::start(&["-s", "@/run/app.sock", "-P", "@/run/pid", "-F", "2", "--mkdir"]);
    let address = Address::Unix(supervisor.dir.path().join("run/app.sock"));
    let workers = supervisor.workers();
    assert_eq!(workers.len(), 2);
    let mut descriptors = 0;
    for round in 1..=3 {
        let program = supervisor.dir.path().join("fcgi-spawn");
        replace(&program, &path_of("fcgi-spawn"));
        supervisor.process.signal(Signal::USR2);
        supervisor.says_times("has taken over", round);
        assert_eq!(proc::link(supervisor.process.pid(), "exe"), program.canonicalize().ok());
        assert_eq!(supervisor.workers(), workers);
        expect_hello(&address);
        let open = proc::descriptors(supervisor.process.pid()).len();
        assert!(round == 1 || open == descriptors, "{open} descriptors, and {descriptors} before");
        descriptors = open;
    }
    // It still knows what to do with workers that end, and how to stop.
    Stray::adopt(workers[0]).signal(Signal::KILL);
    eventually("another worker", || {
        let found = supervisor.workers();
        (found.len() == 2 && !found.contains(&workers[0])).then_some(())
    });
    let environment = proc::environment(*supervisor.workers().last().expect("a worker"));
    assert!(!environment.iter().any(|variable| variable.starts_with("FCGI_SPAWN_STATE")), "{environment:?}");
    assert_eq!(supervisor.process.stop().code(), Some(0));
    assert!(!supervisor.dir.path().join("run").exists(), "the socket, the pid file or their folder is left");
}

#[test]
fn a_program_that_cannot_take_over_does_not() {
    let mut supervisor = Replaceable::start(&["-s", "@/app.sock"]);
    let address = Address::Unix(supervisor.dir.path().join("app.sock"));
    let workers = supervisor.workers();
    let program = supervisor.dir.path().join("fcgi-spawn");
    let left = supervisor.dir.path().join("left");
    let leaves = format!("sleep 1000 & echo $! >{}; exit 1", left.display());
    for (round, text) in ["exit 0", "echo no idea; exit 7", &leaves].into_iter().enumerate() {
        fs::remove_file(&program).expect("removed");
        script(supervisor.dir.path(), "fcgi-spawn", text);
        supervisor.process.signal(Signal::USR2);
        supervisor.says_times("does not take over, we go on", round + 1);
    }
    // It would hold the socket.
    let left = fs::read_to_string(left).expect("a pid").trim().parse().expect("a pid");
    Stray::adopt(left).wait_gone();
    fs::remove_file(&program).expect("removed");
    supervisor.process.signal(Signal::USR2);
    supervisor.says_times("does not take over, we go on", 4);
    let said = supervisor.process.stderr().text();
    assert!(said.contains("exited 7: 'no idea'") && said.contains("No such file or directory"), "{said}");
    assert_eq!(supervisor.workers(), workers);
    expect_hello(&address);
    assert_eq!(supervisor.process.stop().code(), Some(0));
}

/// It was called through a symlink, and that leads to another file now.
#[test]
fn the_next_version_may_be_where_a_symlink_leads() {
    let dir = temp_dir();
    for version in ["one", "two"] {
        copy_program(&path_of("fcgi-spawn"), &dir.path().join(version));
    }
    let link = dir.path().join("spawn-fcgi");
    std::os::unix::fs::symlink("one", &link).expect("a symlink");
    let mut command = Command::new(&link);
    command.env_clear().stdin(Stdio::null()).arg0("spawn-fcgi").env("PATH", dir.path());
    command.args(in_folder(&["--supervise", "-s", "@/app.sock", "-n", "--"], dir.path())).arg(path_of("hello"));
    let mut process = Process::start(&mut command);
    process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    fs::remove_file(&link).expect("removed");
    std::os::unix::fs::symlink("two", &link).expect("a symlink");
    process.signal(Signal::USR2);
    process.stderr().wait_for_line("a new program", |line| line.contains("has taken over"));
    assert_eq!(proc::link(process.pid(), "exe"), dir.path().join("two").canonicalize().ok());
    expect_hello(&Address::Unix(dir.path().join("app.sock")));
    assert_eq!(process.stop().code(), Some(0));
}

// ---------------------------------------------------------------------------------------------- environment

#[test]
fn the_environment_passes_through() {
    let dir = temp_dir();
    let mut command = launcher();
    command.env("FCGI_WEB_SERVER_ADDRS", "127.0.0.1").env("PHP_FCGI_CHILDREN", "4");
    command.args(in_folder(&["-s", "@/app.sock", "-n", "--"], dir.path())).arg(path_of("hello"));
    let process = Process::start(&mut command);
    let found = || proc::descendants_named(process.pid(), "hello").first().copied();
    let worker = eventually("a worker", found);
    let environment = proc::environment(worker);
    for variable in ["FCGI_WEB_SERVER_ADDRS=127.0.0.1", "PHP_FCGI_CHILDREN=4"] {
        assert!(environment.iter().any(|its| its == variable), "{environment:?}");
    }
}
