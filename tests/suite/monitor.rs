//! `--check`, which tells monitors how the workers are, for every user and from every namespace.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use fcgi_tests::{Process, Program, Signal, eventually, is_root, needs_root, skip, temp_dir};

use crate::launcher::{Launcher, in_folder, launcher, path_of};

/// A command that runs the words after it in some other way.
pub(crate) type Wrapper = &'static [&'static str];

const NOBODY: &str = "exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";

/// How a monitor may be run.
pub(crate) const WRAPPERS: [(&str, Wrapper); 5] = [
    ("as it is", &["env"]),
    ("another user", &["sh", "-c", NOBODY, "sh"]),
    ("another pid namespace", &["unshare", "--pid", "--fork", "--mount-proc"]),
    ("no /proc", &["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"]),
    (
        "another user, to whom /proc shows no processes of others",
        &[
            "unshare",
            "--pid",
            "--fork",
            "--mount",
            "sh",
            "-c",
            "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"",
            "sh",
        ],
    ),
];

/// The exit status of `--check`, and what it prints.
pub(crate) fn check(wrapper: &[&str], page: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(launcher().get_program()).args(["--check", "--status"]).arg(page);
    let mut process = Process::start(&mut command);
    (process.wait_exit().code(), process.stdout().to_end() + &process.stderr().to_end())
}

#[test]
fn every_monitor_is_told_the_same() {
    let wrappers = if is_root() { &WRAPPERS[..] } else { &WRAPPERS[..1] };
    let mut launcher = Launcher::start(&["-s", "@/app.sock", "-F", "2", "--status", "@/status"]);
    fs::set_permissions(launcher.path(""), Permissions::from_mode(0o755)).expect("ours");
    launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    let page = launcher.path("status");
    for (name, wrapper) in wrappers {
        assert_eq!(check(wrapper, &page), (Some(0), "2 of 2 workers up\n".into()), "{name}");
    }
    let pid = launcher.process.pid();
    launcher.process.signal(Signal::KILL);
    launcher.process.wait_exit();
    for (name, wrapper) in wrappers {
        let gone = format!("{}: its supervisor (pid {pid}) is gone or stopping\n", page.display());
        assert_eq!(check(wrapper, &page), (Some(2), gone), "{name}");
    }
}

/// What keeps the supervisor from its lock, or takes the lock's file away, does so for a moment only.
#[test]
fn the_lock_is_taken_again() {
    let Some(python) = Program::installed("python3") else { skip!("python3 is not installed") };
    let reader = "import fcntl, sys
file = open(sys.argv[1])
fcntl.lockf(file, fcntl.LOCK_SH)
print('locked', flush=True)
sys.stdin.read()";
    let (lock, page) = ("status.lock", "status");
    let mut reading = None;
    let mut launcher = Launcher::start_with(
        &["-s", "@/app.sock", "--status", "@/status"],
        &[path_of("hello").to_str().expect("a path")],
        |dir| {
            fs::write(dir.join(lock), "").expect("written");
            let mut command = python.command();
            let process = Process::start(command.args(["-c", reader]).arg(dir.join(lock)).stdin(Stdio::piped()));
            process.stdout().wait_for_line("a lock", |line| line == "locked");
            reading = Some(process);
        },
    );
    launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    let (page, lock) = (launcher.path(page), launcher.path(lock));
    let has_lock = || fs::read_to_string(&page).is_ok_and(|page| page.contains(" lock=yes "));
    assert!(!has_lock(), "the reader's lock does not matter");
    reading.take().expect("it reads").signal(Signal::KILL);
    for up in 2..=3 {
        // A page is written.
        launcher.process.signal(Signal::TTIN);
        let told = || check(&["env"], &page) == (Some(0), format!("{up} of {up} workers up\n"));
        eventually("a page with a lock", || (has_lock() && lock.exists() && told()).then_some(()));
        fs::remove_file(&lock).expect("removed");
    }
}

/// A page that cannot be written is not taken for one that can, and is written again when there is room.
#[test]
fn a_full_disk_is_reported_and_forgotten() {
    needs_root!();
    let dir = temp_dir();
    fs::create_dir(dir.path().join("run")).expect("made");
    let mount = "mount -t tmpfs -o size=16k none \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", mount]).args(in_folder(&["@/run"], dir.path())).arg(launcher().get_program());
    command.args(in_folder(&["-s", "@/app.sock", "--status", "@/run/status", "-n", "--"], dir.path()));
    let mut process = Process::start(command.arg(path_of("hello")));
    process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    let pid = process.pid().to_string();
    let inside = ["nsenter", "--mount", "--target", &pid];
    let page = dir.path().join("run/status");
    assert_eq!(check(&inside, &page).0, Some(0));
    let fill = format!("cat /dev/zero >{}", dir.path().join("run/full").display());
    let run = |words: &[&str]| Command::new(inside[0]).args(&inside[1..]).args(words).output().expect("it runs");
    assert!(!run(&["sh", "-c", &fill]).status.success(), "it is not full");
    process.signal(Signal::TTIN);
    let line = process.stderr().wait_for_line("why", |line| line.contains("No space left on device"));
    assert!(line.contains("status"), "{line}");
    assert!(check(&inside, &page).1.contains("1 of 1 workers up"), "the old page is damaged");
    assert!(run(&["rm", &dir.path().join("run/full").display().to_string()]).status.success());
    process.signal(Signal::TTIN);
    eventually("a page again", || check(&inside, &page).1.contains("3 of 3 workers up").then_some(()));
}
