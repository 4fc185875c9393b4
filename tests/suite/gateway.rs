//! `http-gateway`, in front of applications whose every byte is the test's: what its clients get.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::thread;

use fcgi_tests::wire::{self, END_REQUEST, Record, STDERR, STDIN, STDOUT};
use fcgi_tests::{Address, Connection, Process, Program, TempDir, temp_dir};

/// What is in place of a record's header where a response is broken off.
const BREAK: [u8; 8] = [0; 8];

const HALF: &[u8] = b"Content-Type: text/plain\n\nhalf";
const HALF_OF_8: &[u8] = b"Content-Type: text/plain\nContent-Length: 8\n\nhalf";

/// A gateway and the application behind it.
struct Gateway {
    process: Process,
    address: Address,
    _dir: TempDir,
}

impl Gateway {
    /// The application sends these bytes as soon as it has a whole request, and closes its connection.
    fn start(response: &[u8]) -> Self {
        let dir = temp_dir();
        let path = dir.path().join("app.sock");
        let listener = UnixListener::bind(&path).expect("a listener");
        let response = response.to_vec();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut connection = Connection::from(stream);
                while let Ok(Some(Record { kind, content, .. })) = Record::read(&mut connection) {
                    if kind == STDIN && content.is_empty() {
                        connection.send(&response);
                        break;
                    }
                }
            }
        });
        let (front, address) = Address::loopback(0).listen().expect("a listener");
        let mut command = Program::ours("http-gateway").command();
        command.arg("--connect").arg(format!("unix:{}", path.display())).stdin(Stdio::from(front));
        Self { process: Process::start(&mut command), address, _dir: dir }
    }

    /// All that a client gets until its connection ends.
    #[track_caller]
    fn ask(&self, method: &str) -> String {
        let mut client = self.address.connect().expect("the gateway accepts");
        client.send(format!("{method} /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
        let mut got = String::new();
        client.read_to_string(&mut got).expect("a response and its end");
        got
    }
}

fn stdout(content: &[u8]) -> Vec<u8> {
    wire::record(STDOUT, 1, content)
}

fn end() -> Vec<u8> {
    wire::record(END_REQUEST, 1, &[0; 8])
}

/// What the client of an application that sends these bytes gets begins so and ends so; the log has one line about it.
#[track_caller]
fn check(response: &[Vec<u8>], begin: &str, end: &str, log: &str) {
    let gateway = Gateway::start(&response.concat());
    let got = gateway.ask("GET");
    assert!(got.starts_with(begin) && got.ends_with(end), "{got:?}");
    gateway.process.stderr().wait_for_line(log, |line| line == format!("http-gateway: /page: {log}"));
}

#[test]
fn a_whole_response_has_its_last_chunk() {
    let gateway = Gateway::start(&[stdout(HALF), stdout(b""), end()].concat());
    let got = gateway.ask("GET");
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("4\r\nhalf\r\n0\r\n\r\n"), "{got:?}");
    assert_eq!(gateway.process.stderr().text(), "");
}

#[test]
fn a_response_that_is_broken_off_is_cut_for_the_client_and_logged_as_that() {
    let log = "the application broke the response off: 4 bytes of its body came";
    check(&[stdout(HALF), BREAK.to_vec()], "HTTP/1.1 200 OK\r\n", "4\r\nhalf\r\n", log);
    check(&[stdout(HALF_OF_8), BREAK.to_vec()], "HTTP/1.1 200 OK\r\n", "\r\n\r\nhalf", log);
    let log = "the application broke the response off: its header section is not whole";
    let page = format!("502 Bad Gateway\n{log}\n");
    check(&[stdout(b"Content-Type: text/plain\n"), BREAK.to_vec()], "HTTP/1.1 502 Bad Gateway\r\n", &page, log);
    let log = "the application broke the response off: nothing of it came";
    let page = format!("502 Bad Gateway\n{log}\n");
    check(&[BREAK.to_vec()], "HTTP/1.1 502 Bad Gateway\r\n", &page, log);
}

#[test]
fn a_response_without_its_end_record_is_cut_for_the_client() {
    let log = "the application closed the connection before the end of the response: 4 bytes of its body came";
    check(&[stdout(HALF)], "HTTP/1.1 200 OK\r\n", "4\r\nhalf\r\n", log);
    check(&[stdout(HALF), stdout(b"")], "HTTP/1.1 200 OK\r\n", "4\r\nhalf\r\n", log);
    check(&[stdout(HALF_OF_8), stdout(b"")], "HTTP/1.1 200 OK\r\n", "\r\n\r\nhalf", log);
}

/// The reason, which the application writes to FCGI_STDERR, stands beside it.
#[test]
fn the_reason_of_a_response_that_is_broken_off_is_logged() {
    let reason = wire::stream(STDERR, 1, b"the handler failed: disk full\n", 100);
    let gateway = Gateway::start(&[stdout(HALF), reason, BREAK.to_vec()].concat());
    gateway.ask("GET");
    let log = gateway.process.stderr();
    log.wait_for_line("the reason", |line| line == "the handler failed: disk full");
    log.wait_for_line("the break", |line| line.contains("broke the response off"));
}

#[test]
fn what_is_no_record_is_logged_as_that() {
    let log = "the application does not speak FastCGI: FastCGI version 72 instead of 1";
    check(&[b"HTTP/1.1 200 OK\r\n\r\n".to_vec()], "HTTP/1.1 502 ", &format!("502 Bad Gateway\n{log}\n"), log);
}
