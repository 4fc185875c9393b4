//! `fcgi-get`: what it sends, what it makes of an answer, and its exit status.

mod fake;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread;

use fcgi_tests::wire;
use fcgi_tests::{Address, Process, Program, TempDir, eventually, free_port, proc, skip, temp_dir};

use crate::app::{App, fails_with_one_line};
use fake::{Fake, Request, answer, end, pairs, stream};

/// What a run of fcgi-get ended in.
#[derive(Debug, PartialEq)]
struct Ended {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn of(command: &mut Command) -> Self {
        let mut process = Process::start(command);
        let status = process.wait_exit();
        let (stdout, stderr) = (process.stdout().to_end(), process.stderr().to_end());
        Ended { status: status.code().unwrap_or_else(|| panic!("ended by a signal: {status}")), stdout, stderr }
    }

    #[track_caller]
    fn is(&self, status: i32, stdout: &str, stderr: &str) {
        assert_eq!((self.status, &self.stdout[..], &self.stderr[..]), (status, stdout, stderr));
    }
}

fn get() -> Command {
    Program::ours("fcgi-get").command()
}

/// The request that these arguments make.
#[track_caller]
fn request(arguments: &[&str]) -> Request {
    let fake = Fake::start(|mut connection| {
        let request = Request::read(&mut connection);
        connection.send(&answer(b"A: b\n\n"));
        request
    });
    let (ended, request) = fake.run(arguments);
    ended.is(0, "", "");
    request
}

/// What these bytes of an application, after the whole request, end in.
#[track_caller]
fn answered(bytes: Vec<u8>) -> Ended {
    let fake = Fake::start(move |mut connection| {
        Request::read(&mut connection);
        connection.send(&bytes);
    });
    fake.run(&["/"]).0
}

/// A pipe that no other test's child holds open.
fn pipe() -> (OwnedFd, fs::File) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    (reader, writer.into())
}

// ------------------------------------------------------------------------------------------- with applications

fn hello() -> (App, TempDir) {
    let dir = temp_dir();
    let app = App::on_descriptor_0("hello", &Address::Unix(dir.path().join("app.sock")));
    (app, dir)
}

#[test]
fn the_body_goes_to_stdout() {
    let (app, _dir) = hello();
    Ended::of(get().arg(app.address.to_string()).arg("/hello")).is(0, "Hello, World!", "");
}

#[test]
fn over_tcp_by_address_and_name() {
    let app = App::on_descriptor_0("hello", &Address::loopback(0));
    let address = app.address.to_string();
    for target in [&address, &address.replace("127.0.0.1", "localhost")] {
        Ended::of(get().args([target, "/hello"])).is(0, "Hello, World!", "");
    }
}

#[test]
fn over_ipv6() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        skip!("there is no IPv6 here");
    }
    let app = App::on_descriptor_0("hello", &Address::Tcp((Ipv6Addr::LOCALHOST, 0).into()));
    Ended::of(get().args([&app.address.to_string(), "/hello"])).is(0, "Hello, World!", "");
}

#[test]
fn i_prints_the_header_section() {
    let (app, _dir) = hello();
    let ended = Ended::of(get().arg("-i").arg(app.address.to_string()).arg("/hello"));
    assert!(ended.stdout.starts_with("Status: 200") && ended.stdout.ends_with("\r\n\r\nHello, World!"), "{ended:?}");
}

