//! `fcgi-spawn`: what it binds, starts, restarts, refuses and leaves behind.

use std::fs;
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use fcgi_tests::{
    Address, Process, Program, Signal, Stray, TempDir, eventually, free_port, proc, skip, temp_dir, write_executable,
};

use crate::app::{expect_hello, fails_with_one_line, wait_until_it_listens};

/// The launcher in the foreground, supervising workers.
pub(crate) struct Launcher {
    pub(crate) process: Process,
    dir: TempDir,
}

impl Launcher {
    /// Starts `fcgi-spawn OPTIONS -n -- hello`. `@` in an option stands for the private folder.
    #[track_caller]
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_program(options, &[path_of("hello").to_str().expect("a plain path")])
    }

    #[track_caller]
    pub(crate) fn start_program(options: &[&str], program: &[&str]) -> Self {
        Self::start_with(options, program, |_| ())
    }

    /// [`start_program`](Self::start_program) with a private folder that was prepared; `@` stands for it in the
    /// program's words, too. A reload watches its first worker for a moment only.
    #[track_caller]
    pub(crate) fn start_with(options: &[&str], program: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let dir = temp_dir();
        prepare(dir.path());
        let mut command = launcher();
        command.args(SHORT_RELOAD).args(in_folder(options, dir.path()));
        command.args(["-n", "--"]).args(in_folder(program, dir.path()));
        Self::of(Process::start(&mut command), dir)
    }

    /// A launcher that is started already, with its private folder.
    pub(crate) fn of(process: Process, dir: TempDir) -> Self {
        Launcher { process, dir }
    }

    /// A file in the private folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn socket(&self) -> Address {
        Address::Unix(self.path("app.sock"))
    }

    /// Waits until there are exactly `count` workers called `hello` and gives their pids, oldest first.
    #[track_caller]
    pub(crate) fn workers(&self, count: usize) -> Vec<u32> {
        eventually(&format!("{count} workers"), || {
            let found = proc::descendants_named(self.process.pid(), "hello");
            (found.len() == count).then_some(found)
        })
    }
}

/// Options with which a reload takes less time than by default.
pub(crate) const SHORT_RELOAD: [&str; 4] = ["--canary", "200ms", "--ready-after", "250ms"];

pub(crate) fn launcher() -> Command {
    Program::ours("fcgi-spawn").command()
}

pub(crate) fn path_of(program: &str) -> PathBuf {
    Program::ours(program).path().to_owned()
}

pub(crate) fn in_folder(options: &[&str], dir: &Path) -> Vec<String> {
    let dir = dir.to_str().expect("a plain path");
    options.iter().map(|option| option.replace('@', dir)).collect()
}

/// A shell script that can be executed.
pub(crate) fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    write_executable(&path, &format!("#!/bin/sh\n{text}\n"));
    path
}

#[test]
fn it_binds_a_unix_socket() {
    let launcher = Launcher::start(&["-s", "@/app.sock"]);
    launcher.workers(1);
    expect_hello(&launcher.socket());
    let socket = fs::metadata(launcher.path("app.sock")).expect("a socket");
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.mode() & 0o007, 0, "others may use it: {:o}", socket.mode());
}

#[test]
fn it_binds_a_tcp_port() {
    let port = free_port();
    let _launcher = Launcher::start(&["-a", "127.0.0.1", "-p", &port.to_string()]);
    let address = Address::loopback(port);
    wait_until_it_listens(&address);
    expect_hello(&address);
}

#[test]
fn it_binds_an_ipv6_address() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        skip!("there is no IPv6 here");
    }
    let port = free_port();
    let _launcher = Launcher::start(&["-a", "::1", "-p", &port.to_string()]);
    let address = Address::Tcp((Ipv6Addr::LOCALHOST, port).into());
    wait_until_it_listens(&address);
    expect_hello(&address);
}

#[test]
fn options_may_be_attached_and_the_last_one_wins() {
    let launcher = Launcher::start(&["-s@/first.sock", "-F7", "-s", "@/app.sock", "-F", "2"]);
    launcher.workers(2);
    expect_hello(&launcher.socket());
    assert!(!launcher.path("first.sock").exists());
}

