//! What handlers that wait are told: that their client has gone, and that the server stops. And how long a response may
//! take: as long as its reader reads.

mod common;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fcgi_app::{Address, Body, Limits, Listener, Request, Response, Server, Waited};
use socket2::SockRef;

use common::{CLOSE, Client, END_PARAMS, KEEP, Running, answer, begin, get, record};

const PATIENCE: Duration = Duration::from_secs(20);
/// What no wait here may take to its end.
const LONG: Duration = Duration::from_secs(600);
const HEAD: &[u8] = b"Status: 200 OK\r\n\r\n";

/// What a handler tells its test, and what it is told.
struct Heard {
    said: Receiver<String>,
    go: Sender<()>,
}

impl Heard {
    #[track_caller]
    fn next(&self) -> String {
        self.said.recv_timeout(PATIENCE).expect("the handler says something")
    }

    #[track_caller]
    fn expect(&self, want: &str) {
        assert_eq!(self.next(), want);
    }
}

/// A server whose handler does what `DO` names.
fn serve(start: impl FnOnce(fcgi_app::Roles) -> Running) -> (Running, Heard) {
    let ((tell, said), (go, may_go)) = (mpsc::channel(), mpsc::channel());
    let may_go = Arc::new(Mutex::new(may_go));
    let handler = move |request: &Request, _: &mut Body, out: &mut Response| -> io::Result<()> {
        let say = |what: String| tell.send(what).expect("the test listens");
        let pause = || may_go.lock().expect("no panic").recv_timeout(PATIENCE).expect("the test goes on");
        match request.param_str("DO") {
            Some("wait") => {
                say("waits".into());
                say(format!("{:?}", out.wait(LONG).map_err(|error| error.kind())));
                out.write_all(b"late")
            }
            Some("look") => {
                say(format!("{}", out.is_wanted()));
                pause();
                // The end of a connection takes a moment to come.
                let begun = Instant::now();
                while out.is_wanted() && begun.elapsed() < PATIENCE {
                    thread::yield_now();
                }
                say(format!("{}", out.is_wanted()));
                out.write_all(b"late")
            }
            Some("events") => {
                loop {
                    out.write_all(b"data: 1\n\n")?;
                    out.flush()?;
                    if out.wait(Duration::from_millis(20))? == Waited::Stopping {
                        break;
                    }
                }
                assert!(out.is_stopping());
                out.write_all(b"bye")
            }
            Some("paced") => {
                let mut events = 0;
                while events < 1000 {
                    events += 1;
                    out.write_all(b"data\n")?;
                    out.flush()?;
                    if events == 1 {
                        say("waits".into());
                    }
                    // It does not look whether the server stops.
                    let _ = out.wait(Duration::from_millis(300))?;
                }
                Ok(())
            }
            Some("large") => {
                let written = out.write_all(&vec![b'x'; 10 << 20]);
                say(format!("{:?}", written.as_ref().map_err(io::Error::kind)));
                written
            }
            _ => out.write_all(b"hello"),
        }
    };
    (start(handler.into()), Heard { said, go })
}

fn serve_with(configure: impl FnOnce(Server) -> Server) -> (Running, Heard) {
    serve(|roles| Running::start_as(configure, roles))
}

fn ask(client: &mut Client, what: &str) {
    client.send(&get(KEEP, &[("DO", what)]));
}

/// A server on TCP and a connection to it.
fn serve_tcp(configure: impl FnOnce(Server) -> Server) -> (Running, Heard, TcpStream) {
    let listener = Listener::bind(&Address::Tcp("127.0.0.1:0".into())).expect("bound");
    let bound = SockRef::from(&listener.as_fd()).local_addr().expect("an address");
    let (server, heard) = serve(|roles| {
        let server = configure(Server::new(listener).expect("a server"));
        let stop = server.stop_handle();
        // There is no file to be removed.
        Running { path: "/nowhere".into(), stop, thread: Some(thread::spawn(move || server.serve(roles))) }
    });
    let stream = TcpStream::connect(bound.as_socket().expect("an address")).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    (server, heard, stream)
}

