//! A response that its handler ends and works on: its connection is another's, or closed.

mod common;

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use fcgi_app::{Body, Limits, Request, Response, Roles, Server};

use common::{CLOSE, Client, END_PARAMS, END_STDIN, KEEP, Running, answer, begin, begin_role, get, params, record};

const PATIENCE: Duration = Duration::from_secs(20);
const DONE: &[u8] = b"Status: 200 OK\r\nContent-Length: 4\r\n\r\ndone";
const HELLO: &[u8] = b"Status: 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// What a handler tells its test, and what it is told.
struct Heard {
    said: Receiver<String>,
    go: Sender<()>,
}

impl Heard {
    #[track_caller]
    fn expect(&self, want: &str) {
        assert_eq!(self.said.recv_timeout(PATIENCE).expect("the handler says something"), want);
    }

    /// Lets a handler that waits for that return.
    #[track_caller]
    fn let_go(&self) {
        self.go.send(()).expect("the handler waits");
        self.expect("returns");
    }

    #[track_caller]
    fn expect_silence(&self) {
        assert_eq!(self.said.recv_timeout(Duration::from_millis(300)), Err(mpsc::RecvTimeoutError::Timeout));
    }
}

/// A server whose handler does what `DO` names.
fn serve_with(configure: impl FnOnce(Server) -> Server) -> (Running, Heard) {
    let ((tell, said), (go, may_go)) = (mpsc::channel(), mpsc::channel());
    let may_go = Mutex::new(may_go);
    let handler = move |request: &Request, body: &mut Body, out: &mut Response| -> io::Result<()> {
        let say = |what: String| tell.send(what).expect("the test listens");
        let kind = |error: io::Error| error.kind();
        let pause = || may_go.lock().expect("no panic").recv_timeout(PATIENCE).expect("the test goes on");
        match request.param_str("DO") {
            Some("finish") => {
                out.write_all(b"done")?;
                out.finish()?;
                out.finish()?;
                say(format!("{:?}", out.write(b"more").map_err(kind)));
                say(format!("{:?}", body.read(&mut [0]).map_err(kind)));
                say(format!("{:?}", out.wait(Duration::from_millis(1)).map_err(kind)));
                pause();
                say("returns".into());
                Err(io::Error::other("it is too late to fail"))
            }
            Some("quick") => {
                out.write_all(b"done")?;
                out.finish()
            }
            Some("large") => {
                out.write_all(&vec![b'x'; request.param_str("N").expect("a length").parse().expect("a number")])?;
                out.finish()?;
                pause();
                say("returns".into());
                Ok(())
            }
            Some("waits") => {
                out.write_all(b"done")?;
                out.finish()?;
                let begun = Instant::now();
                let waited = out.wait(Duration::from_secs(1)).map_err(kind);
                say(format!("{waited:?} {}", begun.elapsed() >= Duration::from_secs(1)));
                Ok(())
            }
            Some("badly") => {
                out.set("Content-Length", "9").write_all(b"short")?;
                say(format!("{:?}", out.finish().map_err(kind)));
                Ok(())
            }
            Some("204") => {
                out.status(204).write_all(b"body")?;
                out.finish()
            }
            Some("nothing") => out.finish(),
            _ => out.write_all(b"hello"),
        }
    };
    (Running::start_as(configure, handler), Heard { said, go })
}

fn ask(client: &mut Client, what: &str) {
    client.send(&get(KEEP, &[("DO", what)]));
}

#[test]
fn its_connection_is_served_meanwhile() {
    for multiplexed in [false, true] {
        let (server, heard) = serve_with(|server| server.multiplex(multiplexed));
        let mut client = server.connect();
        let (done, hello) = (answer(DONE, 0), answer(HELLO, 0));
        for _ in 0..2 {
            ask(&mut client, "finish");
            assert_eq!(client.receive(done.len()), done);
            heard.expect("Err(InvalidInput)");
            heard.expect("Ok(0)");
            heard.expect("Ok(Elapsed)");
            ask(&mut client, "hello");
            assert_eq!(client.receive(hello.len()), hello);
        }
        heard.let_go();
        heard.let_go();
        ask(&mut client, "hello");
        assert_eq!(client.receive(hello.len()), hello);
    }
}

/// Threads that accept are there for it, again and again.
#[test]
fn a_connection_is_given_away_more_often_than_there_are_threads() {
    let (server, _heard) = serve_with(|server| server.limits(Limits { connections: 3, ..Limits::default() }));
    let (mut client, mut closed) = (server.connect(), 0);
    let done = answer(DONE, 0);
    for _ in 0..50 {
        if client.0.write_all(&get(KEEP, &[("DO", "quick")])).is_err() {
            client = server.connect();
            ask(&mut client, "quick");
        }
        assert_eq!(client.receive(done.len()), done);
        // Now and then a handler before it may not have returned yet.
        client.0.set_nonblocking(true).expect("a mode");
        if client.0.read(&mut [0]).is_ok() {
            closed += 1;
            client = server.connect();
        }
        client.0.set_nonblocking(false).expect("a mode");
    }
    assert!(closed < 20, "closed {closed} times");
}

/// It is closed if it was not kept, and a stop waits for the handler.
#[test]
fn a_connection_that_is_not_kept_is_closed() {
    for multiplexed in [false, true] {
        let (server, heard) = serve_with(|server| server.multiplex(multiplexed));
        let mut client = server.connect();
        client.send(&get(CLOSE, &[("DO", "finish")]));
        assert_eq!(client.receive_all(), answer(DONE, 0));
        for want in ["Err(InvalidInput)", "Ok(0)", "Ok(Elapsed)"] {
            heard.expect(want);
        }
        server.stop.stop();
        heard.expect_silence();
        assert!(server.thread.as_ref().is_some_and(|thread| !thread.is_finished()), "a stop waits");
        heard.let_go();
    }
}

