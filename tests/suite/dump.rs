//! `fcgi-dump`, with what real web servers sent, and between two ends that talk.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use fcgi_tests::wire::{self, KEEP_CONN};
use fcgi_tests::{Address, Connection, Process, Program, TempDir, free_port, repository, temp_dir};
use serde_json::{Map, Value, json};

use crate::app::{App, connect, expect_hello, fails_with_one_line};

const POST: &str = "perl-client-post.bin";

fn recording(name: &str) -> PathBuf {
    repository().join("tests/fixtures/wire").join(name)
}

fn dump(arguments: &[&str]) -> Command {
    let mut command = Program::ours("fcgi-dump").command();
    command.args(arguments);
    command
}

/// What a command writes to standard output and to standard error, and its exit status.
#[track_caller]
fn run(command: &mut Command) -> (String, String, i32) {
    let mut process = Process::start(command);
    let (out, err) = (process.stdout().to_end(), process.stderr().to_end());
    (out, err, process.wait_exit().code().expect("an exit status"))
}

// ---------------------------------------------------------------------------------------------- recordings

#[test]
fn every_recording_is_shown_as_in_the_index() {
    let index = fs::read(recording("index.json")).expect("an index");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let captures = index["files"].as_array().expect("a list of recordings");
    assert!(captures.len() > 40);
    for want in captures {
        let path = recording(want["file"].as_str().expect("a name"));
        let (out, err, status) = run(dump(&["--json"]).arg(&path));
        let input = File::open(&path).expect("a recording");
        assert_eq!(run(dump(&["--json"]).stdin(input)).0, out, "{path:?} as standard input");

        let mut lines: Vec<Value> = out.lines().map(|line| line.parse().expect("a line of JSON")).collect();
        let last = lines.pop().expect("a last line");
        let management = want["management"].as_array().expect("a list").len();
        let tail = &want["truncated_tail_bytes"];
        let wanted = json!({"valid": want["valid"], "truncated_tail_bytes": tail, "management": management});
        assert_eq!(last, wanted, "{path:?}");
        if want["valid"] == true {
            assert_eq!(lines, shown_members(&want["requests"]), "{path:?}");
            assert_eq!((&err[..], status), ("", 0), "{path:?}");
        } else {
            // The index has no requests of a broken one, we show what came of them.
            let [request] = &lines[..] else { panic!("{path:?}: {lines:?}") };
            assert_eq!((&request["id"], &request["params_complete"]), (&json!(1), &json!(false)), "{path:?}");
            assert_eq!(request["params"].as_array().expect("a list").len(), 4, "{path:?}");
            assert_eq!(
                err,
                format!("fcgi-dump: '{}' is broken at byte 7110: FastCGI version 49 instead of 1\n", path.display())
            );
            assert_eq!(status, 1, "{path:?}");
        }
    }
}

/// Of the requests in the index what `--json` shows.
fn shown_members(requests: &Value) -> Vec<Value> {
    let names = ["id", "role", "flags", "params_complete", "params"];
    let more = ["stdin_length", "stdin_sha256", "stdin_complete", "aborted"];
    let shown = |request: &Value| {
        let members = names.iter().chain(&more).map(|&name| (name.to_owned(), request[name].clone()));
        Value::Object(members.collect::<Map<_, _>>())
    };
    requests.as_array().expect("a list").iter().map(shown).collect()
}

#[test]
fn json_is_spelt_in_one_way() {
    let want = concat!(
        r#"{"id":1,"role":1,"flags":0,"params_complete":true,"params":[["SERVER_NAME","example.test"],"#,
        r#"["QUERY_STRING","foo=bar"],["CONTENT_LENGTH","25"],["REQUEST_METHOD","POST"],["BIG","bbbbbbbbbb"]],"#,
        r#""stdin_length":25,"stdin_sha256":"c28e601ce25724907a7af09c08052e5dcf5b7a249dc719e4b90d86f51007c33c","#,
        r#""stdin_complete":true,"aborted":false}"#,
        "\n",
        r#"{"valid":true,"truncated_tail_bytes":0,"management":0}"#,
        "\n",
    );
    assert_eq!(run(dump(&["--json"]).arg(recording(POST))), (want.into(), String::new(), 0));
}