#[test]
fn a_wait_ends_when_the_client_has_gone() {
    for multiplexed in [false, true] {
        let (server, heard) = serve_with(|server| server.multiplex(multiplexed));
        let mut client = server.connect();
        ask(&mut client, "wait");
        heard.expect("waits");
        drop(client);
        heard.expect("Err(ConnectionAborted)");

        let (_server, heard, mut client) = serve_tcp(|server| server.multiplex(multiplexed));
        client.write_all(&get(KEEP, &[("DO", "wait")])).expect("sent");
        heard.expect("waits");
        drop(client);
        heard.expect("Err(ConnectionAborted)");
    }
}

/// A body that was not read hides neither: what is behind it is not looked at.
#[test]
fn a_wait_ends_behind_a_body_that_was_not_read() {
    for multiplexed in [false, true] {
        let (server, heard) = serve_with(|server| server.multiplex(multiplexed));
        let mut client = server.connect();
        let params = common::params(&[("DO", "wait")]);
        client.send(&[&begin(KEEP)[..], &params, END_PARAMS, &record(5, &[b'x'; 9000])[..8000]].concat());
        heard.expect("waits");
        drop(client);
        heard.expect("Err(ConnectionAborted)");
    }
}

/// Nor does one for which there is no room, so that the thread that reads the connection waits, too.
#[test]
fn a_wait_ends_behind_a_body_for_which_there_is_no_room() {
    for multiplexed in [false, true] {
        let (server, heard) = serve_with(|server| server.multiplex(multiplexed));
        let mut client = server.connect();
        client.send(&[&begin(KEEP)[..], &common::params(&[("DO", "wait")]), END_PARAMS].concat());
        heard.expect("waits");
        client.send(&record(5, &[b'x'; 60_000]));
        client.send(&record(5, &[b'x'; 60_000]));
        assert_eq!(heard.said.recv_timeout(Duration::from_millis(200)), Err(mpsc::RecvTimeoutError::Timeout));
        drop(client);
        heard.expect("Err(ConnectionAborted)");
    }
}

/// A unix socket tells its half from its whole. (P22)
#[test]
fn a_client_that_only_ends_its_sending_is_waited_for() {
    for multiplexed in [false, true] {
        let (server, heard) = serve_with(|server| server.multiplex(multiplexed));
        let mut client = server.connect();
        ask(&mut client, "look");
        heard.expect("true");
        client.0.shutdown(Shutdown::Write).expect("half closed");
        let mut waits = server.connect();
        ask(&mut waits, "wait");
        heard.expect("waits");
        waits.0.shutdown(Shutdown::Write).expect("half closed");
        assert_eq!(heard.said.recv_timeout(Duration::from_millis(200)), Err(mpsc::RecvTimeoutError::Timeout));
        drop(waits);
        heard.expect("Err(ConnectionAborted)");
        heard.go.send(()).expect("the handler waits");
        drop(client);
        heard.expect("false");
    }
}

/// TCP does not: it counts as gone, but what is written is sent. (P22)
#[test]
fn over_tcp_the_end_of_sending_is_the_end_unless_it_is_allowed() {
    for multiplexed in [false, true] {
        let (_server, heard, mut client) = serve_tcp(|server| server.multiplex(multiplexed));
        client.write_all(&get(KEEP, &[("DO", "look")])).expect("sent");
        heard.expect("true");
        heard.go.send(()).expect("the handler waits");
        client.shutdown(Shutdown::Write).expect("half closed");
        heard.expect("false");
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("until the end");
        assert_eq!(got, answer(b"Status: 200 OK\r\nContent-Length: 4\r\n\r\nlate", 0));

        let (_server, heard, mut client) = serve_tcp(|server| server.multiplex(multiplexed).half_close(true));
        client.write_all(&get(KEEP, &[("DO", "wait")])).expect("sent");
        heard.expect("waits");
        client.shutdown(Shutdown::Write).expect("half closed");
        assert_eq!(heard.said.recv_timeout(Duration::from_millis(200)), Err(mpsc::RecvTimeoutError::Timeout));
        // A reset is the end all the same.
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option");
        drop(client);
        heard.expect("Err(ConnectionAborted)");
    }
}

