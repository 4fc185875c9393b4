//! The files of `fcgi-spawn` in a directory that a worker may write to: whatever the worker puts there, no other file is
//! touched and nothing waits.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use fcgi_tests::{Address, Process, Program, Signal, Stray, eventually, free_port, needs_root, proc, temp_dir};

use crate::app::{expect_hello, fails_with_one_line, wait_until_it_listens};
use crate::launcher::{Launcher, in_folder, launcher, path_of, script};

const NOBODY: u32 = 65534;

/// Longer than a stop may take: nothing here ignores SIGTERM.
const STOP: Duration = Duration::from_secs(12);

/// All that can be seen of a file that must not change.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    text: String,
    identity: (u64, u64),
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Root's files, under the names that a supervisor writes; `run`, which is nobody's; and `run/deep`, nobody's too.
struct Canaries(PathBuf);

impl Canaries {
    const NAMES: [&str; 4] = ["app.sock", "app.sock.lock", "pid", "status"];

    fn prepare(dir: &Path) -> Self {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("ours");
        make_run(dir);
        let canaries = dir.join("canaries");
        fs::create_dir(&canaries).expect("made");
        for name in Self::NAMES {
            fs::write(canaries.join(name), format!("precious {name}")).expect("written");
            fs::set_permissions(canaries.join(name), fs::Permissions::from_mode(0o600)).expect("ours");
        }
        Canaries(canaries)
    }

    fn seen(&self) -> Vec<Seen> {
        let see = |name: String| {
            let path = self.0.join(name);
            let now = fs::symlink_metadata(&path).expect("it is there");
            Seen {
                text: fs::read_to_string(&path).expect("a file"),
                identity: (now.dev(), now.ino()),
                mode: now.mode(),
                owner: (now.uid(), now.gid()),
                modified: (now.mtime(), now.mtime_nsec()),
                path,
            }
        };
        names(&self.0).into_iter().map(see).collect()
    }
}

fn make_run(dir: &Path) {
    for name in ["run", "run/deep"] {
        fs::create_dir(dir.join(name)).expect("made");
        chown(dir.join(name), Some(NOBODY), Some(NOBODY)).expect("given away");
    }
}

/// The ways in which a worker replaces a file.
#[derive(Clone, Copy, Debug)]
enum Attack {
    Symlink,
    HardLink,
    Fifo,
    Directory,
    Socket,
    Removal,
}

impl Attack {
    const ALL: [Self; 6] = [Self::Symlink, Self::HardLink, Self::Fifo, Self::Directory, Self::Socket, Self::Removal];

    /// In one step, as the supervisor may write a page at any time.
    fn put_at(self, path: &Path, canary: &Path) {
        let prepared = path.with_extension("prepared");
        match self {
            Attack::Symlink => symlink(canary, &prepared).expect("linked"),
            Attack::HardLink => fs::hard_link(canary, &prepared).expect("linked"),
            Attack::Fifo => make_fifo(&prepared),
            Attack::Socket => drop(UnixListener::bind(&prepared).expect("bound")),
            Attack::Directory => {
                return eventually("a directory", || {
                    let _ = fs::remove_file(path);
                    fs::create_dir(path).ok()
                });
            }
            Attack::Removal => return drop(fs::remove_file(path)),
        }
        if !matches!(self, Attack::HardLink) {
            lchown(&prepared, Some(NOBODY), Some(NOBODY)).expect("given away");
        }
        fs::rename(&prepared, path).expect("moved");
    }
}

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(made.success(), "mkfifo {}", path.display());
}

/// Changes the number of workers, which makes a new page.
fn change(supervisor: &mut Process, more: bool) {
    supervisor.signal(if more { Signal::TTIN } else { Signal::TTOU });
}

/// Whether a page is there that a supervisor wrote.
fn is_page(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| there.is_file() && there.uid() == 0)
        && fs::read_to_string(path).is_ok_and(|text| text.starts_with("# fcgi-spawn pid="))
}

fn supervise(prepare: impl FnOnce(&Path)) -> Launcher {
    let options =
        ["-s", "@/run/deep/app.sock", "-P", "@/run/deep/pid", "--status", "@/run/deep/status", "-u", "nobody"];
    let launcher = Launcher::start_with(&options, &["/bin/sleep", "1000"], prepare);
    eventually("a pid file and a page", || {
        let run = launcher.path("run/deep");
        (run.join("pid").exists() && is_page(&run.join("status"))).then_some(())
    });
    launcher
}

