//! What a server that runs as a process of its own makes of peers that mean it ill, or break. After each of them a fresh
//! request is answered, and the kernel says that nothing is left: no descriptor, no thread over the limit, no memory, and
//! no work.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use common::{CLOSE, Client, END_PARAMS, END_STDIN, KEEP, answer, begin, get, params, record};
use fcgi_app::{Address, Body, Limits, Listener, Request, Response, Server};

const PATIENCE: Duration = Duration::from_secs(30);
const HELLO: &[u8] = b"Status: 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nhi";

fn handle(request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    out.content_type("text/plain");
    match request.param_str("SCRIPT_NAME") {
        Some("/big") => (0..64).try_for_each(|_| out.write_all(&[b'x'; 1 << 20])),
        Some("/echo") => body.copy_to(out).map(drop),
        Some("/count") => {
            let count = body.copy_to(&mut io::sink())?;
            write!(out, "{count} bytes")
        }
        _ => out.write_all(b"hi"),
    }
}

/// The server's side of all the tests: this program, started by them.
#[test]
fn serve() {
    let Ok(limits) = env::var("HOSTILE_LIMITS") else { return };
    fcgi_app::log_to_stderr();
    let numbers: Vec<usize> = limits.split(' ').map(|number| number.parse().expect("a number")).collect();
    let [connections, budget, stack] = numbers[..] else { panic!("three numbers: {limits}") };
    let limits = Limits { connections, budget, stack, ..Limits::default() };
    let listener = Listener::from_stdin().expect("descriptor 0").expect("a listening socket");
    let server = Server::new(listener).expect("a server").limits(limits);
    server.multiplex(env::var_os("HOSTILE_MULTIPLEX").is_some()).serve(handle).expect("served");
}

/// Many clients in a process of their own, which may have more descriptors than the tests.
#[test]
fn hold() {
    let Ok(path) = env::var("HOSTILE_HOLD") else { return };
    let kept: Vec<_> = (0..1000)
        .map(|_| {
            let mut client = Client(UnixStream::connect(&path).expect("it listens"));
            client.send(&get(KEEP, &[]));
            client.receive_answer();
            client
        })
        .collect();
    println!("all are idle");
    io::stdin().read_to_end(&mut Vec::new()).expect("an end");
    drop(kept);
}

/// This program as another process, which runs one of the two tests above, under a limit: `-n 256`.
fn this_program(test: &str, limit: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit {limit} && exec \"$0\" --exact {test} --nocapture --test-threads 1");
    command.args(["-c", &script]).arg(env::current_exe().expect("this program"));
    command
}

/// The most descriptors that a server without connections has: 8, and what this process was started with, since that is
/// handed on.
fn idle_descriptors() -> usize {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let is_handed_on = |number: &OsStr| {
        let info = fs::read_to_string(Path::new("/proc/self/fdinfo").join(number)).unwrap_or_default();
        let flags = info.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        flags.is_some_and(|flags| flags & CLOSE_ON_EXEC == 0)
    };
    let all = fs::read_dir("/proc/self/fdinfo").expect("our descriptors").map(|entry| entry.expect("one").file_name());
    8 + all.filter(|number| !["0", "1", "2"].map(OsStr::new).contains(&&**number) && is_handed_on(number)).count()
}

