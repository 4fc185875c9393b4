//! `fcgi-spawn --log`: what workers write is in the log, line by line, and no worker waits for it.

mod faults;

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::pipe::PipeFlags;

use fcgi_tests::{PATIENCE, Process, Signal, Stray, eventually, holds_for, proc, temp_dir};

use crate::launcher::{Launcher, in_folder, launcher, script};

/// A supervisor in the foreground, with a shell script for a program. `@` stands for the private folder in both.
fn start(options: &[&str], text: &str) -> Launcher {
    let options = [&["-s", "@/app.sock"], options].concat();
    Launcher::start_with(&options, &["@/program"], |dir| {
        script(dir, "program", &text.replace('@', dir.to_str().expect("a plain path")));
    })
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The lines of a log file when one contains `wanted`, without their times.
#[track_caller]
fn lines_with(path: &Path, wanted: &str) -> Vec<String> {
    let text = eventually(wanted, || Some(read(path)).filter(|text| text.contains(wanted) && text.ends_with('\n')));
    text.lines().map(|line| line.split_once(' ').expect("a time in front").1.to_owned()).collect()
}

/// The text of the lines that worker `number` wrote, and its pid.
fn said_by(number: u32, lines: &[String]) -> Vec<(u32, &str)> {
    let from = format!("worker {number} (pid ");
    let said = |line: &'_ String| -> Option<(u32, usize)> {
        let (pid, text) = line.strip_prefix(&from)?.split_once("): ")?;
        Some((pid.parse().expect("a pid"), line.len() - text.len()))
    };
    lines.iter().filter_map(|line| said(line).map(|(pid, at)| (pid, &line[at..]))).collect()
}

fn fifo(dir: &Path) {
    let made = Command::new("mkfifo").arg(dir.join("fifo")).status();
    assert!(made.is_ok_and(|status| status.success()));
}

#[test]
fn a_line_has_slot_and_pid_whatever_pieces_it_came_in() {
    let text = "echo out; printf ha >&2; touch @/half; while [ ! -e @/on ]; do sleep 0.01; done; printf 'lf\\nlast' >&2; exec sleep 1000";
    let mut launcher = start(&["--log", "@/log"], text);
    let log = launcher.path("log");
    eventually("half a line", || launcher.path("half").exists().then_some(()));
    let before = lines_with(&log, "out");
    let pid = proc::children(launcher.process.pid())[0];
    assert_eq!(said_by(1, &before), [(pid, "out")]);
    assert!(before.contains(&format!("fcgi-spawn: worker 1 (pid {pid}) started")), "{before:?}");
    fs::write(launcher.path("on"), "").expect("written");
    assert_eq!(said_by(1, &lines_with(&log, "half")), [(pid, "out"), (pid, "half")]);
    assert_eq!(launcher.process.stop().code(), Some(0));
    // A line without an end is written when no end can come, and before the news of its writer's end.
    assert_eq!(said_by(1, &lines_with(&log, "last")).last(), Some(&(pid, "last")));
    assert_eq!(launcher.process.stderr().to_end(), "");
}

/// Asserts that a supervisor with a log and a status file writes the time of day into both, by another's clock.
#[track_caller]
pub(crate) fn expect_dates_of_today(start: impl FnOnce() -> Launcher) {
    let now = || {
        let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().expect("date runs");
        String::from_utf8(output.stdout).expect("a date is text").trim_end().to_owned()
    };
    let before = now();
    let launcher = start();
    let log = eventually("a line", || Some(read(&launcher.path("log"))).filter(|text| text.ends_with('\n')));
    let status =
        eventually("a status", || Some(read(&launcher.path("status"))).filter(|text| text.contains("written=")));
    let after = now();
    let dated = log.split_once(' ').expect("a date in front").0;
    let written = status.split_once("written=").and_then(|(_, date)| date.lines().next()).expect("a date");
    for date in [dated, written] {
        assert!((&before[..]..=&after[..]).contains(&date), "{date} is not from {before} to {after}");
    }
}

#[test]
fn log_and_status_have_todays_date() {
    expect_dates_of_today(|| start(&["--log", "@/log", "--status", "@/status"], "exec sleep 1000"));
}

#[test]
fn a_workers_last_words_are_before_its_end() {
    let launcher = start(&["--log", "@/log", "--restart-delay", "1000s"], "printf 'oh no' >&2; exit 3");
    let lines = lines_with(&launcher.path("log"), "exited 3");
    let last = lines.iter().position(|line| line.ends_with(": oh no")).expect("its last words");
    let end = lines.iter().position(|line| line.contains("exited 3")).expect("its end");
    assert!(last < end, "{lines:?}");
}

#[test]
fn a_long_line_is_cut_and_says_so() {
    let text = "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo next >&2; exec sleep 1000";
    let launcher = start(&["--log", "@/log"], text);
    let lines = lines_with(&launcher.path("log"), "next");
    let said = said_by(1, &lines);
    let long = format!("{} ... (996000 bytes cut)", "x".repeat(4000));
    assert_eq!(said.iter().map(|(_, text)| *text).collect::<Vec<_>>(), [long.as_str(), "next"]);
}

