//! `fcgi_app::test`: handlers called without a socket, by the way a request from a web server takes.

use std::cell::Cell;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::sync::Mutex;
use std::time::Duration;

use fcgi_app::test::{Application, Error, Request, Role};
use fcgi_app::{Body, HandlerError, HttpError, Limits, Response, Roles, Waited};

fn echo(request: &fcgi_app::Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes)?;
    if let Some(status) = request.param_str("STATUS") {
        out.app_status(status.parse().map_err(io::Error::other)?);
    }
    writeln!(out.error_log(), "{} bytes", bytes.len())?;
    out.content_type("x/y").write_all(&bytes)
}

#[test]
fn all_of_an_answer_is_there() {
    let application = Application::new(echo);
    let body: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
    for body in [&b""[..], b"hello", &body] {
        let answer = application.call(Request::new("POST", "/").param("STATUS", "4294967295").body(body));
        let answer = answer.expect("an answer");
        assert_eq!((answer.status(), answer.header("content-type"), answer.app_status()), (200, Some("x/y"), u32::MAX));
        assert!(answer.body() == body);
        assert_eq!(String::from_utf8_lossy(answer.stderr()), format!("{} bytes\n", body.len()));
    }
    let head = application.call(Request::new("HEAD", "/").body("hello")).expect("an answer");
    assert_eq!((head.body(), head.header("Content-Length")), (&b""[..], Some("5")));
}

#[test]
fn a_body_comes_in_the_pieces_that_are_asked_for() {
    let pieces = |_: &fcgi_app::Request, body: &mut Body, out: &mut Response| loop {
        let len = match body.fill_buf()? {
            [] => return io::Result::Ok(()),
            piece => {
                write!(out, "{} ", String::from_utf8_lossy(piece))?;
                piece.len()
            }
        };
        body.consume(len);
    };
    let application = Application::new(pieces).pieces(2);
    let answer = application.call(Request::new("POST", "/").body("hello")).expect("an answer");
    assert_eq!(answer.text(), "he ll o ");
}

#[test]
fn every_role() {
    let guard = |request: &fcgi_app::Request, out: &mut Response| {
        out.status(if request.param_str("REMOTE_USER").is_some() { 200 } else { 403 });
        io::Result::Ok(())
    };
    let filter = |_: &fcgi_app::Request, body: &mut Body, out: &mut Response| {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)?;
        body.data()?.read_to_end(&mut bytes)?;
        out.write_all(&bytes)
    };
    let application = Application::new(Roles::new().authorizer(guard).filter(filter));
    let authorize =
        |request: Request<'_>| application.call(request.role(Role::Authorizer)).expect("an answer").status();
    assert_eq!(authorize(Request::new("GET", "/")), 403);
    assert_eq!(authorize(Request::new("GET", "/").param("REMOTE_USER", "ann").body("unread")), 200);
    let filtered = application.call(Request::new("POST", "/").role(Role::Filter).body("body ").data("data"));
    assert_eq!(filtered.expect("an answer").text(), "body data");
    let cut = Request::new("POST", "/").role(Role::Filter).data("data").data_from(&b"dat"[..]);
    assert_eq!(application.call(cut).expect("an answer").status(), 500);
    let refused = application.call(Request::new("GET", "/"));
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
}

#[test]
fn what_fails_is_answered() {
    let panics = |_: &fcgi_app::Request, _: &mut Body, _: &mut Response| -> io::Result<()> { panic!("on purpose") };
    let answer = Application::new(panics).call(Request::new("GET", "/")).expect("an answer");
    assert_eq!((answer.status(), answer.app_status()), (500, 101));
    assert!(String::from_utf8_lossy(answer.stderr()).contains("on purpose"));

    let limits = Limits { params_len: 300, body_len: Some(5), ..Limits::default() };
    let application = Application::new(echo).limits(limits);
    let long = Request::new("GET", "/").param("LONG", "x".repeat(300));
    assert_eq!(application.call(long).expect("an answer").status(), 431);
    assert_eq!(application.call(Request::new("POST", "/").body("123456")).expect("an answer").status(), 413);
    assert_eq!(application.call(Request::new("POST", "/").body("12345")).expect("an answer").status(), 200);
}

/// A response of which nothing is missing is whole, even if its handler fails afterwards.
#[test]
fn a_response_that_is_broken_off_is_lost() {
    let fails = |request: &fcgi_app::Request, _: &mut Body, out: &mut Response| {
        if let Some(length) = request.param_str("LENGTH") {
            out.set("Content-Length", length);
        }
        out.write_all(b"begun")?;
        if request.param_str("FLUSH").is_some() {
            out.flush()?;
        }
        match request.param_str("WHAT") {
            Some("panic") => panic!("on purpose"),
            Some("abort") => out.abort(),
            Some("short") => {}
            _ => return Err(io::Error::other("on purpose")),
        }
        io::Result::Ok(())
    };
    let application = Application::new(fails);
    for request in [
        Request::new("GET", "/"),
        Request::new("GET", "/").param("WHAT", "panic"),
        Request::new("GET", "/").param("WHAT", "abort"),
        Request::new("GET", "/").param("LENGTH", "6"),
        Request::new("GET", "/").param("LENGTH", "6").param("WHAT", "short"),
    ] {
        let answer = application.call(request.param("FLUSH", "1"));
        assert!(matches!(&answer, Err(Error::Lost(error)) if error.kind() == ErrorKind::UnexpectedEof), "{answer:?}");
    }
    assert_eq!(application.call(Request::new("GET", "/")).expect("a response").status(), 500);
    let whole = application.call(Request::new("GET", "/").param("LENGTH", "5").param("FLUSH", "1"));
    let whole = whole.expect("a response");
    assert_eq!((whole.status(), whole.text(), whole.app_status()), (200, "begun".into(), 1));
}