#[test]
fn a_page_is_written_whatever_a_worker_puts_in_its_place() {
    needs_root!();
    let mut canaries = None;
    let mut launcher = supervise(|dir| canaries = Some(Canaries::prepare(dir)));
    let canaries = canaries.expect("prepared");
    let before = canaries.seen();
    let status = launcher.path("run/deep/status");
    // A name that can be guessed.
    let guessed = launcher.path(&format!("run/deep/status.{}", launcher.process.pid()));
    Attack::Symlink.put_at(&guessed, &canaries.0.join("status"));
    let mut more = true;
    for attack in Attack::ALL {
        attack.put_at(&status, &canaries.0.join("status"));
        change(&mut launcher.process, more);
        more = !more;
        match attack {
            Attack::Directory => {
                let says = |line: &str| line.contains("cannot write status file") && line.contains("directory");
                launcher.process.stderr().wait_for_line("why there is no page", says);
                fs::remove_dir(&status).expect("empty");
            }
            _ => eventually(&format!("a page after {attack:?}"), || is_page(&status).then_some(())),
        }
        assert_eq!(canaries.seen(), before, "{attack:?}");
    }
    launcher.process.signal(Signal::TERM);
    assert_eq!(launcher.process.wait_exit_within(STOP).code(), Some(0));
    fs::remove_file(&guessed).expect("it is still there");
    assert_eq!((canaries.seen(), names(&launcher.path("run/deep"))), (before, vec![]));
}

#[test]
fn a_stop_removes_only_what_it_made_and_waits_for_nothing() {
    needs_root!();
    for attack in Attack::ALL {
        let mut canaries = None;
        let mut launcher = supervise(|dir| canaries = Some(Canaries::prepare(dir)));
        let canaries = canaries.expect("prepared");
        let before = canaries.seen();
        for name in ["app.sock", "pid", "status"] {
            attack.put_at(&launcher.path("run/deep").join(name), &canaries.0.join(name));
        }
        launcher.process.signal(Signal::TERM);
        assert_eq!(launcher.process.wait_exit_within(STOP).code(), Some(0), "{attack:?}");
        assert_eq!(canaries.seen(), before, "{attack:?}");
        // The page is written once more on the way, and it removes that one.
        let left = match attack {
            Attack::Removal => vec![],
            Attack::Directory => vec!["app.sock", "pid", "status"],
            _ => vec!["app.sock", "pid"],
        };
        assert_eq!(names(&launcher.path("run/deep")), left, "{attack:?}");
    }
}

#[test]
fn a_directory_that_is_exchanged_leads_nowhere_else() {
    needs_root!();
    let mut canaries = None;
    let mut launcher = supervise(|dir| canaries = Some(Canaries::prepare(dir)));
    let canaries = canaries.expect("prepared");
    let before = canaries.seen();
    let (deep, moved) = (launcher.path("run/deep"), launcher.path("run/moved"));
    fs::rename(&deep, &moved).expect("moved");
    Attack::Symlink.put_at(&deep, &canaries.0);
    fs::remove_file(moved.join("status")).expect("there");
    change(&mut launcher.process, true);
    eventually("a page in the directory that was opened", || is_page(&moved.join("status")).then_some(()));
    launcher.process.signal(Signal::TERM);
    assert_eq!(launcher.process.wait_exit_within(STOP).code(), Some(0));
    assert_eq!((canaries.seen(), names(&moved)), (before, vec![]));
}

