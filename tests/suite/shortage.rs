//! What `fcgi-spawn` does when the system has no descriptor, process or memory for it: it refuses in one line, or goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fcgi_tests::{Process, Program, Signal, Stray, eventually_within, needs_root, proc, temp_dir};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::launcher::{Launcher, in_folder};

/// How long a start, or its refusal, may take on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A command under a limit of the shell's `ulimit`, such as `-n 6`.
fn limited(limit: &str, program: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh"]).arg(program).env_clear();
    command.stdin(Stdio::null());
    command
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Users and groups are looked up with few descriptors, down to none. musl's getgrouplist fails where it cannot read
/// /etc/group, which is not the same as too little room for the groups.
#[test]
fn few_descriptors_are_refused_in_one_line() {
    needs_root!();
    let mut refusals = 0;
    // The dynamic loader needs one itself.
    for descriptors in 4..20 {
        let dir = temp_dir();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        let mut command = limited(&format!("-n {descriptors}"), Program::ours("fcgi-spawn").path());
        command.args(in_folder(&["-n", "-s", "@/app.sock", "-u", "nobody", "-P", "@/pid"], dir.path()));
        let mut process = Process::start(command.args(["--", "/bin/sleep", "1000"]));
        eventually_within(START, &format!("an outcome with {descriptors} descriptors"), || {
            let listens = process.stderr().lines().iter().any(|line| line.contains("ready, "));
            (listens || process.has_ended()).then_some(())
        });
        if process.has_ended() {
            refusals += 1;
            let (status, stderr) = (process.wait_exit(), process.stderr().to_end());
            assert_eq!((status.code(), stderr.lines().count()), (Some(255), 1), "{descriptors} descriptors: {stderr}");
            assert_eq!(names(dir.path()), [""; 0], "{descriptors} descriptors: {stderr}");
        } else {
            assert_eq!(process.stop().code(), Some(0), "{descriptors} descriptors: {}", process.stderr().text());
        }
    }
    assert!(refusals > 0, "four descriptors are enough");
}

/// A supervisor needs descriptors for each worker, and allows itself as many as the administrator does; its workers, and
/// what takes its place, are allowed what it was at first.
#[test]
fn a_supervisor_uses_its_hard_limit() {
    let dir = temp_dir();
    let mut command = limited("-S -n 64 && ulimit -H -n 1000", Program::ours("fcgi-spawn").path());
    command.args(in_folder(&["-n", "-s", "@/app.sock", "-F", "60"], dir.path()));
    let mut process = Process::start(command.args(["--", "/bin/sleep", "1000"]));
    let ready = |line: &str| line.ends_with("ready, 60 of 60 workers up");
    process.stderr().wait_for_line("all is up", ready);
    let limits = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
        let line = text.lines().find(|line| line.starts_with("Max open files")).expect("the limit").to_owned();
        line.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).collect::<Vec<_>>()
    };
    let of_workers = || proc::children(process.pid()).into_iter().map(limits).collect::<Vec<_>>();
    assert_eq!(limits(process.pid()), [1000, 1000]);
    assert_eq!(of_workers(), vec![vec![64, 1000]; 60]);
    let pid = process.pid();
    process.signal(Signal::USR2);
    process.stderr().wait_for_line("another program", |line| line.contains("has taken over"));
    assert_eq!(limits(pid), [1000, 1000]);
    let worker = proc::children(pid)[0];
    Stray::adopt(worker).signal(Signal::KILL);
    let new =
        || proc::children(pid).into_iter().max().filter(|newest| *newest > worker && limits(*newest) == [64, 1000]);
    eventually_within(START, "a new worker with that limit", new);
    assert_eq!(process.stop().code(), Some(0), "{}", process.stderr().text());
}

/// poll refuses more descriptors than the limit, as it does when there is no memory for them. A limit of none leaves
/// nothing that it looks at.
#[test]
fn a_refused_poll_does_not_end_the_supervisor() {
    for most in [1, 0] {
        let mut launcher = Launcher::start(&["-s", "@/app.sock", "-F", "2", "--restart-delay", "100ms"]);
        let before = launcher.workers(2);
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        prlimit(Pid::from_raw(i32::try_from(launcher.process.pid()).expect("a pid")), Resource::Nofile, limit)
            .expect("a limit");
        launcher.process.signal(Signal::TTIN);
        let report = |line: &str| line.contains("cannot wait for events") && line.contains("every 100ms");
        launcher.process.stderr().wait_for_line("the report", report);
        launcher
            .process
            .stderr()
            .wait_for_line("what the signal does", |line| line.contains("the number of workers is now 3"));
        assert!(before.iter().all(|worker| proc::is_alive(*worker)), "{}", launcher.process.stderr().text());
        assert_eq!(launcher.process.stop().code(), Some(0), "{}", launcher.process.stderr().text());
        assert!(!before.iter().any(|worker| proc::is_alive(*worker)));
        let reports = launcher.process.stderr().to_end().lines().filter(|line| report(line)).count();
        assert_eq!(reports, 1, "{}", launcher.process.stderr().text());
    }
}
