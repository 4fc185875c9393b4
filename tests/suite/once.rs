//! What the launcher does, and spawn-fcgi has no idea of, when it does not supervise.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use fcgi_tests::{Process, Program, Signal, Stray, TempDir, eventually, needs_root, proc, skip, temp_dir};

use crate::launcher::{in_folder, script};

/// `fcgi-spawn --once` with these options; `@` stands for the folder.
fn once(dir: &Path, options: &[&str]) -> Command {
    let mut command = Program::ours("fcgi-spawn").command();
    command.arg("--once").args(in_folder(options, dir));
    command
}

/// Exit status, stdout and stderr.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let mut process = Process::start(command);
    let status = process.wait_exit().code();
    (status, process.stdout().to_end(), process.stderr().to_end())
}

/// [`run`] of a program that ends at once, as seen within 100 ms. On a busy machine it may take longer: then there is
/// another try, in another folder.
#[track_caller]
fn run_short(command: impl Fn(&Path) -> Command) -> (TempDir, Option<i32>, String, String) {
    eventually("a program whose early end is seen", || {
        let dir = temp_dir();
        let (status, stdout, stderr) = run(&mut command(dir.path()));
        (!stderr.is_empty()).then_some((dir, status, stdout, stderr))
    })
}

/// The worker of a successful start.
#[track_caller]
pub(crate) fn started(command: &mut Command) -> Stray {
    let (status, stdout, stderr) = run(command);
    let pid =
        stdout.strip_prefix("fcgi-spawn: child spawned successfully: PID: ").and_then(|pid| pid.trim().parse().ok());
    assert_eq!((status, &stderr[..]), (Some(0), ""), "{stdout}");
    Stray::adopt(pid.unwrap_or_else(|| panic!("not a pid: {stdout}")))
}

fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_option_has_a_long_name() {
    let dir = temp_dir();
    let worker = started(
        once(
            dir.path(),
            &[
                "--socket=@/app.sock",
                "--mode=0606",
                "--backlog=7",
                "--workers=1",
                "--php-children=2",
                "--directory=@",
                "--pid-file=@/pid",
                "--command=sleep 1000",
            ],
        )
        .env("UNUSED", "1"),
    );
    assert_eq!(proc::link(worker.pid(), "cwd"), dir.path().canonicalize().ok());
    assert!(proc::environment(worker.pid()).contains(&"PHP_FCGI_CHILDREN=2".to_owned()));
    assert_eq!(fs::read_to_string(dir.path().join("pid")).expect("a pid file"), worker.pid().to_string());
    assert_eq!(names(&dir), ["app.sock", "pid"]);
}

/// A program that forks and leaves its child the socket has not failed: nobody takes the socket from it.
#[test]
fn a_program_that_goes_to_the_background_keeps_its_socket() {
    let (dir, _daemon) = eventually("a program whose early end is seen", || {
        let dir = temp_dir();
        let pid = dir.path().join("daemon");
        let text = format!("exec 3<&0; sleep 1000 <&3 & echo $! >{}", pid.display());
        let program = script(dir.path(), "program", &text);
        let (status, stdout, stderr) = run(once(dir.path(), &["-s", "@/app.sock", "--"]).arg(program));
        let pid = eventually("a pid", || fs::read_to_string(&pid).ok()?.trim().parse().ok());
        let daemon = Stray::adopt(pid);
        if stderr.is_empty() {
            return None; // It was on its way for over 100 ms.
        }
        assert_eq!((status, &stdout[..], &stderr[..]), (Some(0), "", "fcgi-spawn: child exited with: 0\n"));
        Some((dir, daemon))
    });
    assert!(UnixStream::connect(dir.path().join("app.sock")).is_ok());
}

#[test]
fn a_program_that_has_ended_has_no_socket() {
    let options = ["-s", "@/app.sock", "-P", "@/pid", "-f", "sh -c 'exit 3'"];
    let (dir, status, _, stderr) = run_short(|dir| once(dir, &options));
    assert_eq!((status, &stderr[..]), (Some(3), "fcgi-spawn: child exited with: 3\n"));
    assert_eq!(names(&dir), [""; 0]);
}

