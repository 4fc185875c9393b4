//! The ways an application is started, and what it finds then.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use fcgi_tests::{Address, Process, Program, Signal, TempDir, free_port, is_root, proc, skip, temp_dir, wire};

use crate::app::{App, expect_hello, fails_with_one_line, wait_until_it_listens};

/// `sh -c SCRIPT hello`: `exec "$0"` in the script becomes our program.
fn shell(script: &str) -> Command {
    shell_for("hello", script)
}

fn shell_for(program: &str, script: &str) -> Command {
    let command = Program::ours(program).command();
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(script).arg(command.get_program()).env_clear().stdin(Stdio::null());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

/// An address in a folder of its own, which has to outlive it.
fn socket() -> (Address, TempDir) {
    let dir = temp_dir();
    (Address::Unix(dir.path().join("app.sock")), dir)
}

/// Starts a script whose descriptor 0 is a listening socket.
fn with_listener(script: &str) -> (App, TempDir) {
    let (address, dir) = socket();
    let (listener, address) = address.listen().expect("the test can listen");
    let process = Process::start(shell(script).stdin(Stdio::from(listener)));
    (App { process, address }, dir)
}

/// What the process has as descriptors 0, 1 and 2.
fn standard_descriptors(process: &Process) -> [bool; 3] {
    [0, 1, 2].map(|fd| proc::descriptor(process.pid(), fd).is_some_and(|file| file == Path::new("/dev/null")))
}

/// A connection must not become descriptor 1 or 2, into which log lines would go.
#[test]
fn closed_descriptors_become_dev_null() {
    let (address, _dir) = socket();
    let mut command = shell("exec \"$0\" 0<&- 1>&- 2>&-");
    let app = App { process: Process::start(command.env("FCGI_BIND", address.to_string())), address };
    wait_until_it_listens(&app.address);
    expect_hello(&app.address);
    assert_eq!(standard_descriptors(&app.process), [true; 3]);

    let (app, _dir) = with_listener("exec \"$0\" 1>&- 2>&-");
    expect_hello(&app.address);
    assert_eq!(standard_descriptors(&app.process), [false, true, true]);
}

/// lighttpd does not ignore it for us, and a peer that goes away is no reason to end.
#[test]
fn sigpipe_is_ignored() {
    let (app, _dir) = with_listener("exec \"$0\"");
    expect_hello(&app.address);
    let status = fs::read_to_string(format!("/proc/{}/status", app.process.pid())).expect("it runs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a line of signals");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    assert_eq!(ignored >> (13 - 1) & 1, 1, "{ignored:x}");
}

/// As mod_fastcgi starts it.
#[test]
fn nothing_in_the_environment_and_a_folder_that_is_gone() {
    let (address, _dir) = socket();
    let (listener, address) = address.listen().expect("the test can listen");
    let gone = temp_dir();
    let mut command = shell("rmdir \"$PWD\" && unset PWD OLDPWD && exec \"$0\"");
    command.env_clear().current_dir(gone.path()).stdin(Stdio::from(listener));
    let app = App { process: Process::start(&mut command), address };
    expect_hello(&app.address);
    assert_eq!(fs::read(format!("/proc/{}/environ", app.process.pid())).expect("it runs"), b"");
    assert!(!gone.path().exists());
}

#[test]
fn systemd_passes_descriptor_3() {
    let (app, _dir) = with_listener("exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\"");
    expect_hello(&app.address);
}

#[test]
fn systemd_starts_it_at_the_first_connection() {
    let Some(activate) = Program::installed("systemd-socket-activate") else {
        skip!("systemd-socket-activate is not installed");
    };
    let mut addresses = vec![Address::loopback(free_port())];
    let (unix, _dir) = socket();
    addresses.push(unix);
    for address in addresses {
        let listen = match &address {
            Address::Unix(path) => path.display().to_string(),
            Address::Tcp(address) => address.to_string(),
        };
        let mut command = activate.command();
        command.arg("-l").arg(listen).arg(Program::ours("hello").path());
        let app = App { process: Process::start(&mut command), address };
        app.process.stderr().wait_for_line("that it listens", |line| line.contains("Listening on"));
        expect_hello(&app.address);
        expect_hello(&app.address);
        assert_eq!(proc::name(app.process.pid()).as_deref(), Some("hello"), "it became the application");
    }
}

/// What comes first of the ways that are there, and what is not meant for this process.
#[test]
fn descriptor_0_before_systemd_before_fcgi_bind() {
    let (first, _dir1) = socket();
    let (second, _dir2) = socket();
    let (listener, first) = first.listen().expect("the test can listen");
    // The socket is descriptor 0 and 3; FCGI_BIND says another.
    let both = "exec 3<&0; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\"";
    let mut command = shell(both);
    command.env("FCGI_BIND", second.to_string()).stdin(Stdio::from(listener));
    let app = App { process: Process::start(&mut command), address: first };
    expect_hello(&app.address);
    assert!(second.connect().is_err(), "nobody listens there");

    for variables in ["LISTEN_FDS=1 LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDS=0 LISTEN_PID=$$"] {
        let (address, _dir) = socket();
        let mut command = shell(&format!("export {variables}; exec \"$0\""));
        let app = App { process: Process::start(command.env("FCGI_BIND", address.to_string())), address };
        wait_until_it_listens(&app.address);
        expect_hello(&app.address);
    }
}

#[test]
fn what_systemd_must_not_pass_is_one_line() {
    let dir = temp_dir();
    let (listener, _) = Address::Unix(dir.path().join("listens")).listen().expect("the test can listen");
    let datagram = UnixDatagram::bind(dir.path().join("datagrams")).expect("the test can bind");
    let cases = [
        (Stdio::from(listener), "2", "LISTEN_FDS=2"),
        (Stdio::null(), "x", "is no number"),
        (Stdio::null(), "-1", "is no number"),
        (Stdio::null(), "1", "no listening stream socket"),
        (Stdio::from(std::os::fd::OwnedFd::from(datagram)), "1", "no listening stream socket"),
    ];
    for (descriptor_3, count, want) in cases {
        let script = format!("exec 3<&0 0</dev/null; export LISTEN_FDS={count} LISTEN_PID=$$; exec \"$0\"");
        let (status, line) = fails_with_one_line(shell(&script).stdin(descriptor_3));
        assert!(status == 1 && line.contains(want), "LISTEN_FDS={count}: {status} {line}");
    }
    let script = "exec 3<&-; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\"";
    let (status, line) = fails_with_one_line(&mut shell(script));
    assert!(status == 1 && line.contains("Bad file descriptor"), "{status} {line}");
}

/// What systemd says is for this process, not for those that it starts: as a CGI program it shows its environment.
#[test]
fn the_variables_of_systemd_are_taken_out_of_the_environment() {
    for (pid, kept) in [("$$", false), ("1", true)] {
        let script = format!("export LISTEN_FDS=0 LISTEN_FDNAMES=x LISTEN_PID={pid} REQUEST_METHOD=GET; exec \"$0\"");
        let mut process = Process::start(&mut shell_for("echo", &script));
        assert_eq!(process.wait_exit().code(), Some(0));
        let environment = process.stdout().to_end();
        assert!(environment.contains("REQUEST_METHOD=GET\n"), "{environment}");
        assert_eq!(environment.matches("LISTEN_").count(), if kept { 3 } else { 0 }, "{environment}");
    }
}

/// More than the 5 s of a program that says nothing; and what is no time is one line.
#[test]
fn a_stop_waits_as_long_as_the_administrator_says() {
    let (address, _dir) = socket();
    let mut command = shell_for("echo", "exec \"$0\"");
    command.env("FCGI_BIND", address.to_string()).env("FCGI_STOP_TIMEOUT", "1m");
    let mut app = App { process: Process::start(&mut command), address };
    wait_until_it_listens(&app.address);
    let mut connection = app.connect();
    connection.send(&wire::get(1, 1, "/"));
    assert_eq!(connection.response(1).status(), 200);
    connection.send(&wire::request(1, 0, "/", &[("ECHO_SLEEP_MS", "6000")], b""));
    app.process.signal(Signal::TERM);
    assert_eq!(connection.response(1).status(), 200);
    assert_eq!(app.process.wait_exit().code(), Some(0));

    for text in ["", "1.5s", "-1", "1d", "25h"] {
        let (address, _dir) = socket();
        let mut command = shell("exec \"$0\"");
        command.env("FCGI_BIND", address.to_string()).env("FCGI_STOP_TIMEOUT", text);
        let (status, line) = fails_with_one_line(&mut command);
        assert!(status == 1 && line.contains(&format!("FCGI_STOP_TIMEOUT='{text}': a time is")), "{status} {line}");
    }
}

#[test]
fn the_mode_and_the_group_of_its_socket() {
    for (mode, umask, want) in [(None, "077", 0o660), (Some("666"), "022", 0o666), (Some("600"), "000", 0o600)] {
        let (address, dir) = socket();
        let mut command = shell(&format!("umask {umask}; exec \"$0\""));
        command.env("FCGI_BIND", address.to_string());
        command.envs(mode.map(|mode| ("FCGI_BIND_MODE", mode)));
        if is_root() {
            command.env("FCGI_BIND_GROUP", "daemon");
        }
        let app = App { process: Process::start(&mut command), address };
        wait_until_it_listens(&app.address);
        let info = fs::metadata(dir.path().join("app.sock")).expect("a socket");
        assert_eq!(info.mode() & 0o777, want, "{mode:?}");
        assert!(info.gid() == 1 || !is_root(), "{}", info.gid());
    }
    for (name, value) in [("FCGI_BIND_MODE", "rw"), ("FCGI_BIND_MODE", "1777"), ("FCGI_BIND_GROUP", "no such group")] {
        let (address, _dir) = socket();
        let mut command = shell("exec \"$0\"");
        command.env("FCGI_BIND", address.to_string()).env(name, value);
        let (status, line) = fails_with_one_line(&mut command);
        assert!(status == 1 && line.contains(&format!("{name}='{value}': ")), "{status} {line}");
    }
}