/// Whether ThreadSanitizer is there, which takes a thread and much memory of its own.
fn is_watched() -> bool {
    env::var_os("TSAN_OPTIONS").is_some()
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What a server is started with.
struct Setup {
    connections: usize,
    budget: usize,
    stack: usize,
    /// What ulimit is told.
    limit: &'static str,
    multiplex: bool,
}

impl Default for Setup {
    fn default() -> Self {
        // The stack is for a build without optimisation.
        Self { connections: 64, budget: 16 << 20, stack: 2 << 20, limit: "-n 256", multiplex: false }
    }
}

/// A server as a process, with what the kernel knew of it before anything bad happened.
struct Victim {
    child: Child,
    path: PathBuf,
    connections: usize,
    descriptors: usize,
    memory: usize,
}

impl Victim {
    fn start() -> Self {
        Self::start_with(Setup::default())
    }

    fn start_with(setup: Setup) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("hostile-{}-{}.sock", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).expect("bound");
        Self::start_on(listener.into(), path, setup)
    }

    fn start_on(listener: OwnedFd, path: PathBuf, setup: Setup) -> Self {
        let Setup { connections, budget, stack, limit, multiplex } = setup;
        let mut command = this_program("serve", limit);
        if multiplex {
            command.env("HOSTILE_MULTIPLEX", "1");
        }
        let child = command
            .env("HOSTILE_LIMITS", format!("{connections} {budget} {stack}"))
            .env("RUST_LOG", "error")
            .env("MALLOC_ARENA_MAX", "1") // glibc would reserve 128 MiB of addresses for each thread
            .stdin(Stdio::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self { child, path, connections, descriptors: 0, memory: 0 }
    }

    /// Looks at it in good health.
    fn ready(mut self) -> Self {
        self.expect_hello();
        self.expect_hello();
        // The connection just served may not be closed yet.
        eventually("an idle server", || self.count("fd") <= idle_descriptors());
        (self.descriptors, self.memory) = (self.count("fd"), self.memory());
        self
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(&self.path).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Client(stream)
    }

    /// Sends what can be sent, then no more; gives what comes back until the end.
    fn provoke(&self, bytes: &[u8]) -> Vec<u8> {
        let mut client = self.connect();
        let _ = client.0.write_all(bytes);
        let _ = client.0.shutdown(Shutdown::Write);
        let mut got = Vec::new();
        match client.0.read_to_end(&mut got) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("no end after {}", bytes.escape_ascii()),
            Ok(_) | Err(_) => got,
        }
    }

    #[track_caller]
    fn expect_hello(&self) {
        let mut client = self.connect();
        client.send(&get(CLOSE, &[]));
        assert_eq!(client.receive_all(), answer(HELLO, 0));
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }

    fn count(&self, folder: &str) -> usize {
        fs::read_dir(self.proc(folder)).expect("it runs").count()
    }

    /// Resident memory, in KiB.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(self.proc("status")).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a number");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }

    /// Processor time used, in ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(self.proc("stat")).expect("it runs");
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
    }

    /// Asserts that it does next to nothing for a second, in which nothing is asked of it: the second is what is measured.
    #[track_caller]
    fn expect_rest(&self) {
        let before = self.ticks();
        thread::sleep(Duration::from_secs(1));
        let spent = self.ticks() - before;
        assert!(spent <= 5, "{spent} ticks of work in a quiet second");
    }

    /// Asserts that whatever was done to it left nothing; gives what it logged.
    #[track_caller]
    fn expect_well(mut self) -> String {
        self.expect_hello();
        eventually("all connections closed", || self.count("fd") <= self.descriptors);
        // The main thread, the test's, and one a connection.
        let threads = self.connections + 2 + usize::from(is_watched());
        eventually("no thread is left over", || self.count("task") <= threads);
        let memory = self.memory();
        // Stacks once used stay, a page or some for each connection there was.
        let allowed = self.memory + 64 * self.connections.min(128) + 1024;
        assert!(memory <= allowed || is_watched(), "{memory} KiB, and {} before", self.memory);
        self.expect_rest();
        self.expect_hello();
        assert!(self.child.try_wait().expect("a child").is_none(), "it lives");
        self.child.kill().expect("it lives");
        let mut log = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
        assert!(!log.contains("panicked"), "{log}");
        log
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.path);
    }
}

fn post(length: &str, body: &[u8]) -> Vec<u8> {
    let pairs = params(&[("SCRIPT_NAME", "/count"), ("CONTENT_LENGTH", length)]);
    let mut request = [&begin(CLOSE)[..], &pairs, END_PARAMS].concat();
    body.chunks(60_000).for_each(|piece| request.extend(record(5, piece)));
    [&request[..], END_STDIN].concat()
}