#[test]
fn with_n_a_failed_exec_leaves_nothing() {
    let dir = temp_dir();
    let (status, stdout, stderr) = run(&mut once(dir.path(), &["-ns", "@/app.sock", "--", "@/missing"]));
    assert_eq!((status, &stdout[..]), (Some(2), ""));
    assert!(stderr.contains("/missing'") && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(names(&dir), [""; 0]);
}

/// The user may not write to the folder, so somebody else has to take back what was made; and in a chroot, from
/// outside of it.
#[test]
fn what_was_made_is_taken_back_after_the_rights_are_gone() {
    needs_root!();
    for options in [
        &["-s", "@/app.sock", "-u", "nobody", "-P", "@/pid", "-F", "2"][..],
        &["-s", "@/app.sock", "-u", "nobody", "-n"],
        &["-s", "/app.sock", "-c", "@", "-u", "nobody", "-P", "@/pid"],
        &["-s", "/app.sock", "-c", "@", "-n"],
        &["-s", "@/a/app.sock", "-u", "nobody", "-P", "@/b/pid", "--mkdir"],
        &["-s", "/a/app.sock", "-c", "@", "-u", "nobody", "-P", "@/b/pid", "--mkdir"],
    ] {
        let dir = temp_dir();
        let (status, stdout, stderr) = run(once(dir.path(), options).args(["--", "/missing"]));
        assert!([Some(2), Some(13)].contains(&status) && stdout.is_empty(), "{options:?}: {status:?} {stderr}");
        assert_eq!(names(&dir), [""; 0], "{options:?}: {stderr}");
    }
}

/// Who looks after the files is no child of the program's, which could not know what to do with one.
#[test]
fn with_n_the_program_has_no_child() {
    needs_root!();
    let dir = temp_dir();
    let mut process = Process::start(&mut once(dir.path(), &["-s", "@/app.sock", "-u", "nobody", "-nf", "sleep 1000"]));
    eventually("the program", || (proc::name(process.pid()).as_deref() == Some("sleep")).then_some(()));
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.pid()));
    assert_eq!(children.expect("a list of children, zombies included"), "");
    assert!(dir.path().join("app.sock").exists());
    process.stop();
}

/// The limit counts the processes of a user whom no other test knows: the launcher, which has become that user, and one
/// worker.
#[test]
fn a_fork_that_is_refused_leaves_no_worker() {
    needs_root!();
    let Some(prlimit) = Program::installed("prlimit") else { skip!("there is no prlimit") };
    let dir = temp_dir();
    let user = (40_000 + std::process::id() % 10_000).to_string();
    let mut command = prlimit.command();
    command.arg("--nproc=2").arg(Program::ours("fcgi-spawn").path());
    command.args(["--once", "-u", &user, "-g", &user, "-F", "2"]);
    command.args(in_folder(&["-s", "@/app.sock", "-P", "@/pid", "--", "/bin/sleep", "1000"], dir.path()));
    let (status, stdout, stderr) = run(&mut command);
    assert_eq!((status, &stdout[..]), (Some(255), ""), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("fork: Resource temporarily unavailable"), "{stderr}");
    assert_eq!(names(&dir), [""; 0]);
    assert_eq!(of_user(&user), [0; 0]);
}

/// The processes of a user.
fn of_user(user: &str) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").expect("a directory");
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| proc::is_alive(*pid) && proc::status(*pid, "Uid").iter().any(|id| id == user)).collect()
}

