//! As mod_fastcgi starts an application and talks to it. It is in no current distribution, so this does what it did.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use fcgi_tests::{
    Address, Connection, Process, Program, Signal, TempDir, eventually_within, once_is_enough, proc, temp_dir, wire,
};

use super::scenario::{digest, pattern};

const AUTHORIZER: u16 = 2;

/// An application with nothing but a socket on descriptor 0 and the error log on 1 and 2: no environment, and SIGPIPE
/// ignored.
struct Worker {
    process: Process,
    listener: OwnedFd,
    address: Address,
    log: PathBuf,
    _dir: TempDir,
}

impl Worker {
    fn start() -> Self {
        let dir = temp_dir();
        let (listener, address) = Address::Unix(dir.path().join("app.sock")).listen().expect("a socket");
        let log = dir.path().join("error.log");
        File::create(&log).expect("an error log");
        Worker { process: spawn(&listener, &log), listener, address, log, _dir: dir }
    }

    /// Starts another on the same socket, when one has ended.
    fn start_again(&mut self) {
        self.process = spawn(&self.listener, &self.log);
    }

    fn connect(&self) -> Connection {
        self.address.connect().expect("a connection")
    }

    /// The answer to a request, on a connection of its own.
    #[track_caller]
    fn ask(&self, role: u16, page: &str, query: &str, body: Option<&[u8]>) -> wire::Response {
        let mut connection = self.connect();
        connection.send(&request(role, page, query, body));
        let response = connection.response(1);
        connection.expect_closed();
        response
    }

    fn get(&self, page: &str, query: &str) -> wire::Response {
        self.ask(wire::RESPONDER, page, query, Some(b""))
    }

    /// What the worker says of its start, by the first word of the line.
    fn told_of_start(&self) -> BTreeMap<String, Vec<String>> {
        let mut told = BTreeMap::<String, Vec<String>>::new();
        for line in self.get("/process", "").text().lines() {
            let (word, rest) = line.split_once(' ').expect("two words");
            told.entry(word.to_owned()).or_default().push(rest.to_owned());
        }
        told
    }
}

fn spawn(listener: &OwnedFd, log: &Path) -> Process {
    let listener = listener.try_clone().expect("a second handle");
    // The shell, since Rust's Command gives its children the default SIGPIPE.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' PIPE; exec /usr/bin/env -i \"$0\" >>\"$1\" 2>&1"]);
    command.arg(Program::ours("test-app").path()).arg(log).env_clear().stdin(Stdio::from(listener));
    Process::start(&mut command)
}

/// The bytes of mod_fastcgi: id 1, no flags, a record for each param, no padding, at most 8184 bytes of body in a record.
/// An Authorizer is told the length of a body that it does not get, not even the end of it.
fn request(role: u16, page: &str, query: &str, body: Option<&[u8]>) -> Vec<u8> {
    let length = body.map_or(25, <[u8]>::len).to_string();
    let mut bytes = wire::begin(1, role, 0);
    for (name, value) in [
        ("REQUEST_METHOD", if length == "0" { "GET" } else { "POST" }),
        ("SCRIPT_NAME", page),
        ("QUERY_STRING", query),
        ("CONTENT_LENGTH", &length),
        ("CONTENT_TYPE", ""),
        ("SERVER_SOFTWARE", "Apache/2.2"),
        ("HTTP_X_LONG", &"x".repeat(3000)),
    ] {
        bytes.extend(wire::record(wire::PARAMS, 1, &wire::pair(name.as_bytes(), value.as_bytes())));
    }
    bytes.extend(wire::record(wire::PARAMS, 1, b""));
    if let Some(body) = body {
        bytes.extend(wire::stream(wire::STDIN, 1, body, 8184));
    }
    bytes
}

/// How long mod_fastcgi waits after its one SIGTERM.
const PATIENCE_OF_MOD_FASTCGI: Duration = Duration::from_secs(2);

mod spawned {
    use super::*;