#[test]
fn garbage() {
    let victim = Victim::start().ready();
    let mut random = 0x9e37_79b9_u32;
    for len in (1..200).map(|n| n * 41 % 9000) {
        let garbage: Vec<u8> = (0..len)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                random as u8
            })
            .collect();
        victim.provoke(&garbage);
        // The same behind what looks right.
        assert_eq!(victim.provoke(&[&begin(KEEP)[..], &[1, 4], &garbage].concat()).get(1), None);
    }
    let http = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
    assert_eq!(victim.provoke(&[&http[..], &[b'x'; 100_000]].concat()), b"");
    assert_eq!(victim.provoke(&[&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], &[7; 505]].concat()), b"");
    victim.expect_well();
}

#[test]
fn every_header_field_wrong() {
    let victim = Victim::start().ready();
    // This one reads its body to the end, however empty.
    let parts = [begin(CLOSE), params(&[("SCRIPT_NAME", "/count")]), END_PARAMS.to_vec(), END_STDIN.to_vec()];
    for (part, field, value) in (0..parts.len())
        .flat_map(|part| (0..8).flat_map(move |field| [0, 1, 2, 127, 128, 255].map(|v| (part, field, v))))
    {
        let mut wrong = parts.clone();
        if wrong[part][field] == value {
            continue;
        }
        wrong[part][field] = value;
        let got = victim.provoke(&wrong.concat());
        let answered = got.windows(9).any(|bytes| bytes == b"Status: 2");
        // A version that is not 1 is the end, the type or id of BEGIN means that no request begins, and padding or
        // content that never comes leaves it incomplete. A reserved byte means nothing.
        let must_not = field == 0 || part == 0 && field < 4 || field == 4 && value > 0;
        assert!(!(answered && must_not), "record {part}, byte {field} = {value}: {}", got.escape_ascii());
        assert!(answered || field != 7, "record {part}, byte {field} = {value}: {}", got.escape_ascii());
    }
    victim.expect_well();
}

#[test]
fn params_that_promise_too_much_or_do_not_end() {
    let victim = Victim::start().ready();
    let pieces = |bytes: &[u8]| bytes.chunks(65_528).flat_map(|piece| record(4, piece)).collect::<Vec<_>>();
    let promises = record(4, b"\xff\xff\xff\xff\xff\xff\xff\xffname");
    let one_over = pieces(&[&b"\x01\x80\x0f\xff\xfaN"[..], &vec![b'v'; 0x000f_fffa], &b"\x01\0x"[..]].concat());
    let endless = pieces(&[&b"\x01\x80\x0f\x42\x40N"[..], &vec![b'v'; 8 << 20]].concat());
    let tiny = pieces(&vec![0; 8 << 20]);
    for (what, params) in [("2^31", promises), ("one byte over", one_over), ("endless", endless), ("tiny", tiny)] {
        let mut client = victim.connect();
        let mut sender = client.0.try_clone().expect("another handle");
        let bytes = [&begin(KEEP)[..], &params].concat();
        let sending = thread::spawn(move || sender.write_all(&bytes));
        let (stdout, _) = client.receive_answer();
        assert!(stdout.starts_with(b"Status: 431 "), "{what}: {}", stdout.escape_ascii());
        sending.join().expect("no panic").expect("what is too much is skipped");
        client.send(&[END_PARAMS, END_STDIN, &get(CLOSE, &[])].concat());
        assert_eq!(client.receive_all(), answer(HELLO, 0), "{what}");
    }
    victim.expect_well();
}

#[test]
fn begin_twice() {
    let victim = Victim::start().ready();
    let parts = [params(&[("SCRIPT_NAME", "/count")]), END_PARAMS.to_vec(), record(5, b"body"), END_STDIN.to_vec()];
    for at in 0..parts.len() {
        let (before, after) = parts.split_at(at);
        let got = victim.provoke(&[&begin(KEEP)[..], &before.concat(), &begin(KEEP), &after.concat()].concat());
        assert_eq!(got, b"", "behind {at} records");
    }
    victim.expect_well();
}