/// 2 MB of lines, and nobody who reads the log: the worker gets to its end, and so does the supervisor.
const FLOOD: &str = "i=0; while [ $i -lt 20000 ]; do echo \"line $i, and what makes it long: 0123456789012345678901234567890123456789012345678901234567890123456789\" >&2; i=$((i + 1)); done; touch @/done; exec sleep 1000";

/// Asserts that no line is missing that is not counted, in what was read of a log.
#[track_caller]
fn check_flood(text: &str) {
    let numbers: Vec<u32> =
        text.lines().filter_map(|line| line.split_once("): line ")?.1.split_once(',')?.0.parse().ok()).collect();
    let lost = |line: &str| -> Option<u32> {
        let counted = line.split_once("fcgi-spawn: ")?.1.split_once(" line")?;
        if counted.1.contains("lost: the log was full") { counted.0.parse().ok() } else { None }
    };
    let lost: u32 = text.lines().filter_map(lost).sum();
    assert!(numbers.is_sorted() && lost > 0, "{lost} of {} are lost", numbers.len());
    // Lines of our own may be lost, too.
    let known = numbers.len() as u32 + lost;
    assert!((20_000..20_010).contains(&known), "{} + {lost}", numbers.len());
}

/// What a FIFO gives up to the line that counts what was lost.
#[track_caller]
fn read_flood(fifo: &Path) -> String {
    let mut file =
        OpenOptions::new().read(true).custom_flags(PipeFlags::NONBLOCK.bits() as i32).open(fifo).expect("opened");
    let mut text = Vec::new();
    eventually("the count of lost lines", || {
        // That there is nothing to be read just now is an error, too: what was read before it counts.
        let _ = file.read_to_end(&mut text);
        std::str::from_utf8(&text).ok().filter(|text| text.contains("the log was full\n")).map(str::to_owned)
    })
}

/// A process that sleeps whenever it is looked at: one that reads a flood sleeps now and then, too.
fn sleeps_on(pid: u32) -> Option<()> {
    holds_for(Duration::from_millis(250), || proc::status(pid, "State")[0] == "S").then_some(())
}

#[test]
fn a_full_log_blocks_nobody_and_is_told_what_it_missed() {
    let options = ["-s", "@/app.sock", "--log", "@/fifo"];
    let mut launcher = Launcher::start_with(&options, &["@/program"], |dir| {
        fifo(dir);
        script(dir, "program", &FLOOD.replace('@', dir.to_str().expect("a plain path")));
    });
    eventually("the flood's end", || launcher.path("done").exists().then_some(()));
    eventually("a supervisor that sleeps", || sleeps_on(launcher.process.pid()));
    check_flood(&read_flood(&launcher.path("fifo")));
    assert_eq!(launcher.process.stop().code(), Some(0));
}

/// Our stderr is a pipe that others have, too, and nobody reads.
#[test]
fn a_full_stderr_blocks_nobody_and_stays_as_it_is() {
    let dir = temp_dir();
    let program = script(dir.path(), "program", &FLOOD.replace('@', dir.path().to_str().expect("a plain path")));
    fifo(dir.path());
    let both = OpenOptions::new().read(true).write(true).open(dir.path().join("fifo")).expect("opened");
    let mut command = launcher();
    command.args(in_folder(&["-s", "@/app.sock", "--log", "stderr", "-n", "--"], dir.path())).arg(program);
    let mut child = command.stderr(Stdio::from(both.try_clone().expect("a copy"))).spawn().expect("it starts");
    let supervisor = Stray::adopt(child.id());
    eventually("the flood's end", || dir.path().join("done").exists().then_some(()));
    eventually("a supervisor that sleeps", || sleeps_on(child.id()));
    let info = fs::read_to_string(format!("/proc/{}/fdinfo/2", child.id())).expect("stderr is open");
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags").trim();
    assert_eq!(u32::from_str_radix(flags, 8).expect("octal") & 0o4000, 0, "it was made non-blocking");
    check_flood(&read_flood(&dir.path().join("fifo")));
    supervisor.signal(Signal::TERM);
    assert_eq!(eventually("its end", || child.try_wait().expect("a child")).code(), Some(0));
}

#[test]
fn sigusr1_opens_the_file_again() {
    let mut launcher =
        start(&["--log", "@/log"], "echo one; while [ ! -e @/on ]; do sleep 0.01; done; echo two; exec sleep 1000");
    let (log, old) = (launcher.path("log"), launcher.path("log.1"));
    lines_with(&log, "one");
    fs::rename(&log, &old).expect("renamed");
    launcher.process.signal(Signal::USR1);
    lines_with(&log, "SIGUSR1");
    fs::write(launcher.path("on"), "").expect("written");
    lines_with(&log, "two");
    assert!(!read(&old).contains("two"));

    // A log that cannot be had again is no reason to lose the one there is.
    fs::remove_file(&log).expect("removed");
    fs::create_dir(&log).expect("a folder");
    let held = || proc::descriptors(launcher.process.pid()).len();
    let before = held();
    launcher.process.signal(Signal::USR1);
    assert_eq!(launcher.process.stop().code(), Some(0));
    assert!(before > 3);
}