#[test]
fn text_has_a_line_for_a_record_and_one_for_a_param() {
    let want = "\
#1 > id 1   BEGIN_REQUEST         8 bytes, 0 padding: Responder, flags 0
#1 > id 1   PARAMS               99 bytes, 0 padding
        SERVER_NAME=example.test
        QUERY_STRING=foo=bar
        CONTENT_LENGTH=25
        REQUEST_METHOD=POST
        BIG=bbbbbbbbbb
#1 > id 1   PARAMS                0 bytes, 0 padding: end of stream
#1 > id 1   STDIN                25 bytes, 0 padding: \"xxxxxxxxxxxxxxxxxxxxxxxxx\"
#1 > id 1   STDIN                 0 bytes, 0 padding: end of stream
#1 > end
";
    assert_eq!(run(dump(&[]).arg(recording(POST))), (want.into(), String::new(), 0));
}

#[test]
fn params_are_shown_as_they_came() {
    let (out, _, _) = run(dump(&[]).arg(recording("nginx-tcp-odd.bin")));
    // What applications must not see, what is no UTF-8, what is, what is empty, and what came twice.
    for param in ["HTTP_PROXY=http://127.0.0.1/", r"HTTP_X_LATIN=caf\xe9", "HTTP_X_UTF8=café", "HTTP_X_EMPTY="] {
        assert!(out.lines().any(|line| line.trim_start() == param), "no {param} in\n{out}");
    }
    assert!(out.contains("\n        HTTP_X_DUP=one\n        HTTP_X_DUP=two\n"), "{out}");
}

