//! The static programs as they are delivered: small in memory, and content with an empty root.
//!
//! `tests/run` builds them and says so with `FCGI_TEST_STATIC`; in its other runs these tests are not counted.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use fcgi_tests::wire::{self, KEEP_CONN};
use fcgi_tests::{
    Address, Connection, Process, Program, Signal, Stray, copy_program, eventually, free_port, needs_root, proc,
    static_only, temp_dir,
};

use crate::app::{App, ask, expect_hello, wait_until_it_listens};
use crate::launcher::launcher;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The formula in docs/limits.md for the memory of a worker, in bytes, without what its handlers take.
const BASE: u64 = 512 * KIB;
const CONNECTION: u64 = 24 * KIB;
const BUDGET: u64 = 16 * MIB;

/// What a cgroup counts beside that for a connection: the kernel's memory of a thread and a socket.
const OF_THE_KERNEL: u64 = 32 * KIB;

/// What a connection takes of the address space: its thread's stack, guard pages and signal stack.
const ADDRESS_SPACE: u64 = 276 * KIB;

fn ordinary() -> Vec<u8> {
    wire::get(1, KEEP_CONN, "/hello")
}

#[track_caller]
fn expect_ordinary(connection: &mut Connection) {
    connection.send(&ordinary());
    assert_eq!(connection.response(1).status(), 200);
}

