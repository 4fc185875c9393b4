//! Applications started as CGI programs: one request from the environment and stdin, to stdout.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use fcgi_tests::{Address, Process, Program, wire};

use crate::app::{App, expect_hello, wait_until_it_listens};

/// What a program wrote, and its exit status.
#[derive(Debug)]
struct Ran {
    /// Both as a response has them.
    output: wire::Response,
    status: Option<i32>,
}

/// A program in an environment of nothing but this.
fn program(name: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Program::ours(name).command();
    command.env_clear().envs(environment.iter().copied());
    command
}

/// Runs it with a stdin that brings `input` and stays open.
fn run(command: &mut Command, input: &[u8]) -> Ran {
    let (ours, its) = UnixStream::pair().expect("two sockets");
    (&ours).write_all(input).expect("it fits the socket");
    finish(command.stdin(OwnedFd::from(its)))
}

/// Runs it with a stdin that brings `input` and ends.
fn run_to_end(command: &mut Command, input: &[u8]) -> Ran {
    let (ours, its) = UnixStream::pair().expect("two sockets");
    (&ours).write_all(input).expect("it fits the socket");
    drop(ours);
    finish(command.stdin(OwnedFd::from(its)))
}

fn finish(command: &mut Command) -> Ran {
    let mut process = Process::start(command);
    let status = process.wait_exit().code();
    let (stdout, stderr) = (process.stdout().to_end().into_bytes(), process.stderr().to_end().into_bytes());
    Ran { output: wire::Response { stdout, stderr, ..wire::Response::default() }, status }
}

#[test]
fn a_request_from_the_environment() {
    let ran = run(
        &mut program(
            "echo",
            &[("A", "1=2"), ("GATEWAY_INTERFACE", "CGI/1.1"), ("HTTP_PROXY", "evil"), ("REQUEST_METHOD", "GET")],
        ),
        b"nobody's",
    );
    let want = "Status: 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 52\r\n\r\n\
        A=1=2\nGATEWAY_INTERFACE=CGI/1.1\nREQUEST_METHOD=GET\n\n";
    assert_eq!(String::from_utf8_lossy(&ran.output.stdout), want);
    assert_eq!((ran.output.stderr.as_slice(), ran.status), (&b""[..], Some(0)));
}

/// Either of the two variables is enough; hello routes by SCRIPT_NAME.
#[test]
fn either_variable_is_a_cgi_environment() {
    for variable in [("REQUEST_METHOD", "GET"), ("GATEWAY_INTERFACE", "CGI/1.1")] {
        let ran = run(&mut program("hello", &[variable, ("SCRIPT_NAME", "/hello")]), b"");
        assert_eq!((ran.output.text().as_str(), ran.status), ("Hello, World!", Some(0)));
    }
}

#[test]
fn a_body_is_as_long_as_content_length_says() {
    for (length, input, body) in [("5", "hello", "hello"), ("4", "hello", "hell"), ("0", "x", ""), ("", "x", "")] {
        let mut command = program("echo", &[("CONTENT_LENGTH", length), ("REQUEST_METHOD", "POST")]);
        let ran = run(&mut command, input.as_bytes());
        assert_eq!(ran.output.text(), format!("CONTENT_LENGTH={length}\nREQUEST_METHOD=POST\n\n{body}"));
        assert_eq!(ran.status, Some(0));
    }
    for length in ["-1", "x", "18446744073709551616"] {
        let ran = run(&mut program("echo", &[("CONTENT_LENGTH", length), ("REQUEST_METHOD", "POST")]), b"hello");
        assert_eq!((ran.output.status(), ran.output.body().ends_with(b"POST\n\n")), (200, true));
    }
}

#[test]
fn a_body_that_is_cut_is_noticed() {
    for input in [&b""[..], b"hell"] {
        let ran = run_to_end(&mut program("echo", &[("CONTENT_LENGTH", "5"), ("REQUEST_METHOD", "POST")]), input);
        assert_eq!((ran.output.status(), ran.status), (400, Some(0)), "{ran:?}");
    }
}