#[test]
fn a_body_comes_back_from_wherever_it_comes() {
    let (app, dir) = hello();
    let target = app.address.to_string();
    let file = dir.path().join("body");
    fs::write(&file, "line 1\nline 2\n").expect("a file");
    let at_file = format!("@{}", file.display());
    Ended::of(get().args(["-d", "a=1", &target, "/echo"])).is(0, "a=1", "");
    Ended::of(get().args(["-d", "a=1", "-d", "b=2", &target, "/echo"])).is(0, "a=1&b=2", "");
    Ended::of(get().args(["-d", &at_file, &target, "/echo"])).is(0, "line 1\nline 2\n", "");
    let open = || fs::File::open(&file).expect("a file");
    Ended::of(get().args(["-d", "@-", &target, "/echo"]).stdin(open())).is(0, "line 1\nline 2\n", "");
    Ended::of(get().args(["-X", "POST", &target, "/echo"]).stdin(open())).is(0, "line 1\nline 2\n", "");
    let piped = format!("printf piped | exec {} -X PUT {target} /echo", Program::ours("fcgi-get").path().display());
    Ended::of(Command::new("/bin/sh").args(["-c", &piped])).is(0, "piped", "");
}

#[test]
fn a_large_body_comes_back_byte_for_byte() {
    let (app, dir) = hello();
    let body: Vec<u8> = (0..10_000_000).map(|index: u32| (index % 251) as u8).collect();
    fs::write(dir.path().join("body"), &body).expect("a file");
    let command = format!("exec {} -d @body {} /echo >answer", Program::ours("fcgi-get").path().display(), app.address);
    Ended::of(Command::new("/bin/sh").args(["-c", &command]).current_dir(dir.path())).is(0, "", "");
    assert!(fs::read(dir.path().join("answer")).expect("an answer") == body, "the echo differs");
}

#[test]
fn capacities_are_printed() {
    let (app, _dir) = hello();
    let ended = Ended::of(get().arg("--get-values").arg(app.address.to_string()));
    let lines: Vec<_> = ended.stdout.lines().map(|line| line.split_once('=').expect("NAME=VALUE")).collect();
    let [("FCGI_MAX_CONNS", conns), ("FCGI_MAX_REQS", reqs), ("FCGI_MPXS_CONNS", "0")] = lines[..] else {
        panic!("{ended:?}")
    };
    assert!([conns, reqs].iter().all(|number| number.parse::<u32>().is_ok()), "{ended:?}");
    assert_eq!((ended.status, &ended.stderr[..]), (0, ""));
}

#[test]
fn php_answers() {
    let Some(php) = Program::installed("php-cgi") else { skip!("php-cgi is not installed") };
    let dir = temp_dir();
    let script = dir.path().join("page.php");
    fs::write(
        &script,
        "<?php http_response_code($_GET['code'] ?? 200); echo $_SERVER['REQUEST_METHOD'], '[', $_POST['x'] ?? '', ']';",
    )
    .expect("a script");
    let (listener, address) = Address::Unix(dir.path().join("sock")).listen().expect("a listener");
    let _app = Process::start(php.command().arg("-n").stdin(Stdio::from(listener)));
    let (target, page) = (address.to_string(), script.to_str().expect("a plain path"));
    Ended::of(get().args([&target, page])).is(0, "GET[]", "");
    Ended::of(get().args(["-d", "x=yes", &target, page])).is(0, "POST[yes]", "");
    Ended::of(get().args([&target, &format!("{page}?code=503")])).is(22, "GET[]", "");
    let missing = Ended::of(get().args([&target, "/missing.php"]));
    assert_eq!(missing.status, 22, "{missing:?}");
    let values = Ended::of(get().args(["--get-values", &target]));
    assert!(values.status == 0 && values.stdout.contains("FCGI_MPXS_CONNS=0\n"), "{values:?}");
}

// --------------------------------------------------------------------------------------------- the request

