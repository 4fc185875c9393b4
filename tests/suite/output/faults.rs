//! Logs that are full, slow, forged or replaced: the supervisor neither waits nor writes elsewhere.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fcgi_tests::{PATIENCE, Process, Signal, Stray, TempDir, eventually, needs_root, proc, temp_dir};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{FLOOD, fifo, lines_with, read, said_by, start};
use crate::launcher::{in_folder, launcher, script};

const NOBODY: u32 = 65534;

/// A supervisor in the foreground whose stderr is no pipe of the harness.
struct Foreground {
    child: Child,
    stray: Stray,
    dir: TempDir,
}

impl Foreground {
    #[track_caller]
    fn start(dir: TempDir, options: &[&str], text: &str, stderr: impl Into<Stdio>, uid: Option<u32>) -> Self {
        Self::start_on(dir, options, text, [Stdio::null(), stderr.into()], uid)
    }

    #[track_caller]
    fn start_on(dir: TempDir, options: &[&str], text: &str, [stdout, stderr]: [Stdio; 2], uid: Option<u32>) -> Self {
        let program = script(dir.path(), "program", &text.replace('@', dir.path().to_str().expect("a plain path")));
        let mut command = launcher();
        command.args(in_folder(&["-s", "@/app.sock", "-P", "@/pid", "-n"], dir.path()));
        command.args(in_folder(options, dir.path())).arg("--").arg(program).stderr(stderr).stdout(stdout);
        if let Some(uid) = uid {
            fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("its owner may");
            command.uid(uid).gid(uid);
        }
        let child = command.spawn().expect("it starts");
        let stray = Stray::adopt(child.id());
        Foreground { child, stray, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[track_caller]
    fn wait_for(&self, name: &str) {
        eventually(name, || self.path(name).exists().then_some(()));
    }

    /// Sends SIGTERM and waits for the end.
    #[track_caller]
    fn stop(&mut self) {
        self.stray.signal(Signal::TERM);
        let status = eventually("the supervisor's end", || self.child.try_wait().expect("a child"));
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        self.stray.signal(Signal::TERM);
        self.stray.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Writes until there is no more room.
fn fill(mut file: &File) {
    while file.write(&[b'x'; 4096]).is_ok() {}
}

fn nonblocking(path: &Path) -> File {
    let flags = PipeFlags::NONBLOCK.bits() | OpenptFlags::NOCTTY.bits();
    OpenOptions::new().read(true).write(true).custom_flags(flags as i32).open(path).expect("opened")
}

const NO_TERMINAL_OF_OURS: i32 = OpenptFlags::NOCTTY.bits() as i32;

/// A terminal's other end, and its path.
fn pseudoterminal() -> (OwnedFd, PathBuf) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudoterminal");
    grantpt(&terminal).expect("it is ours");
    unlockpt(&terminal).expect("unlocked");
    let name = ptsname(&terminal, Vec::new()).expect("its name");
    (terminal, name.to_str().expect("a plain path").into())
}

#[test]
fn full_stderr_without_log_does_not_block_supervisor() {
    let dir = temp_dir();
    fifo(dir.path());
    let full = nonblocking(&dir.path().join("fifo"));
    fill(&full);
    let stderr = OpenOptions::new().read(true).write(true).open(dir.path().join("fifo")).expect("opened");
    let mut supervisor = Foreground::start(dir, &[], "exec sleep 1000", stderr, None);
    supervisor.wait_for("pid");
    supervisor.stop();
}

#[test]
fn full_terminal_does_not_block_supervisor() {
    let (_terminal, path) = pseudoterminal();
    fill(&nonblocking(&path));
    let stderr = OpenOptions::new().write(true).custom_flags(NO_TERMINAL_OF_OURS).open(path).expect("opened");
    let mut supervisor = Foreground::start(temp_dir(), &[], "exec sleep 1000", stderr, None);
    supervisor.wait_for("pid");
    eventually("a supervisor that sleeps", || super::sleeps_on(supervisor.child.id()));
    supervisor.stop();
}

/// The pipe belongs to another user, so that it cannot be opened by its name in /proc.
#[test]
fn workers_have_pipes_where_stderr_cannot_be_reopened() {
    needs_root!();
    let dir = temp_dir();
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let mut supervisor = Foreground::start(dir, &[], FLOOD, writer, Some(NOBODY));
    supervisor.wait_for("done");
    let stderr = |pid| proc::descriptor(pid, 2).expect("stderr is open");
    let worker = proc::children(supervisor.child.id())[0];
    assert_ne!(stderr(worker), stderr(supervisor.child.id()));
    supervisor.stop();
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).expect("read");
    assert!(text.contains(&format!("worker 1 (pid {worker}): line 0, ")), "{}", &text[..1000]);
}

#[test]
fn workers_have_stdout_itself_where_stderr_can_be_reopened() {
    let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let mut supervisor = Foreground::start(temp_dir(), &[], "touch @/up; exec sleep 1000", writer, None);
    supervisor.wait_for("up");
    let worker = proc::children(supervisor.child.id())[0];
    let is_same =
        |fd| proc::descriptor(worker, fd).expect("open") == proc::descriptor(supervisor.child.id(), fd).expect("open");
    assert_eq!([1, 2].map(is_same), [true, false], "the last line of stderr tells why it ends");
    supervisor.stop();
}

const BOTH: &str = "echo out; echo err >&2; exec sleep 1000";

/// Asserts that the one worker has pipes of the supervisor's, not what the supervisor has.
#[track_caller]
fn expect_pipes(supervisor: &Foreground) -> u32 {
    let pid = supervisor.child.id();
    let worker = eventually("a worker", || proc::children(pid).first().copied());
    supervisor.wait_for("pid");
    for number in [1, 2] {
        let its = proc::descriptor(worker, number).expect("it is open");
        assert!(its.to_string_lossy().starts_with("pipe:"), "{number}: {its:?}");
    }
    worker
}

/// What root opened is not theirs to read, to write at any place or to change the flags of.
#[test]
fn workers_of_another_user_have_pipes() {
    needs_root!();
    for options in [["-u", "nobody"], ["-g", "daemon"]] {
        let dir = temp_dir();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("ours");
        let open = |name| File::create(dir.path().join(name)).expect("created");
        let ours = [open("stdout").into(), open("stderr").into()];
        let mut supervisor = Foreground::start_on(dir, &options, BOTH, ours, None);
        let worker = expect_pipes(&supervisor);
        for said in ["out", "err"] {
            let line = format!("worker 1 (pid {worker}): {said}\n");
            eventually(&line, || read(&supervisor.path("stderr")).contains(&line).then_some(()));
        }
        supervisor.stop();
        assert_eq!(read(&supervisor.path("stdout")), "");
    }
}

/// What a terminal's user types could be read from its stdout and stderr.
#[test]
fn workers_on_a_terminal_have_pipes() {
    for on_terminal in [[true, false], [false, true], [true, true]] {
        let (terminal, path) = pseudoterminal();
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let ours = on_terminal.map(|is_terminal| match is_terminal {
            true => {
                let mut both = OpenOptions::new();
                both.read(true).write(true).custom_flags(NO_TERMINAL_OF_OURS).open(&path).expect("opened").into()
            }
            false => Stdio::from(writer.try_clone().expect("a copy")),
        });
        drop(writer);
        let mut supervisor = Foreground::start_on(temp_dir(), &[], BOTH, ours, None);
        let worker = expect_pipes(&supervisor);
        let mut stderr = if on_terminal[1] { File::from(terminal) } else { File::from(reader) };
        let (mut text, mut buffer) = (String::new(), [0; 1000]);
        let lines = ["out", "err"].map(|said| format!("worker 1 (pid {worker}): {said}"));
        // A stdout that is no terminal is theirs.
        let lines = if on_terminal[0] { &lines[..] } else { &lines[1..] };
        while !lines.iter().all(|line| text.contains(line)) {
            let len = stderr.read(&mut buffer).expect("more comes");
            assert!(len > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
        supervisor.stop();
    }
}

/// The listener's queue is full: a connect that waits would wait for ever.
#[test]
fn stream_syslog_that_does_not_accept_is_not_waited_for() {
    let dir = temp_dir();
    let address = SocketAddrUnix::new(dir.path().join("devlog")).expect("a short path");
    let daemon = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    bind(&daemon, &address).expect("bound");
    listen(&daemon, 0).expect("listening");
    let mut fillers = Vec::new();
    loop {
        let filler = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None);
        let filler = filler.expect("a socket");
        if connect(&filler, &address).is_err() {
            break;
        }
        fillers.push(filler);
    }
    let options = ["--log", "syslog:@/devlog"];
    let mut supervisor = Foreground::start(dir, &options, "echo out; exec sleep 1000", Stdio::null(), None);
    supervisor.wait_for("pid");
    let worker = proc::children(supervisor.child.id())[0];

    // It accepts at last, and nothing is missing.
    let daemon = UnixListener::from(daemon);
    for _ in &fillers {
        daemon.accept().expect("a filler");
    }
    let (mut connection, _) = daemon.accept().expect("the supervisor");
    connection.set_read_timeout(Some(PATIENCE)).expect("set");
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    let wanted = format!("worker 1 (pid {worker}): out\0");
    while !String::from_utf8_lossy(&got).contains(&wanted) {
        let count = connection.read(&mut buffer).expect("a message in time");
        assert_ne!(count, 0, "the supervisor closed the connection");
        got.extend_from_slice(&buffer[..count]);
    }
    let started = format!("worker 1 (pid {worker}) started\0");
    assert!(String::from_utf8_lossy(&got).contains(&started));
    supervisor.stop();
}

#[test]
fn stop_does_not_wait_for_syslog() {
    let dir = temp_dir();
    let daemon = UnixDatagram::bind(dir.path().join("devlog")).expect("bound");
    let mut supervisor =
        Foreground::start(dir, &["--log", "syslog:@/devlog"], &FLOOD.replace(">&2", ""), Stdio::null(), None);
    supervisor.wait_for("done");
    supervisor.stop();
    drop(daemon);
}

/// What a hostile worker writes, for printf, and how it is shown.
const FORGED: &str = r"\033]0;title\007 \000 <0>kernel: oh\r a\tb \302\233 \351 \177";
const SHOWN: &str = r"\x1b]0;title\x07 \x00 <0>kernel: oh\x0d a	b \xc2\x9b é \x7f";

#[test]
fn control_characters_are_escaped_in_files() {
    let text = format!("printf '{FORGED}\\n' >&2; echo next; exec sleep 1000");
    let launcher = start(&["--log", "@/log"], &text);
    let text = eventually("both lines", || {
        let bytes = fs::read(launcher.path("log")).ok()?;
        // The one byte of Latin-1 stays.
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        text.contains(": next\n").then_some(text)
    });
    assert!(text.contains(&format!("): {SHOWN}\n")), "{text:?}");
    assert!(text.chars().all(|c| matches!(c, '\t' | '\n') || !c.is_control()), "{text:?}");
}

#[test]
fn control_characters_cannot_forge_syslog_messages() {
    let dir = temp_dir();
    let daemon = UnixListener::bind(dir.path().join("devlog")).expect("bound");
    let text = r"printf '\000<0>kernel: forged\000<0>kernel: forged\n'; echo last; exec sleep 1000";
    let _supervisor = Foreground::start(dir, &["--log", "syslog:@/devlog"], text, Stdio::null(), None);
    let (mut connection, _) = daemon.accept().expect("the supervisor");
    connection.set_read_timeout(Some(PATIENCE)).expect("set");
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    while !got.ends_with(b": last\0") {
        let count = connection.read(&mut buffer).expect("a message in time");
        assert_ne!(count, 0, "the supervisor closed the connection");
        got.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8(got).expect("text");
    let forged: Vec<_> = text.split('\0').filter(|message| message.starts_with("<0>")).collect();
    assert!(forged.is_empty(), "{text:?}");
    assert!(text.contains(r": \x00<0>kernel: forged\x00<0>kernel: forged"), "{text:?}");
}

/// A file system of two pages.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Self {
        fs::create_dir(&path).expect("a directory");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=8k,mode=755", "tmpfs"]).arg(&path);
        assert!(command.status().is_ok_and(|status| status.success()), "cannot mount a tmpfs");
        SmallDisk(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn after_a_full_disk_a_line_starts_on_its_own() {
    needs_root!();
    let dir = temp_dir();
    let disk = SmallDisk::mount(dir.path().join("disk"));
    let filler = disk.0.join("filler");
    fs::write(&filler, [b'x'; 4096]).expect("room for a page");
    let text = "line=$(head -c 1000 /dev/zero | tr '\\0' x)
        for i in 1 2 3 4 5 6; do echo \"$i $line\"; done; touch @/full
        while [ ! -e @/on ]; do sleep 0.01; done; echo again; exec sleep 1000";
    let mut supervisor = Foreground::start(dir, &["--log", "@/disk/log"], text, Stdio::null(), None);
    supervisor.wait_for("full");
    let log = supervisor.path("disk/log");
    eventually("a full disk", || (fs::metadata(&log).ok()?.len() == 4096).then_some(()));
    fs::remove_file(filler).expect("removed");
    fs::write(supervisor.path("on"), "").expect("written");
    let text = eventually("the line after it", || Some(read(&log)).filter(|text| text.contains(": again\n")));
    let torn: Vec<_> = text.lines().filter(|line| line.contains("xxx") && line.len() < 1000).collect();
    assert_eq!(torn.len(), 1, "one line was cut by the full disk: {text}");
    let dated = |line: &&str| line.get(10..11) == Some("T") && line.get(19..20) == Some("Z");
    assert!(text.lines().all(|line| dated(&line)), "{text}");
    let notice = text.lines().find(|line| line.ends_with(" lost: No space left on device")).expect("a notice");
    assert!(!notice.contains("xxx"), "{text}");
    supervisor.stop();
    // Before the directory that it is in is removed.
    drop(disk);
}

/// The kernel ends a process that exceeds it, unless that handles SIGXFSZ.
#[test]
fn log_at_the_file_size_limit_does_not_end_the_supervisor() {
    let dir = temp_dir();
    let text = "line=$(head -c 1000 /dev/zero | tr '\\0' x)
        for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo \"$i $line\"; done; echo >@/full
        while [ ! -e @/on ]; do sleep 0.01; done; echo again; exec sleep 1000";
    let program = script(dir.path(), "program", &text.replace('@', dir.path().to_str().expect("a plain path")));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -f 16; exec \"$@\"", "sh"]).arg(launcher().get_program());
    command.args(in_folder(&["-s", "@/app.sock", "--log", "@/log", "-n", "--"], dir.path())).arg(program);
    let mut process = Process::start(&mut command);
    eventually("the worker's lines", || dir.path().join("full").exists().then_some(()));
    let limits = read(Path::new(&format!("/proc/{}/limits", process.pid())));
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max file size")).expect("a limit");
    // Of 512 bytes or 1 KiB for each of the 16, as the shell has it.
    let limit: u64 = limit.split_ascii_whitespace().next().and_then(|limit| limit.parse().ok()).expect("a number");
    let log = dir.path().join("log");
    eventually("a full log", || (fs::metadata(&log).ok()?.len() == limit).then_some(()));
    // Lines that it reads after that would fill the log again.
    eventually("a supervisor that has read all", || super::sleeps_on(process.pid()));
    // A log that is truncated has room again.
    File::create(&log).expect("truncated");
    fs::write(dir.path().join("on"), "").expect("written");
    eventually("the line after it", || read(&log).contains(": again\n").then_some(()));
    assert!(read(&log).contains(" lost: File too large\n"));
    assert_eq!(process.stop().code(), Some(0));
}

#[test]
fn sigusr1_refuses_what_is_no_file_of_its_own() {
    let mut launcher = start(&["--log", "@/log"], "exec sleep 1000");
    let (log, old, canary) = (launcher.path("log"), launcher.path("old"), launcher.path("canary"));
    lines_with(&log, "started");
    fs::rename(&log, &old).expect("renamed");
    fs::write(&canary, "untouched").expect("written");
    let cases: [(&str, &dyn Fn()); 4] = [
        ("it is a symbolic link", &|| symlink(&canary, &log).expect("linked")),
        ("it has 2 links", &|| fs::hard_link(&canary, &log).expect("linked")),
        ("it is not a regular file", &|| {
            assert!(Command::new("mkfifo").arg(&log).status().is_ok_and(|status| status.success()));
        }),
        ("it is a directory", &|| fs::create_dir(&log).expect("a directory")),
    ];
    for (reason, place) in cases {
        place();
        launcher.process.signal(Signal::USR1);
        let wanted = format!("SIGUSR1: cannot reopen log '{}': {reason}; the old file stays open", log.display());
        lines_with(&old, &wanted);
        if fs::remove_file(&log).is_err() {
            fs::remove_dir(&log).expect("removed");
        }
    }
    // With a reader a FIFO can be opened.
    assert!(Command::new("mkfifo").arg(&log).status().is_ok_and(|status| status.success()));
    let mut reader = nonblocking(&log);
    let before = read(&old).lines().count();
    launcher.process.signal(Signal::USR1);
    eventually("another line", || (read(&old).lines().count() > before).then_some(()));
    assert_eq!(reader.read(&mut [0; 1]).expect_err("nothing is in it").kind(), ErrorKind::WouldBlock);
    fs::remove_file(&log).expect("removed");

    launcher.process.signal(Signal::USR1);
    lines_with(&log, "SIGUSR1: log reopened");
    assert_eq!(read(&canary), "untouched");
    assert_eq!(launcher.process.stop().code(), Some(0));
}

/// The directory is the one opened at the start, whatever has its name later.
#[test]
fn sigusr1_stays_in_the_directory_of_the_start() {
    let dir = temp_dir();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("logs")).expect("a directory");
    fs::create_dir(path("other")).expect("a directory");
    let program = script(dir.path(), "program", "exec sleep 1000");
    let mut command = launcher();
    let options = ["-s", "@/app.sock", "--log", "@/logs/log", "-n", "--"];
    let mut process = Process::start(command.args(in_folder(&options, dir.path())).arg(program));
    lines_with(&path("logs/log"), "started");
    fs::rename(path("logs"), path("moved")).expect("renamed");
    symlink(path("other"), path("logs")).expect("linked");
    fs::rename(path("moved/log"), path("moved/log.1")).expect("renamed");
    process.signal(Signal::USR1);
    lines_with(&path("moved/log"), "SIGUSR1");
    assert!(!path("other/log").exists());
}

/// An administrator may have the log elsewhere.
#[test]
fn log_behind_a_symlink_is_reopened_where_it_is() {
    let dir = temp_dir();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("data")).expect("a directory");
    symlink("data/app.log", path("log")).expect("linked");
    let program = script(dir.path(), "program", "exec sleep 1000");
    let mut command = launcher();
    let options = ["-s", "@/app.sock", "--log", "@/log", "-n", "--"];
    let mut process = Process::start(command.args(in_folder(&options, dir.path())).arg(program));
    lines_with(&path("data/app.log"), "started");
    fs::rename(path("data/app.log"), path("data/app.log.1")).expect("renamed");
    process.signal(Signal::USR1);
    lines_with(&path("data/app.log"), "SIGUSR1");
}

#[test]
fn log_has_mode_0640_whatever_the_umask() {
    for umask in ["0", "077"] {
        let dir = temp_dir();
        let program = script(dir.path(), "program", "exec sleep 1000");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask $1; shift; exec \"$@\"", "sh", umask]).arg(launcher().get_program());
        command.args(in_folder(&["-s", "@/app.sock", "--log", "@/log", "-n", "--"], dir.path())).arg(program);
        let mut process = Process::start(&mut command);
        let log = dir.path().join("log");
        let check = |wanted: &str| {
            lines_with(&log, wanted);
            let mode = fs::metadata(&log).expect("the log").mode() & 0o777;
            assert_eq!(mode, 0o640, "umask {umask}: {mode:o}");
        };
        check("started");
        fs::remove_file(&log).expect("removed");
        process.signal(Signal::USR1);
        check("SIGUSR1");
    }
}