#[test]
fn a_connection_with_more_of_a_body_is_closed() {
    let (server, heard) = serve_with(|server| server);
    let mut client = server.connect();
    client.send(&[&begin(KEEP)[..], &params(&[("DO", "finish")]), END_PARAMS, &record(5, b"some")].concat());
    assert_eq!(client.receive_all(), answer(DONE, 0));
    for want in ["Err(InvalidInput)", "Ok(1)", "Ok(Elapsed)"] {
        heard.expect(want);
    }
    // The handler holds no connection that lingers for longer than others do.
    let begun = Instant::now();
    while client.0.write(&[0]).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it is open");
        thread::sleep(Duration::from_millis(50));
    }
    heard.let_go();
}

/// With one thread there is none for the connection; for the next there is.
#[test]
fn a_connection_for_which_there_is_no_thread_is_closed() {
    let (server, heard) = serve_with(|server| server.limits(Limits { connections: 1, ..Limits::default() }));
    let mut client = server.connect();
    ask(&mut client, "finish");
    assert_eq!(client.receive_all(), answer(DONE, 0));
    for want in ["Err(InvalidInput)", "Ok(0)", "Ok(Elapsed)"] {
        heard.expect(want);
    }
    heard.let_go();
    assert_eq!(server.ask(&get(CLOSE, &[])), answer(HELLO, 0));
}

/// A handler that works on is in no one's way: an idle connection makes room for another.
#[test]
fn others_make_room_for_a_new_connection() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let (server, heard) = serve_with(|server| server.multiplex(true).limits(limits));
    let mut first = server.connect();
    ask(&mut first, "finish");
    first.receive_answer();
    for want in ["Err(InvalidInput)", "Ok(0)", "Ok(Elapsed)"] {
        heard.expect(want);
    }
    let mut second = server.connect();
    ask(&mut second, "hello");
    second.receive_answer();
    assert_eq!(server.ask(&get(CLOSE, &[])), answer(HELLO, 0));
    heard.let_go();
}

/// The thread that reads may have gone before the handler ends the response, while its last write was blocked.
#[test]
fn a_peer_that_sends_on_gets_the_end_of_the_connection() {
    for multiplexed in [false, true] {
        for len in (150_000..450_000).step_by(50_000) {
            let (server, heard) = serve_with(|server| server.multiplex(multiplexed));
            let mut client = server.connect();
            let params = params(&[("DO", "large"), ("N", &len.to_string())]);
            client.send(&[&begin(CLOSE)[..], &params, END_PARAMS].concat());
            let header = client.receive(8); // It is in its write, perhaps the last.
            client.send(&record(5, b"some"));
            client.receive(usize::from(header[4]) << 8 | usize::from(header[5]));
            client.receive(usize::from(header[6]));
            client.receive_answer();
            assert_eq!(client.0.read(&mut [0; 8]).map_err(|error| error.kind()), Ok(0), "{len}");
            heard.let_go();
        }
    }
}

/// What becomes of the connection is nothing to a handler that is done with it.
#[test]
fn a_wait_behind_the_end_is_a_sleep() {
    for multiplexed in [false, true] {
        let (server, heard) = serve_with(|server| server.multiplex(multiplexed));
        let mut client = server.connect();
        ask(&mut client, "waits");
        client.receive_answer();
        client.send(&[9; 64]); // no FastCGI
        drop(client);
        heard.expect("Ok(Elapsed) true");
    }
}

#[test]
fn what_is_not_whole_is_not_finished() {
    for multiplexed in [false, true] {
        let (server, heard) = serve_with(|server| server.multiplex(multiplexed));
        let mut client = server.connect();
        ask(&mut client, "badly");
        heard.expect("Err(InvalidInput)");
        assert!(client.receive_answer().0.starts_with(b"Status: 500 "));
    }
}

#[test]
fn responses_without_a_body() {
    for multiplexed in [false, true] {
        let (server, _heard) = serve_with(|server| server.multiplex(multiplexed));
        let mut client = server.connect();
        for (method, what, want) in [
            ("HEAD", "quick", &b"Status: 200 OK\r\nContent-Length: 4\r\n\r\n"[..]),
            ("HEAD", "nothing", b"Status: 200 OK\r\n\r\n"),
            ("GET", "204", b"Status: 204 No Content\r\n\r\n"),
            ("GET", "hello", HELLO),
        ] {
            client.send(&get(KEEP, &[("REQUEST_METHOD", method), ("DO", what)]));
            let want = answer(want, 0);
            assert_eq!(client.receive(want.len()), want, "{method} {what}");
        }
    }
}

#[test]
fn a_filter_ends_no_response_before_its_input() {
    for multiplexed in [false, true] {
        let roles = Roles::new().filter(|_: &Request, body: &mut Body, out: &mut Response| -> io::Result<()> {
            out.write_all(b"early")?;
            assert_eq!(out.finish().map_err(|error| error.kind()), Err(ErrorKind::InvalidInput));
            body.read_to_end(&mut Vec::new())?;
            out.finish()
        });
        let server = Running::start_as(|server| server.multiplex(multiplexed), roles);
        let mut client = server.connect();
        client.send(&[&begin_role(3, KEEP)[..], &params(&[("A", "b")]), END_PARAMS].concat());
        client.send(&[&record(5, b"in")[..], END_STDIN, &record(8, b"data"), &record(8, b"")].concat());
        assert!(client.receive_answer().0.ends_with(b"early"));
    }
}
