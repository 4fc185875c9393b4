//! The blocking client, with servers in this process and with applications in literal bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use fcgi_app::client::{Client, Error, ProtocolStatus, Request, Role};
use fcgi_app::{Address, Body, Listener, Response, Roles, Server};

mod common;

use common::Running;

/// A client of a server of ours.
fn client(server: &Running) -> Client {
    Client::new(Address::Unix(server.path.clone())).timeout(Duration::from_secs(20))
}

/// A path that nothing has, and that is removed on drop.
struct Path(Address);

impl Path {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("fcgi-app-client-{}-{}.sock", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Self(Address::Unix(std::env::temp_dir().join(name)))
    }

    fn client(&self) -> Client {
        Client::new(self.0.clone()).timeout(Duration::from_secs(20))
    }

    fn listen(&self) -> UnixListener {
        let Address::Unix(path) = &self.0 else { unreachable!("made above") };
        UnixListener::bind(path).expect("a free path")
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// An application that answers each connection of a list with the given bytes, then closes it and says so.
fn application(path: &Path, answers: &[&'static [u8]]) -> Receiver<()> {
    let (listener, answers) = (path.listen(), answers.to_vec());
    let (closed, closes) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().expect("a connection");
            receive_request(&mut connection);
            connection.write_all(answer).expect("sent");
            drop(connection);
            let _ = closed.send(());
        }
    });
    closes
}

/// Reads up to the end of STDIN.
fn receive_request(connection: &mut UnixStream) -> Vec<u8> {
    connection.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\x01\x05\0\x01\0\0\0\0") {
        connection.read_exact(&mut byte).expect("a whole request");
        request.extend(byte);
    }
    request
}

fn get() -> Request<'static> {
    Request::new("GET", "/")
}

const END: &[u8] = b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0";

fn stdout(content: &str) -> Vec<u8> {
    [&b"\x01\x06\0\x01\0"[..], &[u8::try_from(content.len()).expect("short")], &b"\0\0"[..], content.as_bytes()]
        .concat()
}

fn echo(request: &fcgi_app::Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    for (name, value) in request.params() {
        out.append(&format!("X-{}", String::from_utf8_lossy(name)), value);
    }
    out.app_status(7);
    io::copy(body, out).map(drop)
}

fn endless(_: &fcgi_app::Request, _: &mut Body, out: &mut Response) -> io::Result<()> {
    loop {
        out.write_all(&[b'x'; 100_000])?;
    }
}