/// A memory limit for a process, which the kernel keeps by killing it; gone when it is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` where we may not make one.
    fn limit(pid: u32, bytes: u64) -> Option<Self> {
        for (root, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let group = Cgroup(format!("{root}/fcgi-tests-{pid}").into());
            let made = fs::create_dir(&group.0).is_ok()
                && fs::write(group.0.join(limit), bytes.to_string()).is_ok()
                && fs::write(group.0.join("cgroup.procs"), pid.to_string()).is_ok();
            if made {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// 64 connections: a third of them stop in params as large as are allowed, another in a body, the rest are idle, until
/// the budget is used up. Then they go, and come again.
#[test]
fn memory_stays_below_the_ceiling_under_hostile_load() {
    static_only!();
    const CONNECTIONS: usize = 64;
    const BODY: usize = 64 << 10;
    let of_the_handlers = CONNECTIONS as u64 / 3 * BODY as u64;
    let ceiling = BASE + CONNECTIONS as u64 * CONNECTION + BUDGET + of_the_handlers;
    let limit = ceiling + CONNECTIONS as u64 * OF_THE_KERNEL;
    assert!(limit <= 24 * MIB, "more than 24 MiB");

    let dir = temp_dir();
    let mut group: Option<Cgroup> = None; // goes after the process
    let mut app = App::on_descriptor_0("echo", &Address::Unix(dir.path().join("app.sock")));
    let pid = app.process.pid();
    group = group.or(Cgroup::limit(pid, limit));
    let params = wire::stream(wire::PARAMS, 1, &wire::pair(b"X", &vec![b'x'; 1_000_000]), 65_535);
    let all_but_the_end = [&wire::begin(1, wire::RESPONDER, 0), &params[..params.len() - 8]].concat();
    let body = wire::request(1, KEEP_CONN, "/", &[("CONTENT_LENGTH", "300000")], &vec![b'x'; BODY]);
    for _ in 0..3 {
        let mut honest = app.connect();
        let mut held = Vec::new();
        for number in 1..CONNECTIONS {
            let mut connection = app.connect();
            expect_ordinary(&mut connection);
            match number % 3 {
                // Who is refused meanwhile finds that nobody reads any more.
                0 => drop(connection.write_all(&all_but_the_end)),
                1 => connection.send(&body[..body.len() - 8]),
                _ => {}
            }
            expect_ordinary(&mut honest);
            held.push(connection);
        }
        let mut late = app.connect();
        drop(late.write_all(&all_but_the_end));
        assert_eq!(late.response(1).status(), 503, "the budget is not used up");
    }
    let peak: u64 = proc::status(pid, "VmHWM")[0].parse().expect("a number");
    assert!(peak <= ceiling / KIB, "{peak} KiB are more than {}", ceiling / KIB);
    assert_eq!(app.process.stop().code(), Some(0));
    println!("{peak} KiB at most, of {}; in a cgroup: {}", ceiling / KIB, group.is_some());
}

/// Threads that cannot be started leave the others at work.
#[test]
fn an_address_space_of_4_mib_and_what_connections_take_is_enough() {
    static_only!();
    const CONNECTIONS: u64 = 8;
    let limit = (4 * MIB + CONNECTIONS * ADDRESS_SPACE) / KIB;
    let dir = temp_dir();
    let mut shell = Program::installed("sh").expect("there is a shell").command();
    shell.args(["-c", &format!("ulimit -v {limit} && exec \"$0\"")]).arg(Program::ours("hello").path());
    let app = App::on_descriptor_0_as(shell, &Address::Unix(dir.path().join("app.sock")));
    let mut kept: Vec<Connection> = (0..CONNECTIONS).map(|_| app.connect()).collect();
    kept.iter_mut().for_each(expect_ordinary);
    let _waiting: Vec<Connection> = (0..30).map(|_| app.connect()).collect();
    for _ in 0..3 {
        kept.iter_mut().for_each(expect_ordinary);
    }
}

/// No /dev/urandom, no /etc, no /proc: nothing but the program.
#[test]
fn a_worker_needs_nothing_in_its_root() {
    static_only!();
    needs_root!();
    let root = temp_dir();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    copy_program(Program::ours("hello").path(), &root.path().join("hello"));
    let port = free_port();
    let mut command: Command = launcher();
    command.args(["-n", "-a", "127.0.0.1", "-p", &port.to_string(), "-u", "65534", "-g", "65534", "-c"]);
    command.arg(root.path()).args(["--", "/hello"]);
    let _launcher = Process::start(&mut command);
    let address = Address::loopback(port);
    wait_until_it_listens(&address);
    assert_eq!(ask(&address, "/hello").text(), "Hello, World!");
}

/// Linux 3.2 is not even asked for what it has not, so nothing is missed there: who asks here is ended.
#[test]
fn a_supervisor_and_its_workers_ask_for_nothing_newer() {
    static_only!();
    let strictly = |program: &str| {
        let mut command = Program::ours("old-kernel").command();
        command.arg("--strict").arg(Program::ours(program).path());
        command
    };
    let ended = Process::start(strictly("old-kernel").arg("--probe")).wait_exit();
    assert_eq!(ended.signal(), Some(Signal::SYS.as_raw()), "it does not end who asks");

    let dir = temp_dir();
    let socket = Address::Unix(dir.path().join("app.sock"));
    let mut command = strictly("fcgi-spawn");
    command.args(["-n", "-F", "2", "--restart-delay", "100ms", "--heartbeat", "20s", "--log", "stderr"]);
    command.args(crate::launcher::SHORT_RELOAD);
    command.arg("--status").arg(dir.path().join("status")).arg("-P").arg(dir.path().join("pid"));
    command.arg("-s").arg(dir.path().join("app.sock")).arg("--").arg(Program::ours("hello").path());
    let mut supervisor = Process::start(&mut command);
    let pid = supervisor.pid();
    let workers = || {
        eventually("two workers", || {
            let found = proc::descendants_named(pid, "hello");
            (found.len() == 2).then_some(found)
        })
    };
    wait_until_it_listens(&socket);
    let killed = Stray::adopt(workers()[0]);
    killed.signal(Signal::KILL);
    killed.wait_gone();
    expect_hello(&socket);
    workers();
    for (signal, answer) in [(Signal::HUP, "reloaded"), (Signal::USR2, "has taken over")] {
        supervisor.signal(signal);
        supervisor.stderr().wait_for_line(answer, |line| line.contains(answer));
        expect_hello(&socket);
    }
    let mut get = strictly("fcgi-get");
    let mut get = Process::start(get.args([&socket.to_string(), "/hello"]));
    assert_eq!(get.wait_exit().code(), Some(0), "{}", get.stderr().to_end());
    assert_eq!(get.stdout().to_end(), "Hello, World!");
    assert_eq!(supervisor.stop().code(), Some(0));
    let said = supervisor.stderr().text();
    let by_others = said.lines().find(|line| line.contains("killed by") && !line.contains("SIGKILL"));
    assert_eq!(by_others, None);
}