/// A recording that ends anywhere is whole up to its last whole record.
#[test]
fn a_cut_recording_has_a_tail() {
    let whole = [wire::begin(1, 1, 0), wire::stream(wire::PARAMS, 1, &wire::pair(b"A", b"b"), 9)].concat();
    let body = wire::padded_record(wire::STDIN, 1, b"body", 4);
    let folder = temp_dir();
    for tail in [1, 7, 8, 10, 12, 15] {
        let path = folder.path().join("cut");
        fs::write(&path, [&whole, &body[..tail]].concat()).expect("a file");
        let (out, err, status) = run(dump(&["--json"]).arg(&path));
        assert!(out.contains(r#""params_complete":true,"params":[["A","b"]],"stdin_length":0,"#), "{out}");
        assert!(
            out.ends_with(&format!("{{\"valid\":true,\"truncated_tail_bytes\":{tail},\"management\":0}}\n")),
            "{out}"
        );
        assert_eq!((&err[..], status), ("", 0));
    }
}

#[test]
fn what_cannot_be_done_is_one_line_and_status_2() {
    for (arguments, want) in [
        (&["/nowhere/x"][..], "cannot open '/nowhere/x': No such file or directory"),
        (&["/"], "cannot read '/': Is a directory"),
        (&["a", "b"], "unexpected argument \"b\" (see --help)"),
        (&["--bogus"], "invalid option '--bogus' (see --help)"),
        (&["--listen", "127.0.0.1:1"], "which application? --listen goes with --connect"),
        (&["--connect", "/a"], "--connect '/a': expected HOST:PORT, [V6]:PORT, unix:/path or unix:@name"),
    ] {
        assert_eq!(fails_with_one_line(&mut dump(arguments)), (2, format!("fcgi-dump: {want}\n")), "{arguments:?}");
    }
}

#[test]
fn the_help_names_the_options() {
    let (out, err, status) = run(&mut dump(&["--help"]));
    for option in ["--json", "--listen ADDRESS", "--connect ADDRESS", "--help", "FILE"] {
        assert!(out.contains(option), "{option}");
    }
    assert_eq!((&err[..], status), ("", 0));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let (input, mut ours) = UnixStream::pair().expect("a pair of sockets");
    let (reader, output) = UnixStream::pair().expect("a pair of sockets");
    let mut child = dump(&["-"])
        .stdin(OwnedFd::from(input))
        .stdout(OwnedFd::from(output))
        .stderr(Stdio::piped())
        .spawn()
        .expect("fcgi-dump starts");
    drop(reader);
    ours.write_all(&wire::get(1, 0, "/")).expect("fcgi-dump reads");
    drop(ours);
    let mut err = String::new();
    child.stderr.take().expect("is piped").read_to_string(&mut err).expect("text");
    assert_eq!((child.wait().expect("a child").code(), &err[..]), (Some(0), ""));
}

// --------------------------------------------------------------------------------------------------- proxy

/// `fcgi-dump` between a test and `application`.
struct Proxy {
    process: Process,
    address: Address,
}

impl Proxy {
    #[track_caller]
    fn start(arguments: &[&str], listen: &Address, application: &Address) -> Self {
        let (listen, connect) = (listen.to_string(), application.to_string());
        let process = Process::start(dump(arguments).args(["--listen", &listen, "--connect", &connect]));
        let line = process.stderr().wait_for_line("where it listens", |line| line.contains("listening on "));
        let address = match line.rsplit(' ').next().and_then(|address| address.parse().ok()) {
            Some(address) => Address::Tcp(address),
            None => Address::Unix(listen.trim_start_matches("unix:").into()),
        };
        Proxy { process, address }
    }

    /// One on a unix socket in front of an application in the hands of the test.
    #[track_caller]
    fn with_listener(arguments: &[&str]) -> (Self, UnixListener, TempDir) {
        let folder = temp_dir();
        let path = folder.path().join("app.sock");
        let listener = UnixListener::bind(&path).expect("a listener");
        let proxy = Self::start(arguments, &Address::Unix(folder.path().join("front.sock")), &Address::Unix(path));
        (proxy, listener, folder)
    }

    #[track_caller]
    fn wait_for(&self, line: &str) {
        self.process.stdout().wait_for_line(line, |shown| shown == line);
    }
}

fn accept(listener: &UnixListener) -> Connection {
    listener.accept().expect("the proxy connects").0.into()
}

fn read(connection: &mut Connection, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    connection.read_exact(&mut bytes).expect("so many bytes");
    bytes
}

#[test]
fn it_stands_between_server_and_application() {
    let folder = temp_dir();
    let over_unix = App::on_descriptor_0("hello", &Address::Unix(folder.path().join("app.sock")));
    let over_tcp = App::on_descriptor_0("hello", &Address::loopback(0));
    let front = Address::Unix(folder.path().join("front.sock"));
    let front_without_file = Address::abstract_socket("dump-front");
    let without_file = App::on_descriptor_0("hello", &Address::abstract_socket("dump-app"));
    for (listen, app) in [(Address::loopback(0), &over_unix), (front, &over_tcp), (front_without_file, &without_file)] {
        let proxy = Proxy::start(&[], &listen, &app.address);
        expect_hello(&proxy.address);
        proxy.wait_for("#1 > id 1   BEGIN_REQUEST         8 bytes, 0 padding: Responder, flags 0");
        proxy.wait_for("        SCRIPT_NAME=/hello");
        proxy.wait_for("#1 < id 1   END_REQUEST           8 bytes, 0 padding: REQUEST_COMPLETE, exit status 0");
        proxy.wait_for("#1 < end");
        proxy.wait_for("#1 > end");
        expect_hello(&proxy.address);
        proxy.wait_for("#2 < end");
    }
}

#[test]
fn json_of_a_live_connection_comes_with_each_answer() {
    let app = App::on_descriptor_0("hello", &Address::loopback(0));
    let proxy = Proxy::start(&["--json"], &Address::loopback(0), &app.address);
    let mut connection = connect(&proxy.address);
    for path in ["/hello", "/echo"] {
        connection.send(&wire::request(1, KEEP_CONN, path, &[], b"body"));
        connection.response(1);
        let line = proxy.process.stdout().wait_for_line(path, |line| line.contains(path));
        assert!(line.starts_with(r#"{"id":1,"role":1,"flags":1,"params_complete":true,"params":[["#), "{line}");
        assert!(line.contains(r#""stdin_length":4,"#) && line.ends_with(r#""aborted":false}"#), "{line}");
    }
    drop(connection);
    proxy.wait_for(r#"{"valid":true,"truncated_tail_bytes":0,"management":0}"#);
}

#[test]
fn bytes_pass_unchanged_whatever_they_are() {
    let (proxy, listener, _folder) = Proxy::with_listener(&[]);
    let mut server = connect(&proxy.address);
    let mut application = accept(&listener);
    // Not FastCGI, more than any buffer, and nothing that repeats.
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for _ in 0..2 {
        thread::scope(|scope| {
            scope.spawn(|| server.send(&bytes));
            assert_eq!(read(&mut application, bytes.len()), bytes);
        });
        (server, application) = (application, server);
    }
    proxy.process.stderr().wait_for_line("the fault", |line| {
        line == "fcgi-dump: what the web server sends over connection 1 is broken at byte 0: FastCGI version 0 instead of 1"
    });
    // A record in pieces arrives in pieces: nothing waits for the rest of it.
    for byte in wire::get(1, 0, "/") {
        server.send(&[byte]);
        assert_eq!(read(&mut application, 1), [byte]);
    }
}

#[test]
fn the_end_of_one_direction_is_passed_on() {
    let (proxy, listener, _folder) = Proxy::with_listener(&[]);
    let mut server = connect(&proxy.address);
    let mut application = accept(&listener);
    server.send(b"\x01\x05\0");
    server.end_sending();
    let mut all = Vec::new();
    application.read_to_end(&mut all).expect("an end");
    assert_eq!(all, b"\x01\x05\0");
    proxy.wait_for("#1 > end, 3 bytes into a record");
    // The other one is still open.
    application.send(&wire::record(wire::STDOUT, 1, b"answer"));
    assert_eq!(server.record().content, b"answer");
    drop(application);
    server.expect_closed();
    proxy.wait_for("#1 < end");
}

#[test]
fn an_application_that_leaves_is_seen_by_the_server() {
    let (proxy, listener, _folder) = Proxy::with_listener(&[]);
    let mut server = connect(&proxy.address);
    drop(accept(&listener));
    server.expect_closed();
    // And a server that leaves by the application, although it only writes.
    drop(connect(&proxy.address));
    let mut application = accept(&listener);
    let record = wire::record(wire::STDOUT, 1, &[b'x'; 60_000]);
    while application.write_all(&record).is_ok() {}
}

#[test]
fn an_application_that_is_not_there_is_one_line() {
    let folder = temp_dir();
    let nowhere = Address::Unix(folder.path().join("nowhere"));
    let proxy = Proxy::start(&[], &Address::loopback(0), &nowhere);
    for _ in 0..2 {
        connect(&proxy.address).expect_closed();
    }
    let want = format!("fcgi-dump: cannot connect to '{nowhere}': No such file or directory");
    proxy.process.stderr().wait_for_line("why", |line| line == want);
    // It is there now.
    let app = App::on_descriptor_0("hello", &nowhere);
    expect_hello(&proxy.address);
    drop(app);
}

#[test]
fn many_connections_at_once() {
    let (proxy, listener, _folder) = Proxy::with_listener(&[]);
    let mut pairs: Vec<_> = (0..100).map(|_| (connect(&proxy.address), accept(&listener))).collect();
    for (server, application) in pairs.iter_mut().rev() {
        let request = wire::get(1, 0, "/");
        server.send(&request);
        assert_eq!(read(application, request.len()), request);
    }
}

#[test]
fn a_socket_that_was_left_behind_is_taken_over_and_no_other_file() {
    let folder = temp_dir();
    let front = Address::Unix(folder.path().join("front.sock"));
    let back = Address::loopback(free_port());
    let mut first = Proxy::start(&[], &front, &back);
    // While it is in use, no.
    let (front_name, back_name) = (front.to_string(), back.to_string());
    let failed = fails_with_one_line(&mut dump(&["--listen", &front_name, "--connect", &back_name]));
    assert_eq!(failed, (2, format!("fcgi-dump: cannot listen on '{front}': Address already in use\n")));
    first.process.stop();
    Proxy::start(&[], &front, &back);

    let path = folder.path().join("file");
    fs::write(&path, "precious").expect("a file");
    let name = Address::Unix(path.clone()).to_string();
    let failed = fails_with_one_line(&mut dump(&["--listen", &name, "--connect", &back_name]));
    assert_eq!(failed, (2, format!("fcgi-dump: cannot listen on '{name}': Address already in use\n")));
    assert_eq!(fs::read(&path).expect("the file"), b"precious");
}