/// Whatever is in the environment, an application learns what is here and nothing else.
#[test]
fn params_are_those_of_a_web_server() {
    let fake = Fake::start(|mut connection| {
        let request = Request::read(&mut connection);
        connection.send(&answer(b"A: b\n\n"));
        request
    });
    let version = Ended::of(get().arg("-v")).stdout.replace("fcgi-get ", "fcgi-get/");
    let ended = Ended::of(fake.get().arg("/a/b?c=%20&d=?").env("SECRET", "x").env("HTTP_PROXY", "y"));
    ended.is(0, "", "");
    let request = fake.thread.join().expect("a request");
    assert_eq!(request.begin, [0, 1, 0, 0, 0, 0, 0, 0], "a responder, and no kept connection");
    assert_eq!((request.stdin.len(), request.data), (0, None));
    let mut params = request.params;
    params.sort();
    let want = [
        ("DOCUMENT_URI", "/a/b"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("HTTP_HOST", "localhost"),
        ("QUERY_STRING", "c=%20&d=?"),
        ("REDIRECT_STATUS", "200"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/a/b?c=%20&d=?"),
        ("SCRIPT_FILENAME", "/a/b"),
        ("SCRIPT_NAME", "/a/b"),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PORT", "80"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SOFTWARE", version.trim_end()),
    ];
    assert_eq!(params, want.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn without_a_path_it_is_the_root() {
    let request = request(&[]);
    assert_eq!(
        ["REQUEST_URI", "SCRIPT_NAME", "QUERY_STRING"].map(|name| request.param(name)),
        [Some("/"), Some("/"), Some("")]
    );
}

#[test]
fn params_may_be_added_and_replaced() {
    let long = format!("LONG={}", "v".repeat(70_000));
    let request = request(&[
        "--param",
        "SCRIPT_FILENAME=/srv/x.php",
        "--param=EMPTY=",
        "--param",
        "A=b=c",
        "--param",
        "A=last",
        "--param",
        &long,
        "-d",
        "body",
        "--param",
        "CONTENT_TYPE=text/plain",
        "/x",
    ]);
    assert_eq!(request.param("SCRIPT_FILENAME"), Some("/srv/x.php"));
    assert_eq!((request.param("EMPTY"), request.param("A")), (Some(""), Some("last")));
    assert_eq!(request.param("LONG").map(str::len), Some(70_000));
    assert_eq!((request.param("CONTENT_TYPE"), request.param("SCRIPT_NAME")), (Some("text/plain"), Some("/x")));
}

#[test]
fn a_body_makes_it_a_post() {
    let made = request(&["-d", "a=1&b=2"]);
    assert_eq!((made.param("REQUEST_METHOD"), &made.stdin[..]), (Some("POST"), &b"a=1&b=2"[..]));
    assert_eq!(made.param("CONTENT_LENGTH"), Some("7"));
    assert_eq!(made.param("CONTENT_TYPE"), Some("application/x-www-form-urlencoded"));
    let put = request(&["-d", "x", "-X", "PUT"]);
    assert_eq!((put.param("REQUEST_METHOD"), put.param("CONTENT_LENGTH")), (Some("PUT"), Some("1")));
    let empty = request(&["-d", ""]);
    assert_eq!((empty.param("REQUEST_METHOD"), empty.param("CONTENT_LENGTH")), (Some("POST"), Some("0")));
}

#[test]
fn a_method_alone_has_no_body() {
    for method in ["GET", "HEAD", "DELETE", "PURGE"] {
        let request = request(&["-X", method]);
        assert_eq!((request.param("REQUEST_METHOD"), request.param("CONTENT_LENGTH")), (Some(method), None));
    }
}

/// A script that reads lines in a loop keeps them.
#[test]
fn input_is_not_read_unasked() {
    let fake = Fake::start(|mut connection| {
        Request::read(&mut connection);
        connection.send(&answer(b"A: b\n\n"));
    });
    let loops = format!("{} {}; cat", Program::ours("fcgi-get").path().display(), fake.address);
    let (reader, mut writer) = pipe();
    writer.write_all(b"the script's").expect("room in a pipe");
    drop(writer);
    Ended::of(Command::new("/bin/sh").args(["-c", &loops]).stdin(reader)).is(0, "the script's", "");
}

/// From a pipe it takes reading to know the length: up to 1 MiB is read ahead.
#[test]
fn a_piped_body_has_a_length_if_it_is_short() {
    for (length, said) in [(0, Some("0")), (1 << 20, Some("1048576")), ((1 << 20) + 1, None), (5_000_000, None)] {
        let fake = Fake::start(|mut connection| {
            let request = Request::read(&mut connection);
            connection.send(&answer(b"A: b\n\n"));
            request
        });
        let (reader, mut writer) = pipe();
        let body: Vec<u8> = (0..length).map(|index: u32| (index % 251) as u8).collect();
        let request = thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(&body).expect("fcgi-get reads it");
                drop(writer);
            });
            Ended::of(fake.get().args(["-d", "@-"]).stdin(reader)).is(0, "", "");
            fake.thread.join().expect("a request")
        });
        assert_eq!(request.param("CONTENT_LENGTH"), said, "{length} bytes");
        assert!(request.stdin == body, "{length} bytes differ");
    }
}