#[test]
fn a_stop_ends_a_wait_and_an_event_stream() {
    for multiplexed in [false, true] {
        let limits = Limits { stop_timeout: LONG, ..Limits::default() };
        let (server, heard) = serve_with(|server| server.multiplex(multiplexed).limits(limits));
        let mut waits = server.connect();
        ask(&mut waits, "wait");
        heard.expect("waits");
        // A body that fills what there is room for, so that the thread that reads the connection waits, too.
        let mut behind_a_body = server.connect();
        let params = common::params(&[("DO", "wait")]);
        behind_a_body.send(&[&begin(KEEP)[..], &params, END_PARAMS].concat());
        heard.expect("waits");
        behind_a_body.send(&record(5, &[b'x'; 60_000]));
        behind_a_body.send(&record(5, &[b'x'; 60_000]));
        let mut events = server.connect();
        ask(&mut events, "events");
        let first = [record(6, &[HEAD, b"data: 1\n\n"].concat()), record(6, b"data: 1\n\n")].concat();
        assert_eq!(events.receive(first.len()), first);
        server.stop.stop();
        heard.expect("Ok(Stopping)");
        heard.expect("Ok(Stopping)");
        assert_eq!(waits.receive_all(), answer(b"Status: 200 OK\r\nContent-Length: 4\r\n\r\nlate", 0));
        let rest = events.receive_all();
        assert!(rest.ends_with(&answer(b"bye", 0)), "{}", rest.escape_ascii());
    }
}

/// A stop that a handler does not look for makes it no faster.
#[test]
fn a_handler_that_goes_on_in_a_stop_goes_on_at_its_pace() {
    let limits = Limits { stop_timeout: Duration::from_secs(2), ..Limits::default() };
    for multiplexed in [false, true] {
        let (server, heard) = serve_with(|server| server.multiplex(multiplexed).limits(limits));
        let mut client = server.connect();
        ask(&mut client, "paced");
        heard.expect("waits");
        server.stop.stop();
        // Eight in the two seconds, and as few more as there are waits cut short.
        let events = client.receive_all().windows(5).filter(|bytes| bytes == b"data\n").count();
        assert!(events < 20, "multiplexed {multiplexed}: {events} events");
    }
}

/// The end of a response and that of its connection may cross.
#[test]
fn a_client_that_closes_behind_the_end_of_its_response_leaves_nothing() {
    let (server, _heard, mut client) = serve_tcp(|server| server.multiplex(true));
    let address = client.peer_addr().expect("an address");
    let hello = answer(b"Status: 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0);
    let ask = |client: &mut TcpStream| {
        client.write_all(&get(CLOSE, &[])).expect("sent");
        let mut got = vec![0; hello.len()];
        client.read_exact(&mut got).expect("a response");
        assert_eq!(got, hello);
    };
    ask(&mut client);
    drop(client);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| ask(&mut TcpStream::connect(address).expect("it listens"))));
        }
    });
    // Each connection that stayed would hold up the stop for all of its time.
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < Limits::default().stop_timeout, "{:?}", begun.elapsed());
}

