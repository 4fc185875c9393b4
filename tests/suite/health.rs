//! What `fcgi-spawn` says of itself and its workers: readiness, status, and who is missed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fcgi_tests::{Address, PATIENCE, Process, Program, Signal, Stray, eventually, holds_for, proc, temp_dir};

use crate::app::{ask, expect_hello};
use crate::launcher::{Launcher, SHORT_RELOAD, in_folder, launcher, path_of, script};
use crate::supervise::Leak;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The lines of a status file about workers, in words.
fn workers(path: &Path) -> Vec<Vec<String>> {
    let text = read(path);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

/// What a monitor gets: exit status and first line.
#[track_caller]
fn check(path: &Path) -> (i32, String) {
    let mut process = Process::start(launcher().args(["--check", "--status"]).arg(path));
    let status = process.wait_exit().code().expect("it exits");
    (status, process.stdout().to_end().lines().next().unwrap_or_default().to_owned())
}

#[test]
fn a_status_file_has_a_line_for_each_worker() {
    let mut launcher =
        Launcher::start(&["-s", "@/app.sock", "-F", "2", "--status", "@/status", "--restart-delay", "1000s"]);
    let path = launcher.path("status");
    let up = |states: [&str; 2]| {
        let found = workers(&path);
        let states = states.map(str::to_owned).to_vec();
        (found.iter().map(|worker| worker[2].clone()).collect::<Vec<_>>() == states).then_some(found)
    };
    let both = eventually("two running workers", || up(["running", "running"]));
    let mut pids: Vec<u32> = both.iter().map(|worker| worker[1].parse().expect("a pid")).collect();
    for (at, worker) in both.iter().enumerate() {
        assert_eq!(worker[0], (at + 1).to_string());
        assert_eq!((worker[4].as_str(), worker[5].as_str(), worker[6].as_str()), ("0", "-", "-"));
        assert!(worker[3].ends_with('s') && worker[7].ends_with("KiB") && worker[7] != "0KiB", "{worker:?}");
    }
    assert_eq!(check(&path), (0, "2 of 2 workers up".into()));

    Stray::adopt(pids[1]).signal(Signal::KILL);
    let one = eventually("one waiting worker", || up(["running", "waiting"]));
    let words: Vec<&str> = one[1].iter().map(String::as_str).collect();
    assert!(matches!(words[..], ["2", "-", "waiting", "-", "1", "signal:9", next, "-"] if next != "-"), "{words:?}");
    assert_eq!(check(&path), (1, "1 of 2 workers up".into()));

    Stray::adopt(pids[0]).signal(Signal::KILL);
    eventually("two waiting workers", || up(["waiting", "waiting"]));
    assert_eq!(check(&path), (2, "0 of 2 workers up".into()));

    pids.clear();
    assert_eq!(launcher.process.stop().code(), Some(0));
    assert!(!path.exists());
    assert_eq!(check(&path).0, 2);
    let left: Vec<_> = fs::read_dir(launcher.path("")).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_status_of_a_supervisor_that_is_gone_is_none() {
    let mut launcher = Launcher::start(&["-s", "@/app.sock", "--status", "@/status"]);
    let path = launcher.path("status");
    eventually("a running worker", || (check(&path).0 == 0).then_some(()));
    launcher.process.signal(Signal::KILL);
    launcher.process.wait_exit();
    let (status, line) = check(&path);
    assert!(status == 2 && line.contains("is gone"), "{status}: {line}");
}

/// Receives datagrams until one contains `wanted`.
#[track_caller]
fn heard(systemd: &UnixDatagram, wanted: &str) -> String {
    let mut buffer = [0; 4096];
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "no {wanted}");
        let len = systemd.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
        let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if text.contains(wanted) {
            return text;
        }
    }
}