/// Until all is well a signal takes back what was made, and ends the launcher; afterwards it comes too late.
#[test]
fn a_signal_during_the_start_leaves_nothing() {
    let mut broken_off = 0;
    eventually("ten starts that were broken off", || {
        let dir = temp_dir();
        let options = ["-s", "@/app.sock", "-P", "@/pid", "--", "/bin/sleep", "1000"];
        let mut process = Process::start(&mut once(dir.path(), &options));
        eventually("the socket or the end", || {
            (dir.path().join("app.sock").exists() || process.has_ended()).then_some(())
        });
        let workers: Vec<Stray> = proc::descendants(process.pid()).into_iter().map(Stray::adopt).collect();
        process.signal(Signal::TERM);
        let status = process.wait_exit();
        if status.code() == Some(0) {
            let pid = fs::read_to_string(dir.path().join("pid")).expect("a pid file");
            drop(Stray::adopt(pid.parse().expect("a pid")));
            return None;
        }
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{}", process.stderr().text());
        assert_eq!(names(&dir), [""; 0]);
        workers.iter().for_each(Stray::wait_gone);
        broken_off += 1;
        (broken_off == 10).then_some(())
    });
}

/// The user database is a named pipe that no process opens to write to, in a mount namespace of its own: a look-up waits
/// until one does.
#[test]
fn a_signal_during_a_look_up_leaves_nothing() {
    needs_root!();
    if Program::installed("unshare").is_none() {
        skip!("there is no unshare");
    }
    for (mode, is_foreground) in [(&["--once"][..], true), (&["--supervise", "-n"], true), (&["--supervise"], false)] {
        let dir = temp_dir();
        let script = "mkfifo \"$0/fifo\" && mount --bind \"$0/fifo\" /etc/passwd && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", script]).arg(dir.path()).arg(Program::ours("fcgi-spawn").path());
        command.args(mode).args(in_folder(&["-s", "@/app.sock", "-P", "@/pid", "-u", "nobody"], dir.path()));
        let mut process = Process::start(command.args(["--", "/bin/sleep", "1000"]).stdin(Stdio::null()));
        let looks_up = |pid: &u32| proc::wait_channel(*pid).contains("wait_for_partner");
        let background = || proc::descendants_named(process.pid(), "fcgi-spawn").into_iter().find(looks_up);
        let ours = || Some(process.pid()).filter(looks_up);
        let found = eventually("a look-up", || if is_foreground { ours() } else { background() });
        let background = (!is_foreground).then(|| Stray::adopt(found));
        match &background {
            Some(background) => background.signal(Signal::TERM),
            None => process.signal(Signal::TERM),
        }
        let status = process.wait_exit();
        assert!(!status.success(), "{mode:?}: {}", process.stderr().text());
        assert_eq!(names(&dir), ["fifo"], "{mode:?}: {}", process.stderr().text());
    }
}

/// An init script may ignore any of them.
#[test]
fn it_does_not_need_sigchld() {
    let dir = temp_dir();
    let fcgi_spawn = Program::ours("fcgi-spawn");
    let ignoring = |dir: &Path, arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/env");
        command.arg("--ignore-signal=CHLD,PIPE").arg(fcgi_spawn.path()).args(in_folder(arguments, dir));
        command.stdin(Stdio::null());
        command
    };
    let options = ["--once", "-s", "@/app.sock", "--", "/bin/sleep", "1000"];
    let worker = started(&mut ignoring(dir.path(), &options));
    let ignored = u64::from_str_radix(&proc::status(worker.pid(), "SigIgn").concat(), 16).expect("a set of signals");
    assert_eq!(ignored & 0x7fff_ffff, 1 << 12 | 1 << 16, "SIGPIPE and SIGCHLD: {ignored:x}");
    let (_, status, _, stderr) = run_short(|dir| ignoring(dir, &["--once", "-s", "@/b", "-f", "sh -c 'exit 3'"]));
    assert_eq!((status, &stderr[..]), (Some(3), "fcgi-spawn: child exited with: 3\n"));
    for mode in ["--once", "--supervise"] {
        let (status, _, stderr) = run(&mut ignoring(dir.path(), &[mode, "-s", "@/b", "--", "/missing"]));
        assert!(status == Some(2) && stderr.contains("'/missing'"), "{mode}: {status:?} {stderr}");
    }
}