/// What the handler's last read said, after how many bytes, and what came of the request.
#[test]
fn bodies_that_do_not_come_whole() {
    let seen: &'static Mutex<Option<(usize, ErrorKind)>> = Box::leak(Box::default());
    let read = move |_: &fcgi_app::Request, body: &mut Body, _: &mut Response| {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).map(drop).inspect_err(|error| {
            *seen.lock().expect("no panic") = Some((bytes.len(), error.kind()));
        })
    };
    let application = Application::new(read).pieces(2);
    let request = || Request::new("POST", "/").body("hello");
    let take = || seen.lock().expect("no panic").take();

    assert_eq!(application.call(request()).expect("an answer").status(), 200);
    assert_eq!(take(), None);
    let short = application.call(request().body_from(&b"hell"[..])).expect("an answer");
    assert_eq!((short.status(), take()), (500, Some((4, ErrorKind::UnexpectedEof))));
    for after in [0, 3, 5] {
        let aborted = application.abort_after(after, request());
        assert!(matches!(aborted, Err(Error::NoHeader(1))), "{aborted:?}");
        assert_eq!(take(), Some((after as usize, ErrorKind::ConnectionAborted)));
        let cut = application.cut_after(after, request());
        assert!(matches!(cut, Err(Error::Lost(_))), "{cut:?}");
        assert_eq!(take(), Some((after as usize, ErrorKind::ConnectionAborted)));
    }
    let broken = Read::chain(&b"hel"[..], Broken(Cell::new(false)));
    let failed = application.call(request().body_from(broken));
    assert!(matches!(&failed, Err(Error::Lost(_))), "{failed:?}");
    assert_eq!(take(), Some((3, ErrorKind::PermissionDenied)));
}

/// A source that cannot be read.
struct Broken(Cell<bool>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        assert!(!self.0.replace(true), "once is enough");
        Err(ErrorKind::PermissionDenied.into())
    }
}

/// A response that its handler ends is whole, and the handler works on: without a socket there is no peer to be gone.
#[test]
fn waits_and_an_early_end() {
    static DONE: Mutex<Option<String>> = Mutex::new(None);
    let application = Application::new(|_: &fcgi_app::Request, _: &mut Body, out: &mut Response| {
        assert!(out.is_wanted() && !out.is_stopping());
        assert_eq!(out.wait(Duration::from_millis(1))?, Waited::Elapsed);
        out.write_all(b"hello")?;
        out.finish()?;
        assert_eq!(out.wait(Duration::from_millis(1))?, Waited::Elapsed);
        let late = out.write(b"more").map_err(|error| error.kind());
        *DONE.lock().expect("no panic") = Some(format!("{late:?}"));
        Err::<(), _>(io::Error::other("too late to fail"))
    });
    for body in [&b""[..], b"a body that is not read"] {
        let answer = application.call(Request::new("POST", "/").body(body)).expect("an answer");
        assert_eq!((answer.status(), answer.text()), (200, "hello".into()));
        assert_eq!(DONE.lock().expect("no panic").take(), Some("Err(InvalidInput)".to_owned()));
    }
}

/// What a wrapper of a handler takes for its status is what the client gets.
#[test]
fn the_status_of_an_error_is_that_of_its_response() {
    static SEEN: Mutex<Option<u16>> = Mutex::new(None);
    let handle = |request: &fcgi_app::Request, body: &mut Body| -> Result<(), HandlerError> {
        match request.param_str("WHAT") {
            Some("form") => drop(fcgi_app::Form::read(request, body, 10)?),
            Some("body") => drop(io::copy(body, &mut io::sink())?),
            Some("status") => Err(HttpError::new(404, "there is none"))?,
            Some("wrapped") => Err(io::Error::other(HttpError::new(403, "not for you")))?,
            _ => Err("it fails")?,
        }
        Ok(())
    };
    let application = Application::new(move |request: &fcgi_app::Request, body: &mut Body, _: &mut Response| {
        let result = handle(request, body);
        *SEEN.lock().expect("no panic") = result.as_ref().err().map(|error| HttpError::status_of(&**error));
        result
    })
    .limits(Limits { body_len: Some(100), ..Limits::default() });
    for (what, status) in [("form", 413), ("body", 413), ("status", 404), ("wrapped", 403), ("other", 500)] {
        let request = Request::new("POST", "/").param("WHAT", what).body(&[b'a'; 200]);
        let request = request.param("CONTENT_TYPE", "application/x-www-form-urlencoded");
        assert_eq!(application.call(request).expect("a response").status(), status, "{what}");
        assert_eq!(SEEN.lock().expect("no panic").take(), Some(status), "{what}");
    }
}