/// A socket has no name by which it could be opened, and a pipe of root's cannot be by another user.
#[test]
fn dev_stderr_is_our_own_descriptor() {
    for name in ["/dev/stderr", "/proc/self/fd/2", "/dev/fd/2", "@/link"] {
        let dir = temp_dir();
        symlink("/dev/stderr", dir.path().join("link")).expect("linked");
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_read_timeout(Some(PATIENCE)).expect("set");
        let theirs: OwnedFd = theirs.into();
        let mut supervisor = Foreground::start(dir, &["--log", name], "echo out; exec sleep 1000", theirs, None);
        supervisor.wait_for("pid");
        supervisor.stop();
        let mut text = String::new();
        ours.read_to_string(&mut text).expect("read");
        assert!(text.contains("fcgi-spawn: SIGTERM") && text.contains("): out\n"), "{name}: {text}");
    }
}

#[test]
fn log_in_another_users_pipe_needs_no_name() {
    needs_root!();
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let options = ["--log", "/dev/stderr"];
    let mut supervisor = Foreground::start(temp_dir(), &options, "echo out; exec sleep 1000", writer, Some(NOBODY));
    supervisor.wait_for("pid");
    supervisor.stop();
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).expect("read");
    assert!(text.contains("fcgi-spawn: SIGTERM") && text.contains("): out\n"), "{text}");
}