/// It does no harm, and only an empty one is ours to remove.
#[test]
fn a_lock_that_was_left_is_taken_over() {
    let dir = temp_dir();
    drop(UnixListener::bind(dir.path().join("app.sock")).expect("a socket"));
    fs::write(dir.path().join("app.sock.lock"), "").expect("a file");
    let _worker = started(&mut once(dir.path(), &["-s", "@/app.sock", "-f", "sleep 1000"]));
    assert_eq!(names(&dir), ["app.sock"]);
}

#[test]
fn a_pid_file_is_beside_the_socket_with_mkdir() {
    let dir = temp_dir();
    let _worker = started(&mut once(dir.path(), &["-s", "@/run/s", "-P", "@/run/p", "--mkdir", "-f", "sleep 1000"]));
    assert!(dir.path().join("run/s").exists() && dir.path().join("run/p").exists());
}

/// As a user of bash would see them.
#[test]
fn bash_completes_options_and_values() {
    if Program::installed("bash").is_none() {
        skip!("there is no bash");
    }
    let dir = temp_dir();
    fs::write(dir.path().join("file"), "").expect("a file");
    let complete = |words: &str| {
        let script = format!(
            "source <({} --completions bash) && COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) &&
             complete -p fcgi-spawn spawn-fcgi >&2 && compopt() {{ :; }} && _fcgi_spawn && echo \"${{COMPREPLY[*]}}\"",
            Program::ours("fcgi-spawn").path().display()
        );
        let mut command = Command::new("bash");
        let (status, stdout, stderr) = run(command.args(["--norc", "-c", &script]).current_dir(dir.path()));
        assert_eq!(status, Some(0), "{stderr}");
        stdout.trim_end().to_owned()
    };
    assert_eq!(complete("fcgi-spawn --res"), "--restart-delay");
    assert_eq!(complete("fcgi-spawn --completions ''"), "bash zsh fish");
    assert_eq!(complete("fcgi-spawn -u roo"), "root");
    assert_eq!(complete("fcgi-spawn -s fi"), "file");
    assert_eq!(complete("fcgi-spawn -p ''"), "");
    assert_eq!(complete("fcgi-spawn -- --res"), "");
}

/// The other two shells at least understand them.
#[test]
fn other_shells_read_their_completions() {
    let mut found = false;
    for (shell, check) in [("zsh", "-n"), ("fish", "--no-execute")] {
        if Program::installed(shell).is_none() {
            continue;
        }
        found = true;
        let dir = temp_dir();
        let (status, text, _) = run(Program::ours("fcgi-spawn").command().args(["--completions", shell]));
        assert_eq!(status, Some(0));
        fs::write(dir.path().join("completions"), text).expect("a file");
        let (status, _, stderr) = run(Command::new(shell).arg(check).arg(dir.path().join("completions")));
        assert_eq!((status, &stderr[..]), (Some(0), ""), "{shell}");
    }
    if !found {
        skip!("there is neither zsh nor fish");
    }
}

#[test]
fn another_name_is_another_mode() {
    let dir = temp_dir();
    let called = dir.path().join("spawn-fcgi");
    symlink(Program::ours("fcgi-spawn").path(), &called).expect("a symlink");
    let mut command = Command::new(&called);
    command.arg("-s").arg(dir.path().join("app.sock")).args(["-f", "sleep 1000"]).stdin(Stdio::null());
    let (status, stdout, stderr) = run(&mut command);
    let pid =
        stdout.strip_prefix("spawn-fcgi: child spawned successfully: PID: ").and_then(|pid| pid.trim().parse().ok());
    let worker = Stray::adopt(pid.unwrap_or_else(|| panic!("{stdout}{stderr}")));
    assert_eq!(status, Some(0));
    // It is the shell at first.
    eventually("the program", || (proc::name(worker.pid()).as_deref() == Some("sleep")).then_some(()));
}