#[test]
fn systemd_hears_of_everything() {
    let dir = temp_dir();
    let name = format!("{}", dir.path().join("notify").display());
    for is_abstract in [false, true] {
        let address = match is_abstract {
            true => SocketAddr::from_abstract_name(&name),
            false => SocketAddr::from_pathname(&name),
        };
        let systemd = UnixDatagram::bind_addr(&address.expect("an address")).expect("bound");
        systemd.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut command = launcher();
        command.args(SHORT_RELOAD).args(in_folder(&["-s", "@/app.sock", "-n", "--"], dir.path())).arg(path_of("hello"));
        command.env("NOTIFY_SOCKET", if is_abstract { format!("@{name}") } else { name.clone() });
        command.env("WATCHDOG_USEC", "200000");
        let mut process = Process::start(&mut command);
        let pid = process.pid();
        heard(&systemd, "STATUS=1 of 1 workers up");
        assert_eq!(heard(&systemd, "READY"), format!("READY=1\nMAINPID={pid}"));
        let worker = proc::descendants_named(pid, "hello")[0];
        let passed = proc::environment(worker);
        assert!(!passed.iter().any(|v| v.starts_with("NOTIFY_SOCKET=") || v.starts_with("WATCHDOG_")), "{passed:?}");
        for _ in 0..3 {
            heard(&systemd, "WATCHDOG=1");
        }
        process.signal(Signal::HUP);
        let reloading = heard(&systemd, "RELOADING");
        let time: u64 =
            reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("a time").parse().expect("a number");
        assert!(time > 0);
        heard(&systemd, "READY=1");
        process.signal(Signal::TERM);
        heard(&systemd, "STOPPING=1");
        assert_eq!(process.wait_exit().code(), Some(0));
    }
}

/// As s6 and others have it, in the foreground and in the background.
#[test]
fn a_line_says_that_all_are_up() {
    for foreground in [true, false] {
        let dir = temp_dir();
        let made = Command::new("mkfifo").arg(dir.path().join("ready")).status();
        assert!(made.is_ok_and(|status| status.success()));
        let mut ready = fs::OpenOptions::new();
        let ready = ready.read(true).write(true).open(dir.path().join("ready")).expect("opened");
        // The shell gives it a number.
        let line = format!("exec {} \"$@\" 7<>ready", Program::ours("fcgi-spawn").path().display());
        let mut command = Command::new("/bin/sh");
        command.current_dir(dir.path()).args(["-c", &line, "sh", "-s", "app.sock", "-P", "pid", "--ready-fd", "7"]);
        command.args(if foreground { &["-n"][..] } else { &[] }).arg("--").arg(path_of("hello"));
        let process = Process::start(command.stdin(Stdio::null()));
        let mut line = String::new();
        BufReader::new(ready).read_line(&mut line).expect("read");
        assert_eq!(line, "\n");
        let pid = read(&dir.path().join("pid")).parse().expect("a pid");
        let supervisor = Stray::adopt(pid);
        expect_hello(&Address::Unix(dir.path().join("app.sock")));
        let worker = proc::descendants_named(pid, "hello")[0];
        let fifo = dir.path().join("ready");
        assert!(!proc::descriptors(worker).iter().any(|fd| proc::descriptor(worker, *fd).as_ref() == Some(&fifo)));
        supervisor.signal(Signal::TERM);
        drop(process);
        supervisor.wait_gone();
    }
}