    #[test]
    fn get() {
        once_is_enough!();
        let worker = Worker::start();
        let text = worker.get("/params", "a=1").text();
        for line in
            ["REQUEST_METHOD=GET", "QUERY_STRING=a=1", "CONTENT_TYPE=", &format!("HTTP_X_LONG={}", "x".repeat(3000))]
        {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn post_1_mib() {
        once_is_enough!();
        let worker = Worker::start();
        let body = pattern(1 << 20);
        assert_eq!(worker.ask(wire::RESPONDER, "/digest", "", Some(&body)).text(), digest(1 << 20));
    }

    #[test]
    fn parallel_clients() {
        once_is_enough!();
        let worker = Worker::start();
        thread::scope(|scope| {
            for number in 0..50 {
                let worker = &worker;
                scope.spawn(move || {
                    let body = pattern(1 + 1000 * number);
                    let answer = worker.ask(wire::RESPONDER, "/echo", "", Some(&body));
                    assert!(answer.body() == body, "{} bytes", answer.body().len());
                });
            }
        });
    }

    #[test]
    fn stderr_in_the_error_log() {
        once_is_enough!();
        let worker = Worker::start();
        let answer = worker.get("/log", "text=the-application-says");
        assert_eq!((&answer.text()[..], &answer.stderr[..]), ("logged", &b"the-application-says\n"[..]));
    }

    #[test]
    fn authorizer_grants() {
        once_is_enough!();
        let answer = Worker::start().ask(AUTHORIZER, "/page", "who=ann", None);
        assert_eq!((answer.status(), answer.header("Variable-JUDGED").as_deref()), (200, Some("ann")));
        // A Status that is not there would be a yes, too; this one is said.
        assert!(answer.header("Status").is_some());
    }

    #[test]
    fn authorizer_denies() {
        once_is_enough!();
        let answer = Worker::start().ask(AUTHORIZER, "/page", "who=bob", None);
        assert_eq!((answer.status(), &answer.text()[..]), (403, "not you"));
    }

    #[test]
    fn authorizer_that_panics_denies() {
        once_is_enough!();
        assert_eq!(Worker::start().ask(AUTHORIZER, "/page", "who=panic", None).status(), 500);
    }

    #[test]
    fn worker_environment() {
        once_is_enough!();
        assert_eq!(Worker::start().told_of_start().get("variable"), None);
    }

    #[test]
    fn worker_descriptors() {
        once_is_enough!();
        let worker = Worker::start();
        let descriptors = &worker.told_of_start()["descriptor"];
        let log = worker.log.display().to_string();
        assert!(descriptors[0].starts_with("0 socket:"), "{descriptors:?}");
        assert_eq!(descriptors[1..3], [format!("1 {log}"), format!("2 {log}")]);
    }

    /// One that crashed is started again on the same socket.
    #[test]
    fn worker_crash() {
        once_is_enough!();
        let mut worker = Worker::start();
        let mut connection = worker.connect();
        connection.send(&request(wire::RESPONDER, "/crash", "", Some(b"")));
        connection.expect_closed();
        assert!(!worker.process.wait_exit().success());
        worker.start_again();
        assert_eq!(worker.get("/hello", "").text(), "Hello, World!");
    }

    /// A request that is under way is answered, then the process ends, with status 0, before mod_fastcgi gives it up. The
    /// socket's file is mod_fastcgi's.
    #[test]
    fn worker_end() {
        once_is_enough!();
        let mut worker = Worker::start();
        let (journal, signpost) = (worker.log.with_file_name("journal"), worker.log.with_file_name("signpost"));
        fs::write(&journal, "").expect("a journal");
        let mut connection = worker.connect();
        let query = format!("journal={}&until={}", journal.display(), signpost.display());
        connection.send(&request(wire::RESPONDER, "/hold", &query, Some(b"")));
        fcgi_tests::eventually("a request under way", || {
            fs::read_to_string(&journal).is_ok_and(|text| text.contains("hold: began")).then_some(())
        });
        worker.process.signal(Signal::TERM);
        fs::write(&signpost, "").expect("a signpost");
        assert_eq!(connection.response(1).text(), "held");
        let pid = worker.process.pid();
        eventually_within(PATIENCE_OF_MOD_FASTCGI, "the end of the worker", || (!proc::is_alive(pid)).then_some(()));
        assert!(worker.process.wait_exit().success());
        let Address::Unix(path) = &worker.address else { unreachable!("it was asked for") };
        assert!(path.exists());
        assert_eq!(fs::read_to_string(&worker.log).expect("the log"), "");
    }
}