/// In the background, too, where stdout is another and what else was inherited is closed.
#[test]
fn log_on_an_inherited_descriptor_lasts_in_the_background() {
    for descriptor in ["1", "7"] {
        let dir = temp_dir();
        let program = script(dir.path(), "program", "echo out; exec sleep 1000");
        let mut command = Command::new("/bin/sh");
        let run = format!("exec \"$@\" {descriptor}>>\"$LOG\"");
        command.args(["-c", &run, "sh"]).arg(launcher().get_program()).env("LOG", dir.path().join("log"));
        let log = format!("/dev/fd/{descriptor}");
        command.args(in_folder(&["-s", "@/app.sock", "-P", "@/pid", "--log", &log, "--"], dir.path())).arg(program);
        let mut process = Process::start(&mut command);
        assert_eq!(process.wait_exit().code(), Some(0), "{}", process.stderr().text());
        let daemon = Stray::adopt(read(&dir.path().join("pid")).parse().expect("a pid"));
        eventually("the worker's line", || read(&dir.path().join("log")).contains("): out\n").then_some(()));
        daemon.signal(Signal::TERM);
        daemon.wait_gone();
        assert!(read(&dir.path().join("log")).contains("SIGTERM"));
    }
}

#[test]
fn fatal_error_reaches_the_log() {
    let dir = temp_dir();
    let _other = UnixListener::bind(dir.path().join("app.sock")).expect("bound");
    for (program, wanted) in [("/bin/sleep", "app.sock"), ("/nonexistent/app", "cannot execute '/nonexistent/app'")] {
        let log = dir.path().join("log");
        let socket = if program == "/bin/sleep" { "@/app.sock" } else { "@/free.sock" };
        for foreground in [&["-n"][..], &[]] {
            let _ = fs::remove_file(&log);
            let mut command = launcher();
            command.args(in_folder(&["-s", socket, "--log", "@/log"], dir.path())).args(foreground);
            command.args(["--", program, "1000"]);
            let mut process = Process::start(&mut command);
            assert_ne!(process.wait_exit().code(), Some(0));
            let stderr = process.stderr().to_end();
            let last = stderr.lines().last().expect("a line");
            assert!(last.contains(wanted), "{stderr}");
            let lines = lines_with(&log, wanted);
            assert_eq!(lines.iter().filter(|line| *line == last).count(), 1, "{lines:?}");
        }
    }
}