/// A peer that does not close behind what broke a response off is closed.
#[test]
fn a_peer_that_ignores_the_end_of_its_connection_is_closed() {
    for multiplexed in [false, true] {
        let fails = |_: &Request, _: &mut Body, out: &mut Response| -> io::Result<()> {
            out.write_all(b"some")?;
            out.flush()?;
            Err(io::Error::other("fails"))
        };
        let server = Running::start_as(|server| server.multiplex(multiplexed), fails);
        let mut client = server.connect();
        ask(&mut client, "fail");
        assert!(client.receive_all().ends_with(&[0; 8]));
        // After 2 s, which are kept to about two more.
        let begun = Instant::now();
        while client.0.write(&[0]).is_ok() {
            assert!(begun.elapsed() < PATIENCE, "multiplexed {multiplexed}: it is open");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What began while a response was broken off is told that its connection is over.
#[test]
fn a_request_that_begins_while_another_is_broken_off_is_told() {
    /// More than what the socket takes of which nothing is read, in one write.
    const LINES: usize = 240 << 10;
    let (tell, said) = mpsc::channel::<String>();
    let handler = move |request: &Request, _: &mut Body, out: &mut Response| -> io::Result<()> {
        if request.param_str("DO") == Some("wait") {
            let _ = tell.send("waits".into());
            let _ = tell.send(format!("{:?}", out.wait(LONG).map_err(|error| error.kind())));
            return Ok(());
        }
        out.write_all(b"begun")?;
        out.flush()?;
        out.error_log().write_all(&vec![b'x'; LINES])?;
        Err(io::Error::other("it fails"))
    };
    let server = Running::start_as(|server| server.multiplex(true), handler);
    let mut client = server.connect();
    ask(&mut client, "fail");
    // It is blocked in what breaks the response off when much of that is there.
    let (begun, mut there) = (Instant::now(), vec![std::mem::MaybeUninit::uninit(); LINES / 4]);
    while SockRef::from(&client.0).peek(&mut there).expect("it is open") < LINES / 4 {
        assert!(begun.elapsed() < PATIENCE, "it does not come");
        thread::sleep(Duration::from_millis(5));
    }
    let mut second = get(KEEP, &[("DO", "wait")]);
    let mut at = 0;
    while at < second.len() {
        second[at + 3] = 2; // the id
        at += 8 + usize::from(second[at + 5]);
    }
    client.send(&second);
    assert_eq!(said.recv_timeout(PATIENCE).as_deref(), Ok("waits"));
    assert!(client.receive_all().ends_with(&[0; 8]), "it is broken off");
    drop(client);
    assert_eq!(said.recv_timeout(PATIENCE).as_deref(), Ok("Err(ConnectionAborted)"));
}

/// 10 MiB at a few hundred KB/s take longer than a write may, of which there are few.
#[test]
fn a_slow_reader_is_served_as_long_as_it_reads() {
    let limits = Limits { write_time: Duration::from_secs(1), ..Limits::default() };
    thread::scope(|scope| {
        for multiplexed in [false, true] {
            let configure = move |server: Server| server.limits(limits).multiplex(multiplexed);
            scope.spawn(move || {
                let (_server, heard, client) = serve_tcp(configure);
                read_slowly(client);
                heard.expect("Ok(())");
            });
            scope.spawn(move || {
                let (server, heard) = serve_with(configure);
                read_slowly(server.connect().0);
                heard.expect("Ok(())");
            });
        }
    });
}

/// Asks for 10 MiB, and reads slowly for 5 seconds: the time of a write, a second, is kept to about two more.
fn read_slowly(mut stream: impl Read + Write) {
    stream.write_all(&get(CLOSE, &[("DO", "large")])).expect("sent");
    let (begun, mut total, mut buffer) = (Instant::now(), 0, vec![0; 32 << 10]);
    while begun.elapsed() < Duration::from_secs(5) {
        total += stream.read(&mut buffer).expect("there is more");
        thread::sleep(Duration::from_millis(60));
    }
    assert!(total < 9 << 20, "it was not slow: {total}");
    total += usize::try_from(io::copy(&mut stream, &mut io::sink()).expect("the rest")).expect("a length");
    assert!(total > 10 << 20, "{total}");
}

/// One that reads nothing is not.
#[test]
fn a_reader_that_takes_nothing_is_given_up() {
    let limits = Limits { write_time: Duration::from_secs(1), ..Limits::default() };
    let (server, heard) = serve_with(|server| server.limits(limits));
    let mut client = server.connect();
    ask(&mut client, "large");
    heard.expect("Err(TimedOut)");
    let mut rest = Vec::new();
    let read = client.0.read_to_end(&mut rest);
    assert!(read.is_ok() || read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    assert!(rest.len() < 10 << 20);
}