#[test]
fn workers_share_one_socket_as_descriptor_0() {
    let launcher = Launcher::start(&["-s", "@/app.sock", "-F", "3"]);
    let sockets: Vec<_> = launcher.workers(3).into_iter().map(|pid| proc::descriptor(pid, 0)).collect();
    let first = sockets[0].as_ref().expect("descriptor 0 of a worker");
    assert!(first.to_string_lossy().starts_with("socket:"), "{first:?}");
    assert!(sockets.iter().all(|socket| socket.as_ref() == Some(first)), "{sockets:?}");
}

/// What it gets is what was typed, byte for byte, with nothing open but 0, 1 and 2.
#[test]
fn a_program_gets_its_arguments_and_nothing_else() {
    let dir = temp_dir();
    let report = dir.path().join("report");
    let text = format!(
        "{{ printf '<%s>' \"$@\"; echo; ls /proc/$$/fd; }} >{0}.new; mv {0}.new {0}; exec sleep 1000",
        report.display()
    );
    let program = script(dir.path(), "program", &text);
    let options = ["-s", "@/app.sock"];
    let arguments = [program.to_str().expect("a plain path"), "", "a b", "-F", "$HOME", "--", "'\"\\"];
    let _launcher = Launcher::start_program(&options, &arguments);
    let report = eventually("the program's report", || fs::read_to_string(&report).ok());
    let (arguments, descriptors) = report.split_once('\n').expect("two lines");
    assert_eq!(arguments, "<><a b><-F><$HOME><--><'\"\\>");
    // The shell itself reads its script from 10, or some such number above 9.
    let open: Vec<u32> =
        descriptors.lines().map(|line| line.parse().expect("a number")).filter(|&fd| fd < 10).collect();
    assert_eq!(open, [0, 1, 2]);
}

#[test]
fn a_dead_worker_is_replaced_and_the_others_stay() {
    let launcher = Launcher::start(&["-s", "@/app.sock", "-F", "2", "--restart-delay", "200ms"]);
    let before = launcher.workers(2);
    let socket = fs::metadata(launcher.path("app.sock")).expect("a socket").ino();
    Stray::adopt(before[0]).signal(Signal::KILL);
    let after = eventually("another worker", || {
        let found = proc::descendants_named(launcher.process.pid(), "hello");
        (found.len() == 2 && !found.contains(&before[0])).then_some(found)
    });
    assert!(after.contains(&before[1]), "the other worker was replaced, too: {before:?} {after:?}");
    assert_eq!(fs::metadata(launcher.path("app.sock")).expect("a socket").ino(), socket);
    expect_hello(&launcher.socket());
}

/// Clients wait in the socket's queue; they are not refused while no worker is there.
#[test]
fn clients_wait_while_no_worker_is_there() {
    let launcher = Launcher::start(&["-s", "@/app.sock", "--restart-delay", "1s"]);
    for _ in 0..2 {
        let worker = Stray::adopt(launcher.workers(1)[0]);
        worker.signal(Signal::KILL);
        worker.wait_gone(); // else it may still accept
        expect_hello(&launcher.socket());
    }
}

#[test]
fn a_program_that_always_ends_is_started_again_and_again() {
    let dir = temp_dir();
    let starts = dir.path().join("starts");
    let program = script(dir.path(), "program", &format!("echo started >>{}; exit 3", starts.display()));
    let options = ["-s", "@/app.sock", "--restart-delay", "200ms"];
    let mut launcher = Launcher::start_program(&options, &[program.to_str().expect("a plain path")]);
    eventually("a third start", || (fs::read_to_string(&starts).ok()?.lines().count() >= 3).then_some(()));
    assert!(launcher.socket().connect().is_ok(), "the socket is closed");
    assert_eq!(launcher.process.stop().code(), Some(0));
}

#[test]
fn sigterm_and_sigint_end_everything() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut launcher = Launcher::start(&["-s", "@/app.sock", "-F", "3"]);
        let workers: Vec<Stray> = launcher.workers(3).into_iter().map(Stray::adopt).collect();
        expect_hello(&launcher.socket());
        launcher.process.signal(signal);
        assert_eq!(launcher.process.wait_exit().code(), Some(0), "after {signal:?}");
        assert!(!workers.iter().any(Stray::is_alive), "a worker is left after {signal:?}");
        assert!(!launcher.path("app.sock").exists(), "the socket is left after {signal:?}");
    }
}