/// From systemd's `LISTEN_FDS` and, as multiwatch has it, on descriptor 0.
#[test]
fn a_socket_may_be_there_already() {
    for foreground in [true, false] {
        for systemd in [true, false] {
            let dir = temp_dir();
            let path = dir.path().join("app.sock");
            let listener = OwnedFd::from(UnixListener::bind(&path).expect("bound"));
            let stdin = Stdio::from(listener.as_fd().try_clone_to_owned().expect("a copy"));
            let program = Program::ours("fcgi-spawn").path().display().to_string();
            let line = match systemd {
                true => format!("export LISTEN_PID=$$ LISTEN_FDS=1; exec {program} \"$@\" 3<&0 0</dev/null"),
                false => format!("exec {program} \"$@\""),
            };
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &line, "sh", "-P"]).arg(dir.path().join("pid"));
            command.args(if foreground { &["-n"][..] } else { &[] }).arg("--").arg(path_of("hello"));
            let process = Process::start(command.stdin(stdin));
            drop(listener);
            let address = Address::Unix(path.clone());
            expect_hello(&address);
            let pid = eventually("a pid", || read(&dir.path().join("pid")).parse().ok());
            let supervisor = Stray::adopt(pid);
            let worker = proc::descendants_named(pid, "hello")[0];
            let passed = proc::environment(worker);
            assert!(!passed.iter().any(|variable| variable.starts_with("LISTEN_")), "{passed:?}");
            supervisor.signal(Signal::TERM);
            drop(process);
            supervisor.wait_gone();
            assert!(path.exists(), "it is not ours");
        }
    }
}

/// A socket that was there, readiness and heartbeats go on when the supervisor's own program is replaced.
#[test]
fn a_socket_on_descriptor_0_and_heartbeats_survive_an_upgrade() {
    survive_an_upgrade("exec \"$0\" \"$@\"");
}

#[test]
fn a_socket_of_systemd_and_heartbeats_survive_an_upgrade() {
    survive_an_upgrade("export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\" 3<&0 0</dev/null");
}

/// `line` starts the launcher, from a shell that has the socket on descriptor 0.
#[track_caller]
fn survive_an_upgrade(line: &str) {
    let dir = temp_dir();
    let path = dir.path().join("app.sock");
    let listener = OwnedFd::from(UnixListener::bind(&path).expect("bound"));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]).arg(Program::ours("fcgi-spawn").path());
    command.args(["-n", "--heartbeat", "3s", "--stop-timeout", "1s"]).args(SHORT_RELOAD).arg("--");
    let mut process = Process::start(command.arg(path_of("slow")).stdin(Stdio::from(listener)));
    let address = Address::Unix(path.clone());
    assert_eq!(ask(&address, "/quick").text(), "done\n");
    let worker = proc::descendants_named(process.pid(), "slow");
    let says = |what: &str| process.stderr().wait_for_line(what, |line| line.contains(what));
    says("ready, ");
    Stray::adopt(process.pid()).leak(Signal::USR2);
    says("has taken over");
    assert_eq!(proc::descendants_named(process.pid(), "slow"), worker);
    let mut hung = address.connect().expect("a connection");
    hung.send(&fcgi_tests::wire::get(1, 0, "/slow"));
    says("has had no heartbeat for 3s");
    Stray::adopt(worker[0]).wait_gone();
    assert_eq!(ask(&address, "/quick").text(), "done\n");
    // Its status is 1 if a worker on a busy machine takes longer than a second to end.
    process.stop();
    assert!(path.exists(), "it is not ours");
}

#[test]
fn a_worker_that_hung_before_an_upgrade_is_missed_after_it() {
    let slow = path_of("slow");
    let options = ["-s", "@/app.sock", "--heartbeat", "3s", "--stop-timeout", "100ms"];
    let launcher = Launcher::start_program(&options, &[slow.to_str().expect("a plain path")]);
    let says = |what: &str| launcher.process.stderr().wait_for_line(what, |line| line.contains(what));
    says("ready, ");
    let worker = proc::descendants_named(launcher.process.pid(), "slow");
    let mut hung = launcher.socket().connect().expect("a connection");
    hung.send(&fcgi_tests::wire::get(1, 0, "/slow"));
    says("the heartbeat stops");
    Stray::adopt(launcher.process.pid()).leak(Signal::USR2);
    says("has taken over");
    says("has had no heartbeat for 3s");
    Stray::adopt(worker[0]).wait_gone();
    assert_eq!(ask(&launcher.socket(), "/quick").text(), "done\n");
}