#[test]
fn half_closed_at_every_byte() {
    let victim = Victim::start().ready();
    let whole = get(KEEP, &[("A", "b")]);
    for cut in 0..whole.len() {
        let got = victim.provoke(&whole[..cut]);
        assert!(!got.windows(10).any(|bytes| bytes == b"Status: 20") || cut >= whole.len() - 8, "cut at {cut}");
    }
    assert_eq!(victim.provoke(&whole), answer(HELLO, 0));
    victim.expect_well();
}

#[test]
fn reset_inside_records_and_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("its address");
    let victim = Victim::start_on(listener.into(), PathBuf::new(), Setup::default());
    let connect = || {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream
    };
    let expect_hello = || {
        let mut stream = connect();
        stream.write_all(&get(CLOSE, &[])).expect("sent");
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("an answer");
        assert_eq!(got, answer(HELLO, 0));
    };
    expect_hello();
    let mid_record = [&begin(KEEP)[..], END_PARAMS, &record(5, &[b'x'; 50_000])[..20_000]].concat();
    let echo =
        [&begin(KEEP)[..], &params(&[("SCRIPT_NAME", "/echo")]), END_PARAMS, &record(5, &[b'x'; 50_000])].concat();
    let big = get(KEEP, &[("SCRIPT_NAME", "/big")]);
    for _ in 0..20 {
        for request in [&begin(KEEP)[..12], &mid_record, &echo, &big] {
            let mut stream = connect();
            stream.write_all(request).expect("sent");
            if request == big {
                stream.read_exact(&mut [0; 1000]).expect("it begins");
            }
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
        }
    }
    expect_hello();
    eventually("all connections closed", || victim.count("fd") <= idle_descriptors());
    victim.expect_rest();
    assert!(victim.count("task") <= 66);
    expect_hello();
}

#[test]
fn a_peer_that_never_reads() {
    let victim = Victim::start().ready();
    let mut deaf: Vec<_> = (0..8).map(|_| victim.connect()).collect();
    for client in &mut deaf {
        client.send(&get(KEEP, &[("SCRIPT_NAME", "/big")]));
        client.receive(8);
    }
    for _ in 0..100 {
        victim.expect_hello();
    }
    assert!(victim.memory() < victim.memory + (20 << 10), "nothing of 64 MiB piles up");
    drop(deaf);
    victim.expect_well();
}

#[test]
fn connects_and_closes() {
    let victim = Victim::start().ready();
    for _ in 0..200 {
        drop(victim.connect());
    }
    let all: Vec<_> = (0..60).map(|_| victim.connect()).collect();
    drop(all);
    victim.expect_well();
}

#[test]
fn slow_peers_beside_a_fast_one() {
    let victim = Victim::start().ready();
    let mut slow: Vec<_> = (0..50).map(|_| victim.connect()).collect();
    let request = get(CLOSE, &[("SCRIPT_NAME", "/slow")]);
    let mut fast = victim.connect();
    for &byte in &request {
        for client in &mut slow {
            client.send(&[byte]);
        }
        for _ in 0..5 {
            fast.send(&get(KEEP, &[]));
            assert_eq!(fast.receive_answer().0, HELLO);
        }
    }
    for mut client in slow {
        assert_eq!(client.receive_all(), answer(HELLO, 0), "slow is not wrong");
    }
    drop(fast);
    victim.expect_well();
}

#[test]
fn a_thousand_idle_connections() {
    let victim = Victim::start_with(Setup { connections: 1100, limit: "-n 1200", ..Setup::default() }).ready();
    let mut clients = this_program("hold", "-n 1200")
        .env("HOSTILE_HOLD", &victim.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    // Kept to the end: what else the process says must not fail.
    let mut said = BufReader::new(clients.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("all are idle")), "1,000 answers");
    victim.expect_hello();
    let each = (victim.memory() - victim.memory) / 1000;
    assert!(each <= 40 || is_watched(), "{each} KiB for each idle connection, in a build without optimisation");
    victim.expect_rest();
    drop(clients.stdin.take());
    assert!(clients.wait().expect("a child").success());
    eventually("all connections closed", || victim.count("fd") <= victim.descriptors);
    victim.expect_hello();
}