#[test]
fn syslog_gets_datagrams_with_a_priority() {
    let dir = temp_dir();
    let daemon = UnixDatagram::bind(dir.path().join("devlog")).expect("bound");
    daemon.set_read_timeout(Some(PATIENCE)).expect("set");
    let program = script(dir.path(), "program", "echo out; echo err >&2; exec sleep 1000");
    let mut command = launcher();
    command.args(in_folder(&["-s", "@/app.sock", "--log", "syslog:@/devlog", "-n", "--"], dir.path())).arg(program);
    let process = Process::start(&mut command);
    let pid = process.pid();
    let mut got = Vec::new();
    while got.len() < 4 {
        let mut buffer = [0; 4096];
        let len = daemon.recv(&mut buffer).expect("a message");
        got.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
    }
    let worker = proc::children(pid)[0];
    got.sort();
    let us = format!("fcgi-spawn[{pid}]: ");
    assert_eq!(got[0], format!("<28>{us}worker 1 (pid {worker}): err"));
    assert!(got[1..].contains(&format!("<30>{us}worker 1 (pid {worker}) started")), "{got:?}");
    assert!(got[1..].contains(&format!("<30>{us}worker 1 (pid {worker}): out")), "{got:?}");
    assert_eq!(process.stderr().text(), "");
}

#[test]
fn a_daemon_logs_too() {
    let dir = temp_dir();
    let program = script(dir.path(), "program", "echo out; exec sleep 1000");
    let mut command = launcher();
    command.args(in_folder(&["-s", "@/app.sock", "-P", "@/pid", "--log", "@/log", "--"], dir.path())).arg(program);
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait_exit().code(), Some(0));
    let daemon = Stray::adopt(read(&dir.path().join("pid")).parse().expect("a pid"));
    lines_with(&dir.path().join("log"), "out");
    daemon.signal(Signal::TERM);
    daemon.wait_gone();
    lines_with(&dir.path().join("log"), "SIGTERM");
    assert_eq!(process.stderr().to_end(), "");
}

/// A process that a worker left behind holds its stderr, which is read on.
#[test]
fn what_a_worker_leaves_behind_is_heard() {
    let text = "setsid sh -c 'echo $$ >@/left.new; mv @/left.new @/left; while [ ! -e @/on ]; do sleep 0.01; done; echo late >&2' & while [ ! -e @/left ]; do sleep 0.01; done; exit 3";
    let launcher = start(&["--log", "@/log", "--restart-delay", "1000s"], text);
    let log = launcher.path("log");
    lines_with(&log, "exited 3");
    let held = || proc::descriptors(launcher.process.pid()).len();
    let before = held();
    let _left = Stray::adopt(read(&launcher.path("left")).trim().parse().expect("a pid"));
    fs::write(launcher.path("on"), "").expect("written");
    lines_with(&log, "late");
    eventually("closed pipes", || (held() == before - 2).then_some(()));
}

/// The program that takes the supervisor's place goes on listening to the workers.
#[test]
fn an_upgrade_loses_no_line() {
    for log in ["@/log", "stderr"] {
        let text = "echo before; while [ ! -e @/on ]; do sleep 0.01; done; echo after; echo err >&2; exec sleep 1000";
        let mut launcher = start(&["--log", log, "-P", "@/pid"], text);
        eventually("a pid file", || launcher.path("pid").exists().then_some(()));
        launcher.process.signal(Signal::USR2);
        let all = || match log {
            "stderr" => launcher.process.stderr().text(),
            _ => read(&launcher.path("log")),
        };
        eventually("another version", || all().contains("has taken over").then_some(()));
        let pid = proc::children(launcher.process.pid())[0];
        fs::write(launcher.path("on"), "").expect("written");
        for said in ["before", "after", "err"] {
            let line = format!("worker 1 (pid {pid}): {said}\n");
            eventually(&line, || all().contains(&line).then_some(()));
        }
        assert_eq!(launcher.process.stop().code(), Some(0));
    }
}

#[test]
fn a_log_that_cannot_be_had_ends_the_start() {
    let dir = temp_dir();
    for log in ["@/missing/log", "syslog:@/missing"] {
        let mut command = launcher();
        command.args(in_folder(&["-s", "@/app.sock", "--log", log, "-n", "--", "/bin/sleep", "1000"], dir.path()));
        let (status, line) = crate::app::fails_with_one_line(&mut command);
        assert!(status == 255 && line.contains("missing"), "{log}: {status}: {line}");
        assert!(!dir.path().join("app.sock").exists());
    }
}