/// The next start does not follow it either.
#[test]
fn a_workers_symlink_on_the_way_is_refused_at_the_start() {
    needs_root!();
    let dir = temp_dir();
    let canaries = Canaries::prepare(dir.path());
    let before = canaries.seen();
    fs::remove_dir(dir.path().join("run/deep")).expect("empty");
    Attack::Symlink.put_at(&dir.path().join("run/deep"), &canaries.0);
    for (option, name) in [("-P", "pid"), ("--status", "status"), ("-s", "other.sock")] {
        for mkdir in [&["--mkdir"][..], &[]] {
            let file = format!("@/run/deep/{name}");
            let options = if option == "-s" { vec!["-s", &file] } else { vec!["-s", "@/s", option, &file] };
            let mut command = launcher();
            command.args(in_folder(&options, dir.path())).args(mkdir).args(["-n", "--", "/bin/true"]);
            let (status, line) = fails_with_one_line(&mut command);
            assert!(status == 255 && line.contains("is a symlink of uid 65534 to a directory of uid 0"), "{line}");
        }
    }
    assert_eq!((canaries.seen(), names(dir.path())), (before, vec!["canaries".into(), "run".into()]));
    // Root's own is.
    lchown(dir.path().join("run/deep"), Some(0), Some(0)).expect("given back");
    let mut command = launcher();
    command.args(in_folder(&["-s", "@/run/deep/other.sock", "-n", "--"], dir.path())).arg(path_of("hello"));
    let _process = Process::start(&mut command);
    let address = Address::Unix(canaries.0.join("other.sock"));
    wait_until_it_listens(&address);
    expect_hello(&address);
}

