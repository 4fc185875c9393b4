//! `fcgi-spawn -u`: what a worker of another user is left with, and what is refused to others than root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use fcgi_tests::{Process, Program, copy_program, is_root, needs_root, proc, skip, temp_dir};

use crate::app::fails_with_one_line;
use crate::launcher::{Launcher, in_folder, launcher, path_of};
use crate::once::{run, started};
use crate::supervised::public_hello;

const NOBODY: u32 = 65534;

/// `fcgi-spawn` as nobody starts it, in a directory of his.
fn by_nobody(dir: &Path) -> Command {
    if !is_root() {
        return launcher();
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("the directory is ours");
    chown(dir, Some(NOBODY), Some(NOBODY)).expect("root may give a directory away");
    let copy = dir.join("fcgi-spawn");
    copy_program(&path_of("fcgi-spawn"), &copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("the copy is ours");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy).env_clear().stdin(Stdio::null());
    command
}

/// Under its own name nothing is ignored that others would count on.
#[test]
fn what_only_root_may_have_is_refused_to_others() {
    let dir = temp_dir();
    for mode in ["--supervise", "--once"] {
        for (option, value) in [("-u", "daemon"), ("-g", "daemon"), ("-u", "54321"), ("-c", "/")] {
            let mut command = by_nobody(dir.path());
            command.args([mode, option, value]).args(in_folder(&["-s", "@/app.sock"], dir.path()));
            let (status, line) = fails_with_one_line(command.args(["--", "/bin/sleep", "1000"]));
            assert_eq!(status, 255, "{mode} {option} {value}: {line}");
            assert!(line.contains(&format!("{option} '{value}': only root may")), "{mode}: {line}");
            assert!(!dir.path().join("app.sock").exists(), "{mode} {option} {value}");
        }
    }
}

#[test]
fn a_user_may_name_himself() {
    if !is_root() && proc::status(std::process::id(), "Uid").first().map(String::as_str) != Some("65534") {
        skip!("it is for root or nobody");
    }
    let dir = temp_dir();
    let mut command = by_nobody(dir.path());
    command.args(["--once", "-u", "nobody", "-g", "65534"]).args(in_folder(&["-s", "@/app.sock"], dir.path()));
    let worker = started(command.args(["--", "/bin/sleep", "1000"]));
    assert_eq!(proc::status(worker.pid(), "Uid"), ["65534"; 4]);
    assert!(proc::environment(worker.pid()).contains(&"USER=nobody".to_owned()));
}

/// `HOME` of root would be one that the worker may not even enter.
#[test]
fn variables_name_the_user_of_the_workers() {
    needs_root!();
    let variables = |pid| {
        let names = ["HOME=", "USER=", "LOGNAME=", "SHELL=", "OTHER="];
        let mut found = proc::environment(pid);
        found.retain(|variable| names.iter().any(|name| variable.starts_with(name)));
        found.sort();
        found
    };
    let passwd = fs::read_to_string("/etc/passwd").expect("a list of users");
    let nobody = passwd.lines().find(|line| line.starts_with("nobody:")).expect("every system has nobody");
    let home = nobody.split(':').nth(5).expect("a home");
    let of_root = ["HOME=/root", "LOGNAME=root", "OTHER=1", "SHELL=/bin/sh", "USER=root"];
    let home = format!("HOME={home}");
    let of_nobody = [home.as_str(), "LOGNAME=nobody", "OTHER=1", "SHELL=/bin/sh", "USER=nobody"];
    let called = |name: &str, options: &[&str]| {
        let dir = temp_dir();
        public_hello(dir.path());
        let program = dir.path().join(name);
        std::os::unix::fs::symlink(Program::ours("fcgi-spawn").path(), &program).expect("a symlink");
        let mut command = Command::new(program);
        command.env_clear().envs(of_root.iter().filter_map(|variable| variable.split_once('='))).stdin(Stdio::null());
        command.args(options).args(in_folder(&["-s", "@/app.sock", "-P", "@/pid", "--"], dir.path()));
        let (status, _, stderr) = run(command.args(["/bin/sleep", "1000"]));
        assert_eq!((status, &stderr[..]), (Some(0), ""), "{name} {options:?}");
        let pid = fs::read_to_string(dir.path().join("pid")).expect("a pid file").parse().expect("a pid");
        // With --supervise it is that of the supervisor, which has ours.
        let process = fcgi_tests::Stray::adopt(pid);
        let worker = proc::children(pid).first().copied().unwrap_or(pid);
        let found = variables(worker);
        process.signal(fcgi_tests::Signal::TERM);
        process.wait_gone();
        found
    };
    for mode in ["--once", "--supervise"] {
        assert_eq!(called("fcgi-spawn", &[mode, "-u", "nobody"]), of_nobody, "{mode}");
        assert_eq!(called("fcgi-spawn", &[mode, "-u", "54321", "-g", "54321"]), ["OTHER=1", "SHELL=/bin/sh"], "{mode}");
        assert_eq!(called("fcgi-spawn", &[mode]), of_root, "{mode}");
        assert_eq!(called("spawn-fcgi", &[mode, "-u", "nobody"]), of_root, "{mode}");
    }
}

/// A service manager or a container may have given them to root; a file that has them as well would be executed with
/// them by any user.
#[test]
fn no_capability_is_inherited() {
    needs_root!();
    let Some(setpriv) = Program::installed("setpriv") else { skip!("there is no setpriv") };
    let start = |options: &[&str]| {
        let dir = temp_dir();
        let hello = public_hello(dir.path());
        let mut command = setpriv.command();
        command.arg("--inh-caps=+chown,+setuid").arg(path_of("fcgi-spawn")).arg("-n").args(options);
        command.args(in_folder(&["-s", "@/app.sock", "--"], dir.path())).arg(hello);
        Launcher::of(Process::start(&mut command), dir)
    };
    let kept = start(&[]);
    assert_ne!(proc::status(kept.workers(1)[0], "CapInh"), ["0000000000000000"], "the test gives none");
    let given_up = start(&["-u", "nobody"]);
    let worker = given_up.workers(1)[0];
    for name in ["CapInh", "CapPrm", "CapEff"] {
        assert_eq!(proc::status(worker, name), ["0000000000000000"], "{name}");
    }
    // Before Linux 4.3 there are none.
    let ambient = proc::status(worker, "CapAmb");
    assert!(ambient.is_empty() || ambient == ["0000000000000000"], "{ambient:?}");
}

/// `--reload` of root's, at a page that a worker has put in the place of the supervisor's: with the pid of another process,
/// without a lock, and with one that the worker has.
#[test]
fn a_page_of_another_user_sends_no_signal_anywhere() {
    needs_root!();
    let dir = temp_dir();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let mut victim = Process::start(Command::new("sleep").arg("1000"));
    let script = r##"
import fcntl, os, sys, time
path, victim, lock = sys.argv[1:]
os.setgid(65534); os.setuid(65534)
held = open(path + ".lock", "w")
fcntl.lockf(held, fcntl.LOCK_EX)
page = f"""# fcgi-spawn pid={victim} workers=1 up=1 busy=0 waiting=0 listener=up lock={lock} clock={time.monotonic():.3f} written=-
# reload number=0 result=none until=- reason=-
1 1 running 1s 0 - - -
"""
with open(path, "w") as file: file.write(page)
print("written", flush=True)
time.sleep(1000)
"##;
    for lock in ["yes", "no"] {
        let page = dir.path().join(format!("status-{lock}"));
        let mut python = Command::new("python3");
        let attacker = Process::start(python.args(["-c", script]).arg(&page).arg(victim.pid().to_string()).arg(lock));
        attacker.stdout().wait_for_line("a page", |line| line == "written");
        let mut reload = Process::start(launcher().args(["--reload", "--status"]).arg(&page));
        assert_eq!(reload.wait_exit().code(), Some(2));
        let said = reload.stderr().to_end();
        assert!(said.contains("was not written by pid"), "{said}");
    }
    assert!(!victim.has_ended(), "it was sent SIGHUP");
}