/// With the log on stderr it is there once.
#[test]
fn fatal_error_is_reported_once_on_stderr() {
    let dir = temp_dir();
    let _other = UnixListener::bind(dir.path().join("app.sock")).expect("bound");
    for options in [&["--log", "stderr"][..], &[]] {
        let mut command = launcher();
        command.args(in_folder(&["-s", "@/app.sock", "-n"], dir.path())).args(options);
        let (_, line) = crate::app::fails_with_one_line(command.args(["--", "/bin/sleep", "1000"]));
        assert!(line.contains("app.sock"), "{line}");
    }
}

/// A live worker keeps its streams, however many others have left processes that hold theirs.
#[test]
fn live_worker_keeps_its_streams_when_others_leave_orphans() {
    // The first one waits; each other one leaves a process of its own behind, and its successor does, too.
    let text = "if mkdir @/first 2>/dev/null; then
            while [ ! -e @/on ]; do sleep 0.05; done; echo alive; echo alive >&2; exec sleep 1000
        fi
        setsid sh -c 'while [ -d @/first ]; do sleep 1; done' & echo >>@/lives; exit 1";
    let dir = temp_dir();
    let options = ["--log", "@/log", "-F", "30", "--restart-delay", "1s", "--backoff-after", "1000"];
    let mut supervisor = Foreground::start(dir, &options, text, Stdio::null(), None);
    let lives = supervisor.path("lives");
    eventually("lives of others", || (read(&lives).lines().count() > 150).then_some(()));
    fs::write(supervisor.path("on"), "").expect("written");
    let log = supervisor.path("log");
    let number = eventually("both lines", || {
        let text = read(&log);
        let said: Vec<_> = text.lines().filter(|line| line.ends_with("): alive")).collect();
        (said.len() == 2).then(|| said[0].split_once("worker ").expect("a worker").1.to_owned())
    });
    let number = number.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
    let lines = lines_with(&log, "alive");
    let pid = said_by(number, &lines).last().expect("its lines").0;
    assert!(proc::is_alive(pid));
    // The kept streams; of each worker its streams, its channel and, while it starts, its report; and some of our own.
    let open = proc::descriptors(supervisor.child.id()).len();
    assert!(open < 64 + 4 * 30 + 30, "{open}");
    supervisor.stop();
    // Those that were left behind end within a second.
    fs::remove_dir(supervisor.path("first")).expect("removed");
}

/// A supervisor that is idle though its log is full.
#[test]
fn full_log_lets_the_supervisor_sleep() {
    let dir = temp_dir();
    fifo(dir.path());
    let full = nonblocking(&dir.path().join("fifo"));
    fill(&full);
    let mut supervisor = Foreground::start(dir, &["--log", "@/fifo"], "echo out; exec sleep 1000", Stdio::null(), None);
    supervisor.wait_for("pid");
    eventually("a supervisor that sleeps", || super::sleeps_on(supervisor.child.id()));
    supervisor.stop();
    drop(full);
}