#[test]
fn a_socket_that_somebody_else_has_put_there_stays() {
    let mut launcher = Launcher::start(&["-s", "@/app.sock"]);
    launcher.workers(1);
    fs::remove_file(launcher.path("app.sock")).expect("the socket can be removed");
    let _theirs = UnixListener::bind(launcher.path("app.sock")).expect("another socket");
    assert_eq!(launcher.process.stop().code(), Some(0));
    assert!(launcher.path("app.sock").exists(), "another program's socket was removed");
}

#[test]
fn sigkill_of_the_supervisor_leaves_no_worker() {
    let mut launcher = Launcher::start(&["-s", "@/app.sock", "-F", "2"]);
    let workers: Vec<Stray> = launcher.workers(2).into_iter().map(Stray::adopt).collect();
    launcher.process.signal(Signal::KILL);
    launcher.process.wait_exit();
    for worker in &workers {
        worker.wait_gone();
    }
}

/// Without `-n` it becomes a daemon, as spawn-fcgi does: it says so, writes its pid and holds none of our streams.
#[test]
fn it_runs_in_the_background_with_a_pid_file() {
    let dir = temp_dir();
    let mut command = launcher();
    command.args(in_folder(&["-s", "@/app.sock", "-F", "2", "-P", "@/pid", "--"], dir.path())).arg(path_of("hello"));
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait_exit().code(), Some(0), "{}", process.stderr().text());
    let line = process.stdout().to_end();
    let pid = fs::read_to_string(dir.path().join("pid")).expect("a pid file");
    let daemon = Stray::adopt(pid.trim().parse().unwrap_or_else(|_| panic!("not a pid: {pid}")));
    assert_eq!(line, format!("fcgi-spawn: child spawned successfully: PID: {pid}\n"));
    assert_eq!(proc::descendants_named(daemon.pid(), "hello").len(), 2);
    expect_hello(&Address::Unix(dir.path().join("app.sock")));
    daemon.signal(Signal::TERM);
    daemon.wait_gone();
    assert!(!dir.path().join("pid").exists() && !dir.path().join("app.sock").exists(), "a file is left");
}

#[test]
fn a_stale_socket_is_replaced() {
    let dir = temp_dir();
    let path = dir.path().join("app.sock");
    drop(UnixListener::bind(&path).expect("a socket"));
    // A child forked by another test has a copy of the listener until its exec.
    eventually("a stale socket", || UnixStream::connect(&path).is_err().then_some(()));
    let mut command = launcher();
    command.arg("-s").arg(&path).args(["-n", "--"]).arg(path_of("hello"));
    let _process = Process::start(&mut command);
    let address = Address::Unix(path);
    wait_until_it_listens(&address);
    expect_hello(&address);
}

#[test]
fn what_is_no_stale_socket_is_refused_and_stays() {
    let dir = temp_dir();
    let path = |name: &str| dir.path().join(name);
    let _live = UnixListener::bind(path("live")).expect("a socket");
    let _datagram = UnixDatagram::bind(path("datagram")).expect("a socket");
    fs::write(path("file"), "precious").expect("a file");
    fs::create_dir(path("folder")).expect("a folder");
    for name in ["live", "datagram", "file", "folder"] {
        let before = fs::metadata(path(name)).expect("it is there").ino();
        let (status, line) =
            fails_with_one_line(launcher().arg("-s").arg(path(name)).args(["-n", "--"]).arg(path_of("hello")));
        assert!(status == 255 && line.contains(name), "{name}: {status}: {line}");
        assert_eq!(fs::metadata(path(name)).expect("it is still there").ino(), before, "{name} was replaced");
    }
    assert_eq!(fs::read_to_string(path("file")).expect("a file"), "precious");
}

#[test]
fn a_port_in_use_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = taken.local_addr().expect("its address").port().to_string();
    let (status, line) =
        fails_with_one_line(launcher().args(["-a", "127.0.0.1", "-p", &port, "-n", "--"]).arg(path_of("hello")));
    assert!(status == 255 && line.contains(&port), "{status}: {line}");
}

