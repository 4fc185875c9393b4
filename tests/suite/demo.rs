//! `demo`: the whole toolkit in one command, and nothing left of it afterwards.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use fcgi_tests::{HttpClient, Process, Program, Signal, Stray, TempDir, eventually, eventually_within, proc, temp_dir};

/// A running demo, in a process group of its own as a shell would start it, with its own temporary folder.
pub(crate) struct Demo {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    temporary: TempDir,
}

impl Demo {
    fn start() -> Self {
        Self::start_with(&mut Program::ours("demo").command())
    }

    /// Starts it with a command that has everything but the process group and the temporary folder.
    pub(crate) fn start_with(command: &mut Command) -> Self {
        let temporary = temp_dir();
        let process = Process::start(command.env("TMPDIR", temporary.path()).process_group(0));
        let line = process.stdout().wait_for_line("the address", |line| address_in(line).is_some());
        let address = address_in(&line).expect("it was there a moment ago");
        Demo { process, address, temporary }
    }

    pub(crate) fn client(&self) -> HttpClient {
        HttpClient::new(self.address)
    }

    /// Its workers, as `pgrep -x hello` would find them.
    #[track_caller]
    pub(crate) fn workers(&self) -> Vec<u32> {
        eventually("two workers named hello", || {
            let found = proc::descendants_named(self.process.pid(), "hello");
            (found.len() == 2).then_some(found)
        })
    }

    /// Ends it by `end` and looks for what is left. Not for its port, which another test's demo may have taken by
    /// now: where no process is left, nobody of ours listens.
    #[track_caller]
    pub(crate) fn leaves_nothing(mut self, end: impl FnOnce(&mut Process)) {
        self.workers();
        let all: Vec<Stray> = proc::descendants(self.process.pid()).into_iter().map(Stray::adopt).collect();
        end(&mut self.process);
        let status = self.process.wait_exit();
        let alive: Vec<u32> = all.iter().filter(|process| process.is_alive()).map(Stray::pid).collect();
        assert_eq!(alive, [0; 0], "processes are left ({status})");
        let left: Vec<_> = fs::read_dir(self.temporary.path()).expect("a folder").collect();
        assert!(left.is_empty(), "files are left: {left:?}");
        assert_eq!(status.code(), Some(0));
    }
}

/// The address in a line such as `Open http://127.0.0.1:8080/ in a browser`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let rest = line.split_once("http://")?.1;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "[].:".contains(c))).unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ':']).parse().ok()
}

#[test]
fn it_serves_a_page_and_hello() {
    let demo = Demo::start();
    let page = demo.client().get("/").expect("a page");
    assert_eq!(page.status(), 200);
    assert!(page.header("Content-Type").is_some_and(|value| value.starts_with("text/html")), "{page:?}");
    let workers = demo.workers();
    assert!(workers.iter().any(|pid| page.text().contains(&pid.to_string())), "no pid of {workers:?}: {}", page.text());
    let hello = demo.client().get("/hello").expect("an answer");
    assert_eq!((hello.status(), &hello.text()[..]), (200, "Hello, World!"));
}

#[test]
fn a_killed_worker_is_back_within_2_seconds() {
    let demo = Demo::start();
    let client = demo.client();
    for _ in 0..3 {
        let before = demo.workers();
        Stray::adopt(before[0]).signal(Signal::KILL);
        eventually_within(Duration::from_secs(2), "an answer after a worker was killed", || {
            client.get("/hello").ok().filter(|answer| answer.text() == "Hello, World!")
        });
        eventually("another worker", || (!demo.workers().contains(&before[0])).then_some(()));
    }
}

#[test]
fn killing_all_workers_is_survived_as_well() {
    let demo = Demo::start();
    for pid in demo.workers() {
        Stray::adopt(pid).signal(Signal::KILL);
    }
    eventually_within(Duration::from_secs(2), "an answer after all workers were killed", || {
        demo.client().get("/hello").ok().filter(|answer| answer.text() == "Hello, World!")
    });
}

/// A terminal sends SIGINT to the whole group, so that the workers and the gateway get it as well.
#[test]
fn ctrl_c_leaves_nothing() {
    Demo::start().leaves_nothing(|process| process.signal_group(Signal::INT));
}

#[test]
fn sigterm_leaves_nothing() {
    Demo::start().leaves_nothing(|process| process.signal(Signal::TERM));
}

#[test]
fn ctrl_c_while_a_client_is_connected_leaves_nothing() {
    let demo = Demo::start();
    let _idle = TcpStream::connect(demo.address).expect("a connection");
    let client = demo.client();
    client.get("/hello").expect("an answer");
    demo.leaves_nothing(|process| process.signal_group(Signal::INT));
}

#[test]
fn a_taken_port_is_stepped_over() {
    // Held by us, or by whoever else has it: it is taken either way.
    let _taken = TcpListener::bind("127.0.0.1:8080");
    let (one, other) = (Demo::start(), Demo::start());
    assert!(one.address.port() > 8080 && other.address.port() > 8080, "{} {}", one.address, other.address);
    assert_ne!(one.address, other.address);
    for demo in [&one, &other] {
        assert_eq!(demo.client().get("/hello").expect("an answer").text(), "Hello, World!");
    }
}

#[test]
fn the_address_is_found_in_any_sentence() {
    let expected = Some("127.0.0.1:8080".parse().expect("an address"));
    for line in [
        "http://127.0.0.1:8080",
        "Open http://127.0.0.1:8080/ now",
        "At http://127.0.0.1:8080.",
        "(http://127.0.0.1:8080)",
    ] {
        assert_eq!(address_in(line), expected, "{line}");
    }
    assert_eq!(address_in("no address"), None);
}