#[test]
fn params_body_and_answer_are_whole() {
    let server = Running::start(echo);
    let mut client = client(&server);
    for _ in 0..3 {
        let request = Request::new("PUT", "/a/b?c=d").param("REMOTE_USER", "ann").body("Hello");
        let answer = client.send(request).expect("an answer").collect(5).expect("its end");
        assert_eq!((answer.status(), answer.text().as_ref(), answer.app_status()), (200, "Hello", 7));
        for (name, value) in [
            ("Status", "200 OK"),
            ("x-request_method", "PUT"),
            ("X-SCRIPT_NAME", "/a/b"),
            ("X-QUERY_STRING", "c=d"),
            ("X-REQUEST_URI", "/a/b?c=d"),
            ("X-CONTENT_LENGTH", "5"),
            ("X-REMOTE_USER", "ann"),
            ("X-GATEWAY_INTERFACE", "CGI/1.1"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        assert!(answer.headers().any(|header| header == ("X-REMOTE_ADDR", b"127.0.0.1")));
        assert_eq!(answer.stderr(), b"");
    }
}

/// Larger than all buffers in between, and answered while it is sent.
#[test]
fn an_upload_is_sent_while_its_answer_comes() {
    let server = Running::start(echo);
    let mut client = client(&server);
    let body: Vec<u8> = (0..5_000_000_u32).map(|index| (index % 251) as u8).collect();
    for _ in 0..2 {
        let mut response = client.send(Request::new("POST", "/").body(&body)).expect("an answer");
        let mut echoed = Vec::new();
        response.read_to_end(&mut echoed).expect("its end");
        assert!(echoed == body);
        assert_eq!(response.end().map(|end| end.app_status), Some(7));
        assert_eq!(response.read(&mut [0]).expect("the end again"), 0);
    }
}

#[test]
fn an_answer_that_does_not_wait_for_the_upload() {
    let early = |_: &fcgi_app::Request, _: &mut Body, out: &mut Response| out.write_all(b"early");
    let server = Running::start(early);
    let mut client = client(&server);
    for _ in 0..3 {
        let request = Request::new("POST", "/").body_from(io::repeat(b'x').take(20_000_000));
        assert_eq!(client.send(request).expect("an answer").collect(99).expect("its end").text(), "early");
        assert_eq!(client.send(get()).expect("an answer").collect(99).expect("its end").text(), "early");
    }
}

#[test]
fn a_response_that_is_dropped_aborts_the_request() {
    let server = Running::start(endless);
    let mut client = client(&server);
    for _ in 0..2 {
        drop(client.send(get()).expect("an answer"));
    }
    let collected = client.send(get()).expect("an answer").collect(1_000_000);
    assert!(matches!(collected, Err(Error::TooLarge("body", 1_000_000))), "{collected:?}");
}

#[test]
fn roles_are_asked_for() {
    let grant = |_: &fcgi_app::Request, out: &mut Response| {
        out.set("Variable-WHO", "ann");
        io::Result::Ok(())
    };
    let upper = |_: &fcgi_app::Request, body: &mut Body, out: &mut Response| {
        let mut data = String::new();
        body.data()?.read_to_string(&mut data)?;
        out.write_all(data.to_uppercase().as_bytes())
    };
    let server = Running::start(Roles::new().authorizer(grant).filter(upper));
    let mut client = client(&server);
    let answer = client.send(get().role(Role::Authorizer)).expect("an answer").collect(9).expect("its end");
    assert_eq!((answer.status(), answer.header("Variable-WHO")), (200, Some("ann")));
    let filtered = client.send(get().role(Role::Filter).body("body").data("data")).expect("an answer");
    assert_eq!(filtered.collect(9).expect("its end").text(), "DATA");
    let refused = client.send(get()).err();
    assert!(matches!(refused, Some(Error::Refused(ProtocolStatus::UnknownRole))), "{refused:?}");
}

#[test]
fn tcp_by_name() {
    let listener = Listener::bind(&Address::Tcp("localhost:0".into())).expect("bound");
    let bound = socket2::SockRef::from(&listener).local_addr().expect("an address").as_socket().expect("of TCP");
    let server = Server::new(listener).expect("a server");
    let stop = server.stop_handle();
    let serving = thread::spawn(move || server.serve(echo));
    let mut client = Client::new(Address::Tcp(bound.to_string()));
    assert_eq!(client.send(get().body("x")).expect("an answer").collect(9).expect("its end").text(), "x");
    stop.stop();
    serving.join().expect("no panic").expect("served");
}

#[test]
fn without_keeping_each_request_has_its_connection() {
    let path = Path::new();
    let listener = path.listen();
    let application = thread::spawn(move || {
        for _ in 0..2 {
            let mut connection = listener.accept().expect("a connection").0;
            let request = receive_request(&mut connection);
            assert_eq!(request[10], 0, "the flags");
            connection.write_all(&[stdout("\n"), END.to_vec()].concat()).expect("sent");
        }
    });
    let mut client = path.client().keep_connection(false);
    for _ in 0..2 {
        client.send(get()).expect("an answer").collect(0).expect("its end");
    }
    application.join().expect("no panic");
}

/// The application closes what we would have kept, or says more than it should.
#[test]
fn a_kept_connection_is_made_anew_when_it_is_no_good() {
    let path = Path::new();
    let answer: &[u8] = [stdout("\nhi"), END.to_vec()].concat().leak();
    let chatty: &[u8] = [answer, b"more"].concat().leak();
    let application = application(&path, &[answer, chatty, answer]);
    let mut client = path.client();
    for _ in 0..3 {
        let answer = client.send(get()).expect("an answer").collect(2).expect("its end");
        assert_eq!(answer.text(), "hi");
        // Before that a next request would be lost, as documented.
        application.recv_timeout(Duration::from_secs(20)).expect("closed");
    }
}

#[test]
fn stderr_and_stdout_come_in_any_pieces() {
    let path = Path::new();
    let mut answer = Vec::new();
    for (index, byte) in b"Status: 404 Gone\r\nX: y\r\n\r\nbody".iter().enumerate() {
        answer.extend([1, 6, 0, 1, 0, 1, 3, 0, *byte, 0, 0, 0, 1, 7, 0, 1, 0, 1, 0, 0, b'a' + (index % 26) as u8]);
    }
    answer.extend(b"\x01\x06\0\x01\0\0\0\0\x01\x07\0\x01\0\0\0\0\x01\x03\0\x01\0\x08\0\0\x01\x02\x03\x04\0\0\0\0");
    let _application = application(&path, &[answer.leak()]);
    let answer = path.client().send(get()).expect("an answer").collect(4).expect("its end");
    assert_eq!((answer.status(), answer.header("x"), answer.body()), (404, Some("y"), &b"body"[..]));
    assert_eq!((answer.stderr(), answer.app_status()), (&b"abcdefghijklmnopqrstuvwxyzabcd"[..], 0x0102_0304));
}

#[test]
fn what_is_no_answer() {
    #[track_caller]
    fn check(answer: &[u8], want: fn(&Error) -> bool) {
        let path = Path::new();
        let _application = application(&path, &[answer.to_vec().leak()]);
        let error = path.client().send(get()).and_then(|response| response.collect(9)).expect_err("no answer");
        assert!(want(&error), "{error:?}");
        assert!(!error.to_string().contains('\n'));
    }
    let lost = |error: &Error| matches!(error, Error::Lost(error) if error.kind() == ErrorKind::UnexpectedEof);
    check(b"", lost);
    check(b"\x01\x06\0\x01\0\x09\0\0\n", lost);
    check(&stdout("\nhi"), lost);
    check(END, |error| matches!(error, Error::NoHeader(0)));
    check(&[stdout("Status: 200 OK\n"), END.to_vec()].concat(), |error| matches!(error, Error::NoHeader(0)));
    check(b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\x02\0\0\0", |error| {
        matches!(error, Error::Refused(ProtocolStatus::Overloaded))
    });
    check(b"\x01\x06\0\x02\0\0\0\0", |error| matches!(error, Error::UnknownId(2)));
    check(b"HTTP/1.1 200 OK", |error| matches!(error, Error::Protocol(_)));
    check(&stdout("<html>\n"), |error| matches!(error, Error::Header(line) if line == "<html>"));
    check(&stdout("\n0123456789"), |error| matches!(error, Error::TooLarge("body", 9)));
}

#[test]
fn nobody_there_or_nobody_answers() {
    let path = Path::new();
    let error = path.client().send(get()).err();
    assert!(matches!(&error, Some(Error::Connect(..))), "{error:?}");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = Address::Tcp(taken.local_addr().expect("an address").to_string());
    drop(taken);
    let error = Client::new(closed).send(get()).err();
    assert!(matches!(&error, Some(Error::Connect(..))), "{error:?}");

    // Connections wait in the queue, and nobody reads what they bring.
    let _silent = path.listen();
    let body = vec![0; 3_000_000];
    for client in
        [path.client().timeout(Duration::from_millis(50)), path.client().total_time(Duration::from_millis(50))]
    {
        let (mut client, begun) = (client, Instant::now());
        for request in [get(), Request::new("POST", "/").body(&body)] {
            let error = client.send(request).err();
            assert!(matches!(error, Some(Error::TimedOut)), "{error:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

/// An application that sends on and on is held to the total time.
#[test]
fn the_total_time_ends_an_endless_answer() {
    let server = Running::start(endless);
    let mut client = client(&server).total_time(Duration::from_millis(100));
    let mut response = client.send(get()).expect("an answer");
    let error = io::copy(&mut response, &mut io::sink()).expect_err("no end");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_body_that_cannot_be_read() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::PermissionDenied.into())
        }
    }
    let server = Running::start(echo);
    let mut client = client(&server);
    let error = client.send(Request::new("POST", "/").body_from((&b"some"[..]).chain(Broken))).err();
    assert!(matches!(&error, Some(Error::Body(error)) if error.kind() == ErrorKind::PermissionDenied), "{error:?}");
    assert_eq!(client.send(get()).expect("an answer").collect(0).expect("its end").status(), 200);
}