/// The same with far fewer threads: whoever waits has the place of one who idles, soon.
#[test]
fn a_thousand_idle_connections_over_the_limit() {
    let victim = Victim::start().ready();
    let begun = Instant::now();
    let mut clients = this_program("hold", "-n 1200")
        .env("HOSTILE_HOLD", &victim.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(clients.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("all are idle")), "1,000 answers");
    victim.expect_hello();
    assert!(begun.elapsed() < 2 * PATIENCE, "not a quarter of a second for each");
    drop(clients.stdin.take());
    assert!(clients.wait().expect("a child").success());
    victim.expect_well();
}

#[test]
fn no_descriptors_left() {
    let victim = Victim::start_with(Setup { limit: "-n 32", ..Setup::default() }).ready();
    let mut clients: Vec<_> = (0..60).map(|_| victim.connect()).collect();
    for client in &mut clients {
        client.send(&get(CLOSE, &[]));
    }
    for client in &mut clients {
        assert_eq!(client.receive_all(), answer(HELLO, 0));
    }
    // Kept ones that idle make room for those that wait.
    let mut kept: Vec<_> = (0..60).map(|_| victim.connect()).collect();
    for client in &mut kept {
        client.send(&get(KEEP, &[]));
        assert_eq!(client.receive_answer().0, HELLO);
    }
    victim.expect_hello();
    eventually("no descriptor is left", || victim.count("fd") >= 31);
    victim.expect_rest();
    drop(kept);
    let log = victim.expect_well();
    assert_eq!(log.matches("cannot accept").count(), 1, "{log}");
}

/// Room for the addresses of a few stacks only.
const FEW_STACKS: Setup =
    Setup { connections: 64, budget: 16 << 20, stack: 64 << 20, limit: "-v 400000", multiplex: false };

#[test]
fn no_thread_can_be_started() {
    let victim = Victim::start_with(FEW_STACKS).ready();
    let mut clients: Vec<_> = (0..30).map(|_| victim.connect()).collect();
    for client in &mut clients {
        client.send(&get(CLOSE, &[]));
    }
    for client in &mut clients {
        assert_eq!(client.receive_all(), answer(HELLO, 0));
    }
    // Kept ones that idle make room for those that wait.
    let mut kept: Vec<_> = (0..30).map(|_| victim.connect()).collect();
    for client in &mut kept {
        client.send(&get(KEEP, &[]));
        assert_eq!(client.receive_answer().0, HELLO);
    }
    assert!((2..10).contains(&victim.count("task")), "{} threads", victim.count("task"));
    victim.expect_rest();
    drop(kept);
    let log = victim.expect_well();
    assert_eq!(log.matches("cannot start another thread").count(), 1, "{log}");
}

/// The requests that a thread was found for are answered, the others are refused, and the connection goes on.
#[test]
fn no_thread_can_be_started_for_another_request_of_a_connection() {
    // Those that accept stay, and must leave some stacks for handlers.
    let victim = Victim::start_with(Setup { multiplex: true, connections: 2, ..FEW_STACKS }).ready();
    let mut client = victim.connect();
    let echo = params(&[("SCRIPT_NAME", "/echo")]);
    for id in 1..=20 {
        [&begin(KEEP)[..], &echo, END_PARAMS].into_iter().for_each(|record| client.send(&with_id(id, record)));
    }
    let mut responses = BTreeMap::new();
    receive_responses(&mut client, 10, &mut responses);
    assert!(responses.values().all(|response| response.starts_with(b"Status: 503 ")), "only the echoes wait");
    (1..=20).for_each(|id| client.send(&with_id(id, END_STDIN)));
    receive_responses(&mut client, 10, &mut responses);
    let answered = responses.values().filter(|response| response.starts_with(b"Status: 200 ")).count();
    assert!((1..10).contains(&answered), "{answered} of 20 were answered");
    eventually("a handler's thread is free", || {
        client.send(&get(KEEP, &[]));
        client.receive_answer().0 == HELLO
    });
    drop(client);
    // The main thread, the test's, and two that accept.
    eventually("the threads of its handlers have ended", || victim.count("task") <= 4);
    let log = victim.expect_well();
    assert!(log.contains("cannot start another thread"), "{log}");
}