/// One handler sleeps for ever while others serve: the worker goes on until there is another, and is gone then.
#[test]
fn a_worker_that_hangs_is_replaced_while_the_others_serve() {
    let options = ["-s", "@/app.sock", "--heartbeat", "3s", "--stop-timeout", "1s"];
    let slow = path_of("slow");
    let launcher = Launcher::start_program(&options, &[slow.to_str().expect("a plain path")]);
    let first = eventually("a worker", || proc::descendants_named(launcher.process.pid(), "slow").first().copied());
    let address = launcher.socket();
    eventually("a socket", || address.connect().ok());
    let mut hung = address.connect().expect("a connection");
    hung.send(&fcgi_tests::wire::get(1, 0, "/slow"));
    let mut answers = 0;
    let stderr = launcher.process.stderr();
    while !stderr.text().contains("no heartbeat") {
        assert_eq!(ask(&address, "/quick").text(), "done\n");
        answers += 1;
        assert!(answers < 1_000_000, "it is never missed");
    }
    let says = |what: &str| stderr.lines().iter().any(|line| line.contains(what));
    assert!(says("a handler takes longer than Limits::handler_time") && answers > 10);
    eventually("its end", || (!proc::is_alive(first)).then_some(()));
    assert_eq!(ask(&address, "/quick").text(), "done\n");
    let now = proc::descendants_named(launcher.process.pid(), "slow");
    assert!(now.len() == 1 && now[0] != first, "{now:?}");
}

#[test]
fn nobody_wakes_up_for_nothing() {
    let options = ["-s", "@/app.sock", "-F", "2", "--heartbeat", "3s", "--log", "@/log", "--ready-fd", "7"];
    let line = format!("exec {} \"$@\" 7>ready", Program::ours("fcgi-spawn").path().display());
    let dir = temp_dir();
    let mut command = Command::new("/bin/sh");
    command.current_dir(dir.path()).args(["-c", &line, "sh", "-n"]).args(in_folder(&options, dir.path()));
    let process = Process::start(command.arg("--").arg(path_of("hello")).stdin(Stdio::null()));
    eventually("all to be up", || (read(&dir.path().join("ready")) == "\n").then_some(()));
    expect_hello(&Address::Unix(dir.path().join("app.sock")));
    let pids = [vec![process.pid()], proc::descendants_named(process.pid(), "hello")].concat();
    assert_eq!(pids.len(), 3);
    let switches = || pids.iter().flat_map(|pid| proc::status(*pid, "voluntary_ctxt_switches")).collect::<Vec<_>>();
    let quiet_for = |seconds| {
        let before = switches();
        holds_for(Duration::from_secs(seconds), || switches() == before)
    };
    eventually("rest after the first request", || quiet_for(2).then_some(()));
    assert!(quiet_for(4), "somebody woke up");
}

/// A worker that has nothing to do, or no heart, is not missed: three seconds of silence are nothing.
#[test]
fn who_has_nothing_to_do_is_not_missed() {
    let options = ["-s", "@/app.sock", "-F", "2", "--heartbeat", "3s"];
    let launcher = Launcher::start_with(&options, &["@/program"], |dir| {
        let hello = path_of("hello");
        // One of the two workers is a program that knows nothing of hearts.
        let text = format!("mkdir {0}/first 2>/dev/null && exec sleep 1000; exec {1}", dir.display(), hello.display());
        script(dir, "program", &text);
    });
    let workers = || {
        let pid = launcher.process.pid();
        let found = [proc::descendants_named(pid, "hello"), proc::descendants_named(pid, "sleep")].concat();
        (found.len() == 2).then_some(found)
    };
    let before = eventually("two workers", workers);
    // A kept connection of over a second has the heart beat, and rest when it ends.
    let kept = launcher.socket().connect().expect("a connection");
    let stay_for = |seconds| {
        let stay = holds_for(Duration::from_secs(seconds), || workers().as_ref() == Some(&before));
        assert!(stay, "{before:?} are {:?}: {}", workers(), launcher.process.stderr().text());
    };
    stay_for(2);
    drop(kept);
    stay_for(4);
}