/// The status is the errno, as spawn-fcgi's, and nothing is left, in the foreground and in the background.
#[test]
fn a_program_that_cannot_be_executed_is_named() {
    let dir = temp_dir();
    fs::write(dir.path().join("plain-file"), "no program").expect("a file");
    for (program, errno) in [("missing", 2), ("plain-file", 13)] {
        for foreground in [&["-n"][..], &[]] {
            let options = in_folder(&["-s", "@/app.sock", "-P", "@/pid", "-F", "2"], dir.path());
            let mut command = launcher();
            command.args(options).args(foreground).arg("--").arg(dir.path().join(program));
            let (status, line) = fails_with_one_line(&mut command);
            assert!(status == errno && line.contains(program), "{program} {foreground:?}: {status}: {line}");
            assert!(!dir.path().join("app.sock").exists(), "{program} {foreground:?}: the socket is left");
            assert!(!dir.path().join("pid").exists(), "{program} {foreground:?}: the pid file is left");
        }
    }
}

/// One line that names the option, or the file that cannot be had; status 255, and nothing done. `@` stands for
/// a folder.
#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    let long = format!("@/{}", "x".repeat(110));
    let cases: &[(&str, &[&str])] = &[
        ("-p", &["-p", "junk", "--", "/bin/true"]),
        ("-p", &["-p", "9000x", "--", "/bin/true"]),
        ("-p", &["-p", "65536", "--", "/bin/true"]),
        ("-p", &["-p", "-1", "--", "/bin/true"]),
        ("-p", &["-p", "", "--", "/bin/true"]),
        ("-p", &["-p"]),
        ("-s", &["-s"]),
        ("-s", &["-s", "", "--", "/bin/true"]),
        ("-s", &["-s", &long, "--", "/bin/true"]),
        ("-a", &["-a", "localhost", "-p", "9000", "--", "/bin/true"]),
        ("-a", &["-a", "[::1]", "-p", "9000", "--", "/bin/true"]),
        ("-a", &["-a", "1.2.3", "-p", "9000", "--", "/bin/true"]),
        ("-F", &["-s", "@/app.sock", "-F", "0", "--", "/bin/true"]),
        ("-F", &["-s", "@/app.sock", "-F", "two", "--", "/bin/true"]),
        ("-F", &["-s", "@/app.sock", "-F", "-3", "--", "/bin/true"]),
        ("-F", &["-s", "@/app.sock", "-F", "99999999999999999999", "--", "/bin/true"]),
        ("--restart-delay", &["-s", "@/app.sock", "--restart-delay", "soon", "--", "/bin/true"]),
        ("missing/pid", &["-s", "@/app.sock", "-P", "@/missing/pid", "--", "/bin/true"]),
        ("-Z", &["-Z", "-s", "@/app.sock", "--", "/bin/true"]),
        ("--no-such-option", &["--no-such-option", "-s", "@/app.sock", "--", "/bin/true"]),
        ("--seed", &["--seed", "1", "-s", "@/app.sock", "--", "/bin/true"]),
        ("--check", &["--status", "@/status", "--check"]),
        ("--check needs --status", &["--check", "-s", "@/app.sock", "--", "/bin/true"]),
        ("--completions", &["-n", "--completions", "bash"]),
        ("--help", &["-s", "@/app.sock", "--help"]),
        ("--version", &["/bin/true", "--version"]),
    ];
    let dir = temp_dir();
    for (named, arguments) in cases {
        let (status, line) = fails_with_one_line(launcher().args(in_folder(arguments, dir.path())));
        assert_eq!(status, 255, "{arguments:?}: {line}");
        assert!(line.contains(named), "{arguments:?}: {named} is not named: {line}");
        let left: Vec<_> = fs::read_dir(dir.path()).expect("a folder").collect();
        assert!(left.is_empty(), "{arguments:?} left {left:?}");
    }
}

#[test]
fn something_to_run_and_somewhere_to_listen_are_needed() {
    let dir = temp_dir();
    for arguments in [&["-s", "@/app.sock"][..], &["-s", "@/app.sock", "--"], &["--", "/bin/true"]] {
        let (status, line) = fails_with_one_line(launcher().args(in_folder(arguments, dir.path())));
        assert_eq!(status, 255, "{arguments:?}: {line}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
}

#[test]
fn without_arguments_it_shows_its_usage() {
    let mut process = Process::start(&mut launcher());
    assert_eq!(process.wait_exit().code(), Some(255));
    assert!(process.stdout().to_end().to_lowercase().contains("usage"));
    assert_eq!(process.stderr().to_end(), "");
}