/// A record for another request.
fn with_id(id: u8, record: &[u8]) -> Vec<u8> {
    let mut record = record.to_vec();
    record[3] = id;
    record
}

/// Reads until so many more requests have ended; what each was answered is put under its id.
fn receive_responses(client: &mut Client, mut ends: usize, responses: &mut BTreeMap<u8, Vec<u8>>) {
    while ends > 0 {
        let header = client.receive(8);
        let content = client.receive(usize::from(header[4]) << 8 | usize::from(header[5]));
        client.receive(usize::from(header[6]));
        match header[1] {
            6 => responses.entry(header[3]).or_default().extend(content),
            3 => ends -= 1,
            _ => {}
        }
    }
}

/// Nothing has been promised yet: the program that calls it is told.
#[test]
fn not_even_a_first_thread() {
    let path = env::temp_dir().join(format!("first-thread-{}.sock", std::process::id()));
    let listener = Listener::bind(&Address::Unix(path.clone())).expect("bound");
    let limits = Limits { stack: usize::MAX >> 2, ..Limits::default() };
    let error = Server::new(listener).expect("a server").limits(limits).serve(handle).expect_err("no thread");
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory, "{error}");
    assert!(!path.exists(), "the socket is removed");
}

#[test]
fn no_memory_left() {
    let victim = Victim::start_with(Setup { budget: 1 << 20, ..Setup::default() }).ready();
    // Half of a pair of 600,000 bytes each: the budget has room for one.
    let half = [&b"\x01\x80\x09\x27\xc0N"[..], &vec![b'v'; 300_000]].concat();
    let half: Vec<u8> = half.chunks(50_000).flat_map(|piece| record(4, piece)).collect();
    let mut hogs: Vec<_> = (0..10).map(|_| victim.connect()).collect();
    let mut refused = 0;
    for hog in &mut hogs {
        hog.send(&[&begin(KEEP)[..], &half].concat());
        hog.0.set_read_timeout(Some(Duration::from_millis(200))).expect("a time limit");
        let mut front = [0; 2];
        refused += usize::from(hog.0.read_exact(&mut front).is_ok());
    }
    assert!(refused >= 8, "{refused} of 10 were refused");
    // Bodies still flow, through the buffers that are there.
    let body = vec![b'b'; 3 << 20];
    for _ in 0..3 {
        let mut client = victim.connect();
        client.send(&post("", &body));
        assert!(client.receive_all().windows(13).any(|bytes| bytes == b"3145728 bytes"));
    }
    drop(hogs);
    victim.expect_well();
}

#[test]
fn lengths_that_are_none_and_lengths_that_lie() {
    let victim = Victim::start().ready();
    let body = vec![b'x'; 100_000];
    let is_ok = |got: &[u8]| got.windows(12).any(|bytes| bytes == b"100000 bytes");
    for promises_nothing in ["", "-1", "18446744073709551616", "1e3", "0x10", " 5", "5 ", "\0"] {
        assert!(is_ok(&victim.provoke(&post(promises_nothing, &body))), "{promises_nothing:?}");
    }
    assert!(is_ok(&victim.provoke(&post("100000", &body))));
    for wrong in ["0", "1", "99999", "100001", "9223372036854775808", "18446744073709551615"] {
        let got = victim.provoke(&post(wrong, &body));
        assert!(got.windows(12).any(|bytes| bytes == b"Status: 500 "), "{wrong}: {}", got.escape_ascii());
    }
    victim.expect_well();
}