#[test]
fn a_body_may_be_large() {
    let body: Vec<u8> = (0..3_000_000_u32).map(|index| b'a' + (index % 23) as u8).collect();
    let mut command = program("echo", &[("CONTENT_LENGTH", "3000000"), ("REQUEST_METHOD", "POST")]);
    let (ours, its) = UnixStream::pair().expect("two sockets");
    let mut process = Process::start(command.stdin(OwnedFd::from(its)));
    drop(command); // which holds the other end
    (&ours).write_all(&body).expect("it reads");
    assert_eq!(process.wait_exit().code(), Some(0));
    assert!(process.stdout().to_end().into_bytes().ends_with(&body));
}

#[test]
fn bytes_of_the_environment_stay_bytes() {
    let mut command = program("echo", &[("REQUEST_METHOD", "GET")]);
    command.env(OsStr::from_bytes(b"N\xfe"), OsStr::from_bytes(b"v\xff"));
    let ran = command.output().expect("it starts");
    assert!(ran.stdout.windows(5).any(|bytes| bytes == b"N\xfe=v\xff"), "{}", ran.stdout.escape_ascii());
}

#[test]
fn a_head_request_has_no_body_in_its_answer() {
    let ran = run(&mut program("hello", &[("REQUEST_METHOD", "HEAD"), ("SCRIPT_NAME", "/hello")]), b"");
    assert_eq!((ran.output.body(), ran.output.header("Content-Length").as_deref()), (&b""[..], Some("13")));
}

#[test]
fn the_exit_status_is_the_app_status() {
    for (app_status, status) in [("0", 0), ("7", 7), ("255", 255), ("256", 1), ("4294967295", 1)] {
        let mut command = program("echo", &[("ECHO_STATUS", app_status), ("REQUEST_METHOD", "GET")]);
        let ran = run(&mut command, b"");
        assert_eq!((ran.output.status(), ran.status), (200, Some(status)), "{app_status}");
    }
    let ran = run(&mut program("echo", &[("ECHO_PANIC", "1"), ("REQUEST_METHOD", "GET")]), b"");
    assert_eq!((ran.output.status(), ran.status), (500, Some(101)));
    let stderr = String::from_utf8_lossy(&ran.output.stderr);
    assert_eq!(stderr.matches("the handler panicked").count(), 1, "the log and the error log are the same: {stderr}");
}

#[test]
fn the_error_log_is_stderr() {
    let ran = run(&mut program("echo", &[("ECHO_STDERR", "a line"), ("REQUEST_METHOD", "GET")]), b"");
    assert_eq!((ran.output.stderr.as_slice(), ran.status), (&b"a line\n"[..], Some(0)));
}

#[test]
fn nobody_takes_the_answer() {
    let (ours, its) = UnixStream::pair().expect("two sockets");
    drop(ours);
    let mut command = program("hello", &[("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", "/hello")]);
    let ran = command.stdout(OwnedFd::from(its)).stderr(Stdio::piped()).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!((ran.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains("Broken pipe"), "{stderr}");
}

/// CGI knows no other role than the Responder.
#[test]
fn a_program_without_a_responder_says_so() {
    let ran = run(&mut program("authorizer", &[("REQUEST_METHOD", "GET")]), b"");
    let stderr = String::from_utf8_lossy(&ran.output.stderr).into_owned();
    assert_eq!((ran.output.stdout.as_slice(), ran.status, stderr.lines().count()), (&b""[..], Some(1), 1), "{stderr}");
}

/// A worker of ours may be started by a program that is a CGI program itself.
#[test]
fn a_listening_socket_comes_before_the_cgi_environment() {
    let dir = fcgi_tests::temp_dir();
    let (listener, address) = Address::Unix(dir.path().join("app.sock")).listen().expect("the test can listen");
    let mut command = program("hello", &[("REQUEST_METHOD", "GET")]);
    let app = App { process: Process::start(command.stdin(Stdio::from(listener))), address };
    expect_hello(&app.address);

    let address = Address::Unix(dir.path().join("bind.sock"));
    let mut command = program("hello", &[("REQUEST_METHOD", "GET"), ("FCGI_BIND", &address.to_string())]);
    let app = App { process: Process::start(&mut command), address };
    wait_until_it_listens(&app.address);
    expect_hello(&app.address);
}