/// A start, changes, a kill and a second start beside a worker that exchanges everything as fast as it can.
#[test]
fn a_worker_that_exchanges_files_all_the_time_hurts_none_of_roots() {
    needs_root!();
    let dir = temp_dir();
    let canaries = Canaries::prepare(dir.path());
    let before = canaries.seen();
    let text = "cd @/run && while :; do
            for name in deep/pid deep/status deep/app.sock deep/app.sock.lock deep/status.$PPID deep/*.fcgi-spawn-*; do
                rm -rf $name; ln -s @/canaries/status $name
                rm -rf $name; ln @/canaries/status $name
                rm -rf $name; mkfifo $name
                rm -rf $name; mkdir $name
                rm -rf $name
            done
            mv deep moved; ln -s @/canaries deep; mv moved/* .; rm deep; mv moved deep
            rm -f pid status app.sock app.sock.lock *.fcgi-spawn-*
            echo >>rounds
        done 2>/dev/null";
    script(dir.path(), "program", &text.replace('@', dir.path().to_str().expect("a plain path")));
    let options = [
        "-s",
        "@/run/deep/app.sock",
        "-P",
        "@/run/deep/pid",
        "--status",
        "@/run/deep/status",
        "-u",
        "nobody",
        "-n",
        "--",
        "@/program",
    ];
    let rounds = || fs::read(dir.path().join("run/rounds")).map_or(0, |rounds| rounds.len());
    for end in [Signal::KILL, Signal::TERM] {
        let mut supervisor = eventually("a start that finds its files", || {
            // A worker that was killed may have left anything.
            fs::remove_dir_all(dir.path().join("run")).expect("removed");
            make_run(dir.path());
            let mut process = Process::start(launcher().args(in_folder(&options, dir.path())));
            let listens = |process: &Process| process.stderr().text().contains("ready, ");
            eventually("a start or an end", || (listens(&process) || process.has_ended()).then_some(()));
            (!process.has_ended()).then_some(process)
        });
        for more in [true, false] {
            let begun = rounds();
            change(&mut supervisor, more);
            eventually("two rounds of the worker", || (rounds() >= begun + 2).then_some(()));
        }
        let workers: Vec<_> = proc::children(supervisor.pid()).into_iter().map(Stray::adopt).collect();
        supervisor.signal(end);
        supervisor.wait_exit_within(STOP);
        workers.iter().for_each(Stray::wait_gone);
        assert_eq!(canaries.seen(), before, "{end:?}");
    }
}

/// As a page has it, a FIFO, a symlink and a device are no pid file and no page, for a start and for a monitor.
#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let dir = temp_dir();
    make_fifo(&dir.path().join("fifo"));
    symlink("missing", dir.path().join("link")).expect("linked");
    for name in ["@/fifo", "@/link", "/dev/null"] {
        for (option, what) in [("-P", "pid file"), ("--status", "status file")] {
            let options = in_folder(&["-s", "@/app.sock", option, name, "-n", "--", "/bin/true"], dir.path());
            let (status, line) = fails_with_one_line(launcher().args(options));
            let name = name.replace('@', dir.path().to_str().expect("a plain path"));
            let want = format!("fcgi-spawn: cannot write {what} '{name}': not a regular file\n");
            assert_eq!((status, line), (255, want));
        }
        let mut check = Process::start(launcher().args(in_folder(&["--check", "--status", name], dir.path())));
        assert_eq!(check.wait_exit().code(), Some(2));
        assert!(check.stdout().to_end().contains("not a regular file"), "{name}");
    }
    assert_eq!(names(dir.path()), ["fifo", "link"]);
}

#[test]
fn a_page_has_the_same_mode_under_every_umask() {
    for (umask, pid_mode) in [("000", 0o644), ("077", 0o600)] {
        let dir = temp_dir();
        let shell = format!("umask {umask}; exec {} \"$@\"", path_of("fcgi-spawn").display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &shell, "sh"]).stdin(Stdio::null());
        let options = ["-s", "@/app.sock", "-P", "@/pid", "--status", "@/status", "-n", "--", "/bin/sleep", "1000"];
        let _process = Process::start(command.args(in_folder(&options, dir.path())));
        for (name, want) in [("status", 0o644), ("pid", pid_mode)] {
            let file = eventually(name, || fs::metadata(dir.path().join(name)).ok());
            assert_eq!(file.mode() & 0o7777, want, "umask {umask}: {name}");
        }
    }
}

/// Whenever it was killed: while it starts, when its temporary files are there, and when all is up.
#[test]
fn what_a_killed_launcher_left_is_removed_by_the_next() {
    let dir = temp_dir();
    let options = ["-s", "@/app.sock", "-P", "@/pid", "--status", "@/status", "-n", "--", "/bin/sleep", "1000"];
    let start = || Process::start(launcher().args(in_folder(&options, dir.path())));
    let kill = |mut process: Process| {
        // Stopped first: a worker forked between the list and the kill would hold the socket for a moment more.
        process.signal(Signal::STOP);
        eventually("a stop", || proc::is_stopped(process.pid()).then_some(()));
        let workers: Vec<_> = proc::descendants(process.pid()).into_iter().map(Stray::adopt).collect();
        process.signal(Signal::KILL);
        process.wait_exit();
        workers.iter().for_each(Stray::wait_gone);
    };
    let has_temporary = || names(dir.path()).iter().any(|name| name.starts_with("pid.fcgi-spawn-"));
    eventually("a kill in time", || {
        let first = start();
        eventually("a pid file", || (has_temporary() || dir.path().join("pid").exists()).then_some(()));
        kill(first);
        has_temporary().then_some(())
    });
    for name in ["status.fcgi-spawn-0123456789abcdef", "app.sock.lock"] {
        fs::write(dir.path().join(name), "").expect("written");
    }
    let second = start();
    let has_pid = |pid: u32| fs::read_to_string(dir.path().join("pid")).is_ok_and(|text| text == pid.to_string());
    eventually("its pid", || has_pid(second.pid()).then_some(()));
    let all = ["app.sock", "pid", "status", "status.lock"];
    eventually("its page", || (names(dir.path()) == all).then_some(()));
    kill(second);
    assert_eq!(names(dir.path()), all);
    let mut third = start();
    eventually("another pid", || has_pid(third.pid()).then_some(()));
    assert_eq!(third.stop().code(), Some(0));
    assert_eq!(names(dir.path()), [""; 0]);
}

/// A temporary file of a launcher that still starts is not a leftover.
#[test]
fn a_start_leaves_the_temporary_files_of_another_alone() {
    let dir = temp_dir();
    let start = |socket: &str| {
        let options = ["-s", socket, "-P", "@/pid", "-n", "--", "/bin/sleep", "1000"];
        Process::start(launcher().args(in_folder(&options, dir.path())))
    };
    let temporary = || names(dir.path()).iter().filter(|name| name.starts_with("pid.fcgi-spawn-")).count();
    let mut first = start("@/first.sock");
    eventually("a pid file", || (temporary() == 1 || dir.path().join("pid").exists()).then_some(()));
    let mut second = start("@/second.sock");
    for process in [&first, &second] {
        let says = |line: &str| line.contains("ready, ");
        process.stderr().wait_for_line("a start", says);
    }
    assert_eq!((first.stop().code(), second.stop().code()), (Some(0), Some(0)));
    assert_eq!(names(dir.path()), [""; 0]);
}

/// On a file system without locks, such as some of NFS, all but the protection against a second start is as usual.
#[test]
fn a_file_system_without_locks_is_no_reason_not_to_start() {
    let dir = temp_dir();
    let options = ["-s", "@/app.sock", "-P", "@/pid", "--status", "@/status", "-n", "--"];
    let mut command = Program::ours("old-kernel").command();
    command.arg("--no-locks").arg(path_of("fcgi-spawn")).args(in_folder(&options, dir.path())).arg(path_of("hello"));
    let mut process = Process::start(&mut command);
    let address = Address::Unix(dir.path().join("app.sock"));
    wait_until_it_listens(&address);
    expect_hello(&address);
    eventually("a pid file", || dir.path().join("pid").exists().then_some(()));
    assert_eq!(process.stop().code(), Some(0));
    let said = process.stderr().to_end();
    assert_eq!(said.matches("app.sock.lock': No locks available; going on without the lock").count(), 1, "{said}");
    assert_eq!(said.matches("No locks available").count(), 1, "{said}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_start_names_the_processes_that_have_the_address() {
    let port = free_port().to_string();
    for options in [&["-s", "@/app.sock"][..], &["-a", "127.0.0.1", "-p", &port]] {
        let mut running = Launcher::start_program(options, &["/bin/sleep", "1000"]);
        running.process.stderr().wait_for_line("a start", |line| line.contains("ready, "));
        let worker = proc::children(running.process.pid())[0];
        let words = in_folder(options, &running.path(""));
        let (status, line) = fails_with_one_line(launcher().args(words).args(["-n", "--", "/bin/true"]));
        assert!(status == 255 && line.contains(": already in use by pids "), "{line}");
        for holder in [format!("{} (fcgi-spawn)", running.process.pid()), format!("{worker} (sleep)")] {
            assert!(line.contains(&holder), "{holder} is not named: {line}");
        }
        assert_eq!(running.process.stop().code(), Some(0));
    }
}

/// A worker that was stopped and lost its launcher has the socket for ever.
#[test]
fn a_start_names_a_stopped_process_that_has_the_socket() {
    let dir = temp_dir();
    let mut once = Process::start(
        launcher().arg("--once").args(in_folder(&["-s", "@/app.sock", "--", "/bin/sleep", "1000"], dir.path())),
    );
    assert_eq!(once.wait_exit().code(), Some(0));
    let pid = once.stdout().to_end().trim().rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid");
    let holder = Stray::adopt(pid);
    eventually("the program", || (proc::name(pid).as_deref() == Some("sleep")).then_some(()));
    holder.signal(Signal::STOP);
    let options = in_folder(&["-s", "@/app.sock", "-n", "--", "/bin/true"], dir.path());
    let (status, line) = fails_with_one_line(launcher().args(options));
    assert!(status == 255 && line.ends_with(&format!(": already in use by pid {pid} (sleep)\n")), "{line}");
}

/// As under runit with a TCP port: there is no socket or pid file in `/run`.
#[test]
fn the_directory_of_a_page_is_made_and_removed() {
    let port = free_port().to_string();
    let options = ["-a", "127.0.0.1", "-p", &port, "--mkdir", "--status", "@/run/app/status"];
    let mut launcher = Launcher::start(&options);
    eventually("a page", || fs::read_to_string(launcher.path("run/app/status")).ok());
    launcher.process.signal(Signal::USR2);
    launcher.process.stderr().wait_for_line("a take-over", |line| line.contains("has taken over"));
    assert_eq!(launcher.process.stop().code(), Some(0));
    assert!(!launcher.path("run").exists(), "the page or its directory is left");
}

/// A socket that we were given is not bound anew, so it stays like this.
#[test]
fn a_listener_that_was_shut_down_is_reported() {
    let dir = temp_dir();
    let listener = UnixListener::bind(dir.path().join("app.sock")).expect("bound");
    let fd = OwnedFd::from(listener);
    let copy = fd.as_fd().try_clone_to_owned().expect("a copy");
    let status = dir.path().join("status");
    let mut command = launcher();
    command.stdin(copy).arg("--status").arg(&status).args(["-n", "--", "/bin/sleep", "1000"]);
    let mut process = Process::start(&mut command);
    let check = || {
        let mut check = Process::start(launcher().arg("--check").arg("--status").arg(&status));
        (check.wait_exit().code(), check.stdout().to_end())
    };
    eventually("a worker that is up", || (check() == (Some(0), "1 of 1 workers up\n".into())).then_some(()));
    assert!(fs::read_to_string(&status).expect("a page").contains(" listener=up "));
    rustix::net::shutdown(&fd, rustix::net::Shutdown::Read).expect("shut down");
    let down = (Some(2), "the listening socket was shut down: 1 of 1 workers up\n".into());
    eventually("a page about it", || (check() == down).then_some(()));
    assert!(fs::read_to_string(&status).expect("a page").contains(" listener=down "));
    assert_eq!(process.stop().code(), Some(0));
}

/// For as long as it stays like this the log has one line a day about it.
#[test]
fn a_listener_that_was_shut_down_is_reported_once() {
    let dir = temp_dir();
    let rounds = dir.path().join("rounds");
    let fd = OwnedFd::from(UnixListener::bind(dir.path().join("app.sock")).expect("bound"));
    let copy = fd.as_fd().try_clone_to_owned().expect("a copy");
    // Exit 0 is followed by a start a second after the last one.
    let shell = format!("echo >>'{}'", rounds.display());
    let mut command = launcher();
    let mut process =
        Process::start(command.stdin(copy).args(["-n", "--restart-delay", "0", "--", "/bin/sh", "-c", &shell]));
    rustix::net::shutdown(&fd, rustix::net::Shutdown::Read).expect("shut down");
    let reports = |text: &str| text.matches("the listening socket was shut down, no client can connect").count();
    process.stderr().wait_for_line("a report", |line| reports(line) == 1);
    let count = || fs::read(&rounds).map_or(0, |rounds| rounds.len());
    let begun = count();
    eventually("two seconds", || (count() >= begun + 3).then_some(()));
    assert_eq!(reports(&process.stderr().text()), 1);
    assert_eq!(process.stop().code(), Some(0));
}

/// A worker shares the listening socket; what it did to it is undone, for the clients and for the workers.
fn a_worker_shuts_the_listener_down(options: &[&str], address: impl Fn(&Launcher) -> Address) {
    let mut launcher = Launcher::start(&[options, &["-F", "2", "--status", "@/status"]].concat());
    let address = address(&launcher);
    wait_until_it_listens(&address);
    expect_hello(&address);
    let before = launcher.workers(2);
    let mode = |launcher: &Launcher| fs::metadata(launcher.path("app.sock")).map(|file| file.mode()).ok();
    let mode_before = mode(&launcher);
    let worker = Pid::from_raw(i32::try_from(before[0]).expect("a pid")).expect("a pid");
    let worker = pidfd_open(worker, PidfdFlags::empty()).expect("a worker");
    let its_socket = pidfd_getfd(&worker, 0, PidfdGetfdFlags::empty()).expect("its socket");
    rustix::net::shutdown(&its_socket, rustix::net::Shutdown::Both).expect("shut down");
    launcher.process.stderr().wait_for_line("a report", |line| {
        line.ends_with("the listening socket was shut down by a worker: bound anew, the workers are replaced")
    });
    eventually("other workers", || {
        let now = launcher.workers(2);
        (!now.iter().any(|pid| before.contains(pid))).then_some(())
    });
    expect_hello(&address);
    assert_eq!(mode(&launcher), mode_before);
    let check = || {
        let mut check =
            Process::start(crate::launcher::launcher().arg("--check").arg("--status").arg(launcher.path("status")));
        (check.wait_exit().code(), check.stdout().to_end())
    };
    eventually("all is well again", || (check() == (Some(0), "2 of 2 workers up\n".into())).then_some(()));
    assert!(fs::read_to_string(launcher.path("status")).expect("a page").contains(" listener=up "));
    assert_eq!(launcher.process.stop().code(), Some(0));
    assert!(!launcher.path("app.sock").exists(), "the socket is left");
}

#[test]
fn a_unix_listener_that_a_worker_shut_down_is_bound_anew() {
    a_worker_shuts_the_listener_down(&["-s", "@/app.sock", "-M", "0600"], Launcher::socket);
}

#[test]
fn a_tcp_listener_that_a_worker_shut_down_is_bound_anew() {
    let port = free_port();
    a_worker_shuts_the_listener_down(&["-a", "127.0.0.1", "-p", &port.to_string()], |_| Address::loopback(port));
}
