//! What spawn-fcgi's options mean when the workers are supervised: each worker becomes what they say, the supervisor
//! stays what it was.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use fcgi_tests::{Process, Program, Signal, Stray, copy_program, eventually, needs_root, proc, temp_dir};

use crate::app::{expect_hello, fails_with_one_line};
use crate::launcher::{Launcher, in_folder, launcher, path_of, script};

/// Every Debian has them.
const DAEMON: u32 = 1;
const NOBODY: u32 = 65534;

/// The ids of a process: real, effective, saved and for files.
fn ids(pid: u32, name: &str) -> Vec<u32> {
    proc::status(pid, name).iter().map(|id| id.parse().expect("an id is a number")).collect()
}

/// Makes the private folder one that everybody may enter, with a copy of `hello` in it.
pub(crate) fn public_hello(dir: &Path) -> String {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    let copy = dir.join("hello");
    copy_program(&path_of("hello"), &copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("the copy is ours");
    copy.to_str().expect("a plain path").to_owned()
}

/// A folder with just enough in it to run `hello`.
pub(crate) fn jail(dir: &Path) {
    let copy =
        "mkdir jail && cp hello jail && for file in $(ldd hello | grep -o '/[^ ]*'); do cp --parents $file jail; done";
    let status = Command::new("/bin/sh").args(["-c", copy]).current_dir(dir).status();
    assert!(status.is_ok_and(|status| status.success()), "{copy}");
}

/// A supervisor in the foreground, in a folder with a `hello` that everybody may run.
fn start(options: &[&str], program: &[&str]) -> Launcher {
    Launcher::start_with(options, program, |dir| {
        public_hello(dir);
    })
}

#[test]
fn workers_drop_their_rights_and_the_supervisor_keeps_its_own() {
    needs_root!();
    let launcher = start(&["-s", "@/app.sock", "-u", "daemon", "-g", "nogroup", "-F", "2"], &["@/hello"]);
    for worker in launcher.workers(2) {
        assert_eq!((ids(worker, "Uid"), ids(worker, "Gid")), (vec![DAEMON; 4], vec![NOBODY; 4]));
        // daemon's own group is not among them: only /etc/group puts him into others.
        assert_eq!(ids(worker, "Groups"), [NOBODY]);
        assert_eq!(proc::status(worker, "CapPrm"), ["0000000000000000"]);
    }
    assert_eq!(ids(launcher.process.pid(), "Uid"), [0; 4]);
    let socket = fs::metadata(launcher.path("app.sock")).expect("a socket");
    assert_eq!((socket.uid(), socket.gid()), (DAEMON, NOBODY));
    expect_hello(&launcher.socket());
}

/// The parent-death signal is lost in a change of user, so it has to be set after it.
#[test]
fn sigkill_leaves_no_worker_of_another_user() {
    needs_root!();
    let mut launcher = start(&["-s", "@/app.sock", "-u", "nobody", "-F", "2"], &["@/hello"]);
    let workers: Vec<Stray> = launcher.workers(2).into_iter().map(Stray::adopt).collect();
    launcher.process.signal(Signal::KILL);
    launcher.process.wait_exit();
    workers.iter().for_each(Stray::wait_gone);
}

#[test]
fn workers_are_in_the_chroot_with_the_socket_and_the_supervisor_is_not() {
    needs_root!();
    let options = ["-s", "/app.sock", "-c", "@/jail", "-u", "nobody", "-P", "@/pid"];
    let mut launcher = Launcher::start_with(&options, &["/hello"], |dir| {
        public_hello(dir);
        jail(dir);
    });
    let worker = launcher.workers(1)[0];
    let jail = launcher.path("jail");
    assert_eq!((proc::link(worker, "root"), proc::link(worker, "cwd")), (Some(jail.clone()), Some(jail.clone())));
    let supervisor = launcher.process.pid();
    assert_eq!(proc::link(supervisor, "root").as_deref(), Some(Path::new("/")));
    assert_eq!(proc::link(supervisor, "cwd"), std::env::current_dir().ok());
    assert!(jail.join("app.sock").exists() && !jail.join("pid").exists());
    expect_hello(&fcgi_tests::Address::Unix(jail.join("app.sock")));
    // The path means the same to it when it takes the socket away again.
    assert_eq!(launcher.process.stop().code(), Some(0));
    assert!(!jail.join("app.sock").exists() && !launcher.path("pid").exists());
}

#[test]
fn with_big_s_the_socket_is_outside_of_the_chroot() {
    needs_root!();
    let mut launcher = Launcher::start_with(&["-s", "@/app.sock", "-c", "@/jail", "-S"], &["/hello"], |dir| {
        public_hello(dir);
        jail(dir);
    });
    launcher.workers(1);
    expect_hello(&launcher.socket());
    assert_eq!(launcher.process.stop().code(), Some(0));
    assert!(!launcher.path("app.sock").exists());
}

/// What each worker does for itself is reported as exactly as what is done once for all, and undone.
#[test]
fn a_step_that_fails_in_the_worker_is_named() {
    needs_root!();
    let dir = temp_dir();
    let hello = public_hello(dir.path());
    script(dir.path(), "mine", "exec sleep 1000");
    fs::set_permissions(dir.path().join("mine"), fs::Permissions::from_mode(0o700)).expect("the script is ours");
    let mine = dir.path().join("mine");
    let cases: &[(&[&str], &str, i32, &str)] = &[
        (&["-d", "@/missing"], &hello, 255, "/missing'"),
        (&["-c", "@/missing", "-S"], &hello, 255, "/missing'"),
        (&["-c", "@/missing"], &hello, 255, "/missing'"),
        (&["-u", "nobody"], mine.to_str().expect("a plain path"), 13, "uid 65534, gid 65534"),
    ];
    for (options, program, expected, named) in cases {
        let mut command = launcher();
        command.args(in_folder(&["-s", "@/app.sock", "-n", "-P", "@/pid", "-F", "2"], dir.path()));
        let (status, line) = fails_with_one_line(command.args(in_folder(options, dir.path())).args(["--", program]));
        assert!(status == *expected && line.contains(named), "{options:?}: {status}: {line}");
        assert!(!dir.path().join("app.sock").exists() && !dir.path().join("pid").exists(), "{options:?}");
    }
}

#[test]
fn folder_and_environment_are_the_workers() {
    let launcher = start(&["-s", "@/app.sock", "-d", "@", "-C", "3"], &["./hello"]);
    let worker = launcher.workers(1)[0];
    assert_eq!(proc::link(worker, "cwd"), launcher.path("").canonicalize().ok());
    assert!(proc::environment(worker).contains(&"PHP_FCGI_CHILDREN=3".to_owned()));
    assert_eq!(proc::link(launcher.process.pid(), "cwd"), std::env::current_dir().ok());
}

#[test]
fn a_line_for_the_shell_is_supervised_too() {
    let hello = path_of("hello");
    let launcher =
        Launcher::start_with(&["-s", "@/app.sock", "-f", hello.to_str().expect("a plain path")], &[], |_| ());
    let worker = launcher.workers(1)[0];
    assert_eq!(proc::link(worker, "exe"), hello.canonicalize().ok());
    expect_hello(&launcher.socket());
}

/// Under either name.
#[test]
fn it_supervises_as_spawn_fcgi_if_told_to() {
    let dir = temp_dir();
    let called = dir.path().join("spawn-fcgi");
    std::os::unix::fs::symlink(Program::ours("fcgi-spawn").path(), &called).expect("a symlink");
    let mut command = Command::new(&called);
    command.env_clear().stdin(Stdio::null()).arg("--supervise").args(["-n", "-s"]).arg(dir.path().join("app.sock"));
    let mut process = Process::start(command.arg("--").arg(path_of("hello")));
    let found = || proc::descendants_named(process.pid(), "hello").first().copied();
    let worker = Stray::adopt(eventually("a worker", found));
    assert_eq!(process.stop().code(), Some(0));
    assert!(!worker.is_alive());
}

/// What the shell in front of it ignores stays ignored, SIGPIPE too, but a worker has to end when it is told to.
#[test]
fn signals_are_the_callers_but_for_the_stop() {
    let dir = temp_dir();
    let shell = format!("trap '' HUP PIPE TERM; exec {} \"$@\"", Program::ours("fcgi-spawn").path().display());
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &shell, "sh", "-n", "-s"]).arg(dir.path().join("app.sock"));
    let mut process = Process::start(command.args(["--", "/bin/sleep", "1000"]).stdin(Stdio::null()));
    let sleep = eventually("a worker", || proc::descendants_named(process.pid(), "sleep").first().copied());
    let worker = Stray::adopt(sleep);
    let ignored = u64::from_str_radix(&proc::status(sleep, "SigIgn").concat(), 16).expect("a set of signals");
    let (hup, pipe) = (1 << (Signal::HUP.as_raw() - 1), 1 << (Signal::PIPE.as_raw() - 1));
    assert_eq!(ignored & 0x7fff_ffff, hup | pipe, "{ignored:x}");
    assert_eq!(process.stop().code(), Some(0));
    assert!(!worker.is_alive());
}

#[test]
fn folders_that_it_made_go_with_it() {
    let options = ["-s", "@/run/a/app.sock", "-P", "@/run/b/pid", "--status", "@/run/b/status", "--mkdir"];
    let mut launcher = Launcher::start(&options);
    eventually("a pid file", || launcher.path("run/b/pid").exists().then_some(()));
    expect_hello(&fcgi_tests::Address::Unix(launcher.path("run/a/app.sock")));
    assert_eq!(launcher.process.stop().code(), Some(0));
    assert!(!launcher.path("run").exists());
}

#[test]
fn a_permission_is_exact_whatever_the_umask() {
    let launcher = Launcher::start(&["-s", "@/app.sock", "-M", "0606"]);
    launcher.workers(1);
    let mode = fs::metadata(launcher.path("app.sock")).expect("a socket").mode();
    assert_eq!(mode & 0o7777, 0o606);
}