#[test]
fn a_file_as_input_is_sent_from_where_it_is() {
    let fake = Fake::start(|mut connection| {
        let request = Request::read(&mut connection);
        connection.send(&answer(b"A: b\n\n"));
        request
    });
    let dir = temp_dir();
    fs::write(dir.path().join("file"), "head body").expect("a file");
    let mut file = fs::File::open(dir.path().join("file")).expect("a file");
    file.read_exact(&mut [0; 5]).expect("five bytes");
    Ended::of(fake.get().args(["-X", "POST"]).stdin(file)).is(0, "", "");
    let request = fake.thread.join().expect("a request");
    assert_eq!((request.param("CONTENT_LENGTH"), &request.stdin[..]), (Some("4"), &b"body"[..]));
}

#[test]
fn an_authorizer_is_sent_params_only() {
    let fake = Fake::start(|mut connection| {
        let request = Request::read(&mut connection);
        connection.send(&answer(b"Status: 200 OK\nVariable-USER: amy\n\n"));
        connection.expect_closed();
        request
    });
    let (ended, request) = fake.run(&["--role", "authorizer", "-i", "-X", "POST"]);
    ended.is(0, "Status: 200 OK\nVariable-USER: amy\n\n", "");
    assert_eq!((request.begin[1], request.param("CONTENT_LENGTH")), (2, None));
}

#[test]
fn a_filter_is_sent_a_file() {
    let dir = temp_dir();
    let path = dir.path().join("file");
    fs::write(&path, "to be filtered").expect("a file");
    let modified = fs::metadata(&path).expect("a file").modified().expect("a time");
    let modified = modified.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs().to_string();
    let request = request(&["--role", "filter", "--file", path.to_str().expect("a plain path"), "-d", "body"]);
    assert_eq!((request.begin[1], &request.stdin[..]), (3, &b"body"[..]));
    assert_eq!(request.data.as_deref(), Some(&b"to be filtered"[..]));
    assert_eq!(request.param("FCGI_DATA_LENGTH"), Some("14"));
    assert_eq!(request.param("FCGI_DATA_LAST_MOD"), Some(&modified[..]));
}

// ---------------------------------------------------------------------------------------------- the answer

#[test]
fn the_status_decides() {
    for (status, exit) in [
        ("200 OK", 0),
        ("204 No Content", 0),
        ("302 Found", 0),
        ("399", 0),
        ("400 Bad Request", 22),
        ("404 Not Found", 22),
        ("500", 22),
        ("503 Service Unavailable", 22),
    ] {
        answered(answer(format!("Status: {status}\r\n\r\nbody").as_bytes())).is(exit, "body", "");
    }
    answered(answer(b"Location: /there\n\n")).is(0, "", "");
}

#[test]
fn an_answer_may_be_cut_into_any_records() {
    let stdout = b"Content-Type: text/plain\r\nStatus: 404 Not Found\r\n\r\nthe body";
    for size in 1..=stdout.len() {
        let records = wire::stream(wire::STDOUT, 1, stdout, size);
        answered([records, end(0)].concat()).is(22, "the body", "");
    }
    let padded: Vec<u8> = stdout.chunks(3).flat_map(|part| wire::padded_record(wire::STDOUT, 1, part, 255)).collect();
    answered([padded, end(0)].concat()).is(22, "the body", "");
}

#[test]
fn what_is_logged_goes_to_stderr() {
    let log = [wire::stream(wire::STDERR, 1, b"a warning\nand\tmore", 5), answer(b"A: b\n\nbody")].concat();
    answered(log).is(0, "body", "a warning\nand\tmore");
}

#[test]
fn records_that_nobody_knows_are_skipped() {
    let odd = [wire::record(99, 1, b"?"), wire::record(wire::UNKNOWN_TYPE, 0, &[99; 8]), answer(b"A: b\n\nbody")];
    answered(odd.concat()).is(0, "body", "");
}

/// The body so far is printed, one line says why, and the status is 1.
#[track_caller]
fn fails(bytes: Vec<u8>, stdout: &str, why: &str) {
    let ended = answered(bytes);
    assert_eq!((ended.status, &ended.stdout[..]), (1, stdout), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("fcgi-get: ") && ended.stderr.lines().count() == 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
}

#[test]
fn refusals_are_named() {
    for (status, why) in [(1, "CANT_MPX_CONN"), (2, "OVERLOADED"), (3, "UNKNOWN_ROLE"), (9, "9")] {
        fails(end(status), "", why);
    }
}

#[test]
fn responses_that_are_not_whole_are_failures_with_what_came() {
    let end_of_input = |came| format!("the application closed the connection before the end of the response: {came}");
    fails(Vec::new(), "", &end_of_input("nothing of it came"));
    fails(wire::record(wire::STDOUT, 1, b"A: b\n\nhalf"), "half", &end_of_input("4 bytes of its body came"));
    fails(wire::record(wire::STDOUT, 1, b"A: b\n\nhalf")[..15].to_vec(), "h", &end_of_input("1 byte of its body came"));
    let ended = wire::stream(wire::STDOUT, 1, b"A: b\n\nbody", 100);
    fails(ended, "body", &end_of_input("4 bytes of its body came"));
    fails(b"\x01\x06\0".to_vec(), "", &end_of_input("nothing of it came"));
    fails(wire::record(wire::STDOUT, 1, b"A: b\n"), "", &end_of_input("its header section is not whole"));
    fails(end(0), "", "nothing");
    fails(answer(b""), "", "nothing");
    fails(answer(b"A: b\n"), "", "header section");
}

/// Eight zero bytes stand in place of a record's header.
#[test]
fn responses_that_are_broken_off_are_failures_with_what_came() {
    let broken_off = |content: &[u8]| [wire::record(wire::STDOUT, 1, content), vec![0; 8]].concat();
    let broke = |came| format!("the application broke the response off: {came}");
    fails(broken_off(b"A: b\n\nhalf"), "half", &broke("4 bytes of its body came"));
    fails(broken_off(b"A: b\n\n"), "", &broke("0 bytes of its body came"));
    fails(broken_off(b"A: b\n"), "", &broke("its header section is not whole"));
    fails(vec![0; 8], "", &broke("nothing of it came"));
    let reason = wire::stream(wire::STDERR, 1, b"disk full\n", 100);
    let ended = answered([wire::record(wire::STDOUT, 1, b"A: b\n\nhalf"), reason, vec![0; 8]].concat());
    ended.is(1, "half", &format!("disk full\nfcgi-get: {}\n", broke("4 bytes of its body came")));
}

#[test]
fn what_is_not_fastcgi_is_a_failure() {
    let head = |bytes: &[u8]| wire::record(wire::STDOUT, 1, bytes);
    fails(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "", "version");
    fails([head(b"A: b\n\nx"), b"\x02\x06\0\x01\0\0\0\0".to_vec()].concat(), "x", "version");
    fails([head(b"A: b\n\nx"), wire::record(wire::STDOUT, 2, b"y")].concat(), "x", "not sent");
    fails([answer(b"A: b\n\nx")[..24].to_vec(), wire::record(wire::STDIN, 1, b"y")].concat(), "x", "");
    fails([wire::stream(wire::STDOUT, 1, b"A: b\n\nx", 9), head(b"y"), end(0)].concat(), "x", "after the end");
    fails(wire::record(wire::END_REQUEST, 1, &[0; 7]), "", "");
    fails(answer(b"no header\n\n"), "", "no header");
    fails(answer(b"\n\nbody"), "", "no header");
    fails(answer(b"Status: good\n\n"), "", "Status: good");
}

/// Whoever answers without reading gets no more, and his answer counts.
#[test]
fn a_body_need_not_be_taken() {
    let fake = Fake::start(|mut connection| {
        connection.record();
        connection.send(&answer(b"Status: 413 Too Large\n\nenough"));
    });
    let dir = temp_dir();
    fs::write(dir.path().join("body"), vec![b'x'; 5_000_000]).expect("a file");
    let (ended, ()) = fake.run(&["-d", &format!("@{}/body", dir.path().display())]);
    ended.is(22, "enough", "");
}

/// An application that answers while it reads: whoever only writes, and reads then, waits for ever. 100 MB each way, and
/// when all of it has passed, no more than 16 MiB were ever in memory.
#[test]
fn a_body_is_written_while_the_answer_is_read_in_bounded_memory() {
    const LENGTH: usize = 100_000_000;
    let dir = temp_dir();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().is_ok_and(|status| status.success()));
    let fake = Fake::start(|mut connection| {
        let mut writer = connection.try_clone().expect("a second handle");
        connection.record();
        stream(&mut connection, wire::PARAMS);
        writer.send(&wire::record(wire::STDOUT, 1, b"A: b\n\n"));
        let mut left = LENGTH;
        while left > 0 {
            let piece = connection.record();
            assert_eq!(piece.kind, wire::STDIN);
            left -= piece.content.len();
            writer.send(&wire::record(wire::STDOUT, 1, &piece.content));
        }
        (connection, writer)
    });
    let command = format!(
        "exec {} -d @{} {} >/dev/null",
        Program::ours("fcgi-get").path().display(),
        fifo.display(),
        fake.address
    );
    let mut process = Process::start(Command::new("/bin/sh").args(["-c", &command]));
    let mut body = fs::OpenOptions::new().write(true).open(&fifo).expect("fcgi-get reads it");
    body.write_all(&vec![b'x'; LENGTH]).expect("fcgi-get takes it");
    let (_connection, mut writer) = fake.thread.join().expect("the application ends");
    let peak: usize = proc::status(process.pid(), "VmHWM")[0].parse().expect("a number of kB");
    writer.send(&[wire::record(wire::STDOUT, 1, b""), end(0)].concat());
    assert_eq!(process.wait_exit().code(), Some(0));
    assert!(peak <= 16 * 1024, "{peak} kB");
}

#[test]
fn an_output_that_takes_nothing_is_said() {
    let (app, _dir) = hello();
    let command = format!("{} {} /hello >/dev/full", Program::ours("fcgi-get").path().display(), app.address);
    let ended = Ended::of(Command::new("/bin/sh").args(["-c", &command]));
    assert!(ended.status == 1 && ended.stderr.contains("No space left"), "{ended:?}");
}

#[test]
fn an_answer_is_printed_as_it_comes() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let fake = Fake::start(move |mut connection| {
        Request::read(&mut connection);
        connection.send(&wire::record(wire::STDOUT, 1, b"A: b\n\nfirst\nsecond"));
        wait.recv().expect("the first part was seen");
        connection.send(&answer(b" third"));
    });
    let mut process = Process::start(&mut fake.get());
    eventually("the first part", || (process.stdout().text() == "first\nsecond").then_some(()));
    go.send(()).expect("the application waits");
    assert_eq!(process.wait_exit().code(), Some(0));
    assert_eq!(process.stdout().to_end(), "first\nsecond third");
}

// ------------------------------------------------------------------------------------------ no answer at all

#[test]
fn nobody_there_is_status_7() {
    let dir = temp_dir();
    let missing = format!("unix:{}/missing", dir.path().display());
    let stale = format!("unix:{}/stale", dir.path().display());
    drop(UnixListener::bind(dir.path().join("stale")).expect("a socket"));
    eventually("a stale socket", || std::os::unix::net::UnixStream::connect(dir.path().join("stale")).err());
    let refused = format!("127.0.0.1:{}", free_port());
    for target in [missing, stale, refused] {
        let (status, line) = fails_with_one_line(get().args([&target, "/"]));
        assert!(status == 7 && line.starts_with("fcgi-get: ") && line.contains(&target), "{status}: {line}");
    }
    let long = format!("unix:/{}", "x".repeat(200));
    assert_eq!(fails_with_one_line(get().arg(long)).0, 7);
}

#[track_caller]
fn late(ended: &Ended, stdout: &str) {
    assert_eq!((ended.status, &ended.stdout[..]), (28, stdout), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("fcgi-get: ") && ended.stderr.contains("300ms"), "{}", ended.stderr);
}

#[test]
fn an_application_that_never_answers_is_status_28() {
    let fake = Fake::start(|mut connection| {
        Request::read(&mut connection);
        connection.expect_closed();
    });
    late(&fake.run(&["--timeout", "300ms"]).0, "");
}

/// It is the whole request that has its time, not a silence.
#[test]
fn an_application_that_goes_on_for_ever_is_status_28() {
    let fake = Fake::start(|mut connection| {
        Request::read(&mut connection);
        connection.send(&wire::record(wire::STDOUT, 1, b"A: b\n\nbody"));
        while connection.write_all(&wire::record(wire::STDERR, 1, b"")).is_ok() {
            thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    late(&fake.run(&["--timeout", "300ms"]).0, "body");
}

#[test]
fn an_application_that_does_not_read_is_status_28() {
    let fake = Fake::start(|mut connection| {
        connection.record();
        connection
    });
    let dir = temp_dir();
    fs::write(dir.path().join("body"), vec![b'x'; 5_000_000]).expect("a file");
    late(&fake.run(&["--timeout", "300ms", "-d", &format!("@{}/body", dir.path().display())]).0, "");
}

#[test]
fn a_full_queue_is_status_28() {
    let dir = temp_dir();
    let path = dir.path().join("sock");
    let address = rustix::net::SocketAddrUnix::new(&path).expect("it fits");
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
    let socket = socket.expect("a socket");
    rustix::net::bind(&socket, &address).expect("it binds");
    rustix::net::listen(&socket, 0).expect("it listens");
    let _first = std::os::unix::net::UnixStream::connect(&path).expect("the only place");
    late(&Ended::of(get().args(["--timeout", "300ms"]).arg(format!("unix:{}", path.display()))), "");
}

#[test]
fn a_body_that_does_not_come_is_status_28() {
    let fake = Fake::start(|mut connection| connection.expect_closed());
    let (reader, _writer) = pipe();
    late(&Ended::of(fake.get().args(["--timeout", "300ms", "-d", "@-"]).stdin(reader)), "");
    fake.end();
}

#[test]
fn a_pipe_that_nobody_opens_is_status_28() {
    let dir = temp_dir();
    assert!(Command::new("mkfifo").arg(dir.path().join("fifo")).status().is_ok_and(|status| status.success()));
    let body = format!("@{}/fifo", dir.path().display());
    late(&Ended::of(get().args(["--timeout", "300ms", "-d", &body, "unix:/missing"])), "");
}

/// Nobody reads what it prints.
#[test]
fn an_output_that_stands_still_is_status_28() {
    let (app, _dir) = hello();
    let (_reader, writer) = pipe();
    let mut command = get();
    command.args(["--timeout", "300ms", "-d", &"x".repeat(100_000), &app.address.to_string(), "/echo"]);
    let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().expect("it starts");
    let status = eventually("its end", || child.try_wait().expect("it is ours"));
    assert_eq!(status.code(), Some(28));
}

#[test]
fn capacities_that_nobody_tells_are_failures() {
    let unknown = wire::record(wire::UNKNOWN_TYPE, 0, &[wire::GET_VALUES, 0, 0, 0, 0, 0, 0, 0]);
    for (bytes, why) in [(unknown, "does not know"), (Vec::new(), "before the end"), (end(0), "not asked")] {
        let fake = Fake::start(move |mut connection| {
            let query = connection.record();
            assert_eq!((query.kind, query.id), (wire::GET_VALUES, 0));
            connection.send(&bytes);
        });
        let ended = fake.run(&["--get-values"]).0;
        assert!(ended.status == 1 && ended.stderr.contains(why), "{ended:?}");
    }
}

#[test]
fn an_application_may_tell_some_capacities() {
    let fake = Fake::start(|mut connection| {
        let names: Vec<String> = pairs(&connection.record().content).into_iter().map(|(name, _)| name).collect();
        let values = wire::pairs(&[("FCGI_MPXS_CONNS", "1"), ("MORE", "x")]);
        connection.send(&wire::record(wire::GET_VALUES_RESULT, 0, &values));
        names
    });
    let (ended, mut names) = fake.run(&["--get-values"]);
    ended.is(0, "FCGI_MPXS_CONNS=1\n", "");
    names.sort();
    assert_eq!(names, ["FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"]);
}

// -------------------------------------------------------------------------------------------- the command line

#[test]
fn wrong_usage_is_status_2() {
    let cases: &[&[&str]] = &[
        &[],
        &["-i"],
        &["nowhere"],
        &["127.0.0.1"],
        &["127.0.0.1:http"],
        &["::1:9000"],
        &["unix:"],
        &["a:1", "/", "more"],
        &["-Z", "a:1"],
        &["--bogus", "a:1"],
        &["a:1", "-X"],
        &["a:1", "-X", "two words"],
        &["a:1", "--timeout", "soon"],
        &["a:1", "--role", "judge"],
        &["a:1", "--param", "NAME"],
        &["a:1", "-d", "@/missing/file"],
        &["a:1", "--role", "filter"],
        &["a:1", "--role", "authorizer", "-d", "x"],
    ];
    for arguments in cases {
        let (status, line) = fails_with_one_line(get().args(*arguments));
        assert!(status == 2 && line.starts_with("fcgi-get: "), "{arguments:?}: {status}: {line}");
    }
}

#[test]
fn a_body_that_cannot_be_read_is_status_2() {
    let fake = Fake::start(|mut connection| connection.expect_closed());
    let ended = fake.run(&["-d", "@/etc"]).0;
    assert!(ended.status == 2 && ended.stderr.contains("Is a directory"), "{ended:?}");
}

#[test]
fn help_and_version_are_on_stdout() {
    for option in ["-h", "-?", "--help"] {
        let ended = Ended::of(get().arg(option));
        assert!(ended.status == 0 && ended.stdout.contains("--get-values") && ended.stderr.is_empty(), "{ended:?}");
    }
    for option in ["-v", "--version"] {
        let ended = Ended::of(get().arg(option));
        assert!(ended.status == 0 && ended.stdout.starts_with("fcgi-get ") && ended.stderr.is_empty(), "{ended:?}");
    }
}
