//! What a server makes of its connections.

mod common;

use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fcgi_app::{Body, HandlerError, Limits, Request, Response, Roles, Server, Waited};

use common::{CLOSE, END_PARAMS, END_STDIN, KEEP, Running, answer, begin, begin_role, get, params, record};

const HELLO: &[u8] = b"Status: 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nhi";

fn hello(_: &Request, _: &mut Body, out: &mut Response) -> io::Result<()> {
    out.content_type("text/plain").write_all(b"hi")
}

fn echo(_: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    io::copy(body, out).map(drop)
}

#[test]
fn an_answer_to_the_byte_at_every_cut() {
    let server = Running::start(hello);
    let request = get(CLOSE, &[("A", "b")]);
    for cut in 0..=request.len() {
        let mut client = server.connect();
        client.send(&request[..cut]);
        client.send(&request[cut..]);
        assert_eq!(client.receive_all(), answer(HELLO, 0), "cut at {cut}");
    }
}

#[test]
fn requests_queued_on_a_kept_connection_are_answered_in_order() {
    let server = Running::start(|request: &Request, _: &mut Body, out: &mut Response| {
        out.write_all(request.param("N").expect("sent"))
    });
    let mut client = server.connect();
    client.send(&[get(KEEP, &[("N", "1")]), get(KEEP, &[("N", "2")]), get(CLOSE, &[("N", "3")])].concat());
    for n in [b"1", b"2", b"3"] {
        let (stdout, end) = client.receive_answer();
        assert!(stdout.ends_with(n));
        assert_eq!(end, [0; 8]);
    }
    assert_eq!(client.receive_all(), b"");
}

#[test]
fn params_of_any_size_and_cut_arrive_joined() {
    let server = Running::start(|request: &Request, _: &mut Body, out: &mut Response| {
        let sum: usize = request.params().map(|(name, value)| name.len() + value.len()).sum();
        write!(out, "{sum} {}", request.param_str("LAST").unwrap_or("?"))
    });
    for size in [10, 4000, 4090, 8180, 20_000, 300_000] {
        let mut stream = [&b"\x03"[..], &(0x8000_0000 | size as u32).to_be_bytes(), b"BIG"].concat();
        stream.extend(vec![b'x'; size]);
        stream.extend(b"\x04\x02LASTok");
        for piece in [7, 1000, 65535] {
            let mut request = begin(CLOSE);
            stream.chunks(piece).for_each(|piece| request.extend(record(4, piece)));
            request.extend([END_PARAMS, END_STDIN].concat());
            let want = format!("\r\n\r\n{} ok", size + 3 + 4 + 2);
            let got = server.ask(&request);
            assert!(got.windows(want.len()).any(|part| part == want.as_bytes()), "{size} in pieces of {piece}");
        }
    }
}

#[test]
fn params_over_the_limit_are_answered_431() {
    let server = Running::start(hello);
    let mut client = server.connect();
    client.send(&[&begin(KEEP)[..], &record(4, b"\x01\xff\xff\xff\xff")].concat());
    let (stdout, _) = client.receive_answer();
    assert!(stdout.starts_with(b"Status: 431 "), "{:?}", stdout.escape_ascii().to_string());
    client.send(&[&record(4, b"rest"), END_PARAMS, END_STDIN, &get(CLOSE, &[])].concat());
    assert_eq!(client.receive_all(), answer(HELLO, 0));
}

#[test]
fn bodies_of_any_size_come_back() {
    let server = Running::start(echo);
    for len in [0, 1, 8191, 8192, 8193, 65528, 65529, 1 << 20, 9 << 20] {
        let body: Vec<u8> = (0..len).map(|i: usize| (i % 251) as u8).collect();
        let mut client = server.connect();
        let mut sender = client.0.try_clone().expect("another handle");
        let mut request = [&begin(KEEP)[..], END_PARAMS].concat();
        body.chunks(32768).for_each(|piece| request.extend(record(5, piece)));
        request.extend(END_STDIN);
        let sending = thread::spawn(move || sender.write_all(&request));
        let (stdout, end) = client.receive_answer();
        sending.join().expect("no panic").expect("sent");
        let head = stdout.windows(4).position(|part| part == b"\r\n\r\n").expect("a header section") + 4;
        assert!(stdout[head..] == body[..], "{len} bytes differ");
        assert_eq!(end, [0; 8]);
    }
}

/// On a unix socket a peer resets the connection by closing it before it has read everything.
#[test]
fn a_reset_aborts_the_request() {
    let (heard, hear) = mpsc::channel();
    let server = Running::start(move |_: &Request, body: &mut Body, out: &mut Response| {
        out.write_all(b"x").and_then(|()| out.flush())?;
        let _ = heard.send(None);
        let read = io::copy(body, &mut io::sink());
        let _ = heard.send(read.as_ref().err().map(io::Error::kind));
        read.map(drop)
    });
    let mut client = server.connect();
    client.send(&[&begin(KEEP)[..], END_PARAMS, &record(5, b"some of it")].concat());
    let patience = Duration::from_secs(20);
    assert_eq!(hear.recv_timeout(patience), Ok(None));
    drop(client);
    assert_eq!(hear.recv_timeout(patience), Ok(Some(io::ErrorKind::ConnectionAborted)));
}

#[test]
fn one_large_slice_and_many_small_ones() {
    let big: &'static [u8] = vec![b'z'; 10 << 20].leak();
    let server = Running::start(move |request: &Request, _: &mut Body, out: &mut Response| {
        if request.param("SMALL").is_some() {
            return big[..100_000].chunks(97).try_for_each(|piece| out.write_all(piece));
        }
        out.write_all(big)
    });
    for (pairs, len) in [(&[][..], big.len()), (&[("SMALL", "1")], 100_000)] {
        let mut client = server.connect();
        client.send(&get(CLOSE, pairs));
        let (stdout, _) = client.receive_answer();
        assert!(stdout.ends_with(&big[..len]));
        assert!(stdout.starts_with(b"Status: 200 OK\r\n\r\nzzz"), "no length is known when the first part leaves");
    }
}

#[test]
fn a_cut_body_is_an_error_and_never_a_success() {
    let server = Running::start(echo);
    let mut client = server.connect();
    let request =
        [&begin(KEEP)[..], &params(&[("CONTENT_LENGTH", "5")]), END_PARAMS, &record(5, b"four"), END_STDIN].concat();
    client.send(&request);
    let (stdout, end) = client.receive_answer();
    assert!(stdout.starts_with(b"Status: 500 "), "{:?}", stdout.escape_ascii().to_string());
    assert_eq!(end, [0, 0, 0, 1, 0, 0, 0, 0]);
    // One that is longer is as wrong.
    for length in ["0", "3"] {
        let pairs = params(&[("CONTENT_LENGTH", length)]);
        client.send(&[&begin(KEEP)[..], &pairs, END_PARAMS, &record(5, b"four"), END_STDIN].concat());
        let (stdout, end) = client.receive_answer();
        assert!(stdout.starts_with(b"Status: 500 ") && end[3] == 1, "{}", stdout.escape_ascii());
    }
    // A length that promises nothing changes nothing.
    for length in ["", "-1", "4", "99999999999999999999"] {
        let pairs = params(&[("CONTENT_LENGTH", length)]);
        client.send(&[&begin(KEEP)[..], &pairs, END_PARAMS, &record(5, b"four"), END_STDIN].concat());
        assert!(client.receive_answer().0.ends_with(b"\r\n\r\nfour"), "{length:?}");
    }
}

#[test]
fn half_close_after_a_whole_request_still_gets_the_answer() {
    let server = Running::start(hello);
    let mut client = server.connect();
    client.send(&get(KEEP, &[]));
    client.0.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(client.receive_all(), answer(HELLO, 0));
}

#[test]
fn half_close_inside_a_body_gets_nothing() {
    let server = Running::start(echo);
    let mut client = server.connect();
    client.send(&[&begin(KEEP)[..], END_PARAMS, &record(5, b"some")].concat());
    client.0.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(client.receive_all(), b"");
}

#[test]
fn an_abort_is_answered_by_one_end_and_the_connection_goes_on() {
    let server = Running::start(echo);
    let mut client = server.connect();
    client.send(&[&begin(KEEP)[..], &params(&[("A", "b")]), &record(2, b"")].concat());
    assert_eq!(client.receive(16), [1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    client.send(&[&begin(KEEP)[..], END_PARAMS, &record(5, b"some"), &record(2, b"ignored")].concat());
    let (stdout, _) = client.receive_answer();
    assert_eq!(stdout, b"");
    client.send(&[&get(CLOSE, &[])[..]].concat());
    assert_eq!(client.receive_all(), answer(b"Status: 200 OK\r\nContent-Length: 0\r\n\r\n", 0));
}

#[test]
fn a_wait_answers_management_records_and_ends_by_an_abort() {
    const LONG: Duration = Duration::from_secs(60);
    let (told, waits_now) = mpsc::channel();
    let server = Running::start(move |request: &Request, body: &mut Body, out: &mut Response| {
        match request.param("WAIT") {
            None => return Ok(()),
            Some(b"read") => drop(io::copy(body, out)?),
            Some(_) => {}
        }
        told.send(()).expect("the test listens");
        out.wait(LONG).map(drop)
    });
    let begun = Instant::now();
    let mut client = server.connect();
    let post = |how| [&begin(KEEP)[..], &params(&[("WAIT", how)]), END_PARAMS, &record(5, b"body"), END_STDIN].concat();
    let behind_another = [&record(5, b"late")[..], &get(KEEP, &[("WAIT", "1")])].concat();
    for request in [get(KEEP, &[("WAIT", "1")]), behind_another, post("read"), post("1")] {
        // Something else comes before it, and the next request behind it.
        client.send(&request);
        waits_now.recv_timeout(Duration::from_secs(20)).expect("a handler");
        client.send(b"\x01\x09\0\0\0\x11\x03\0\x0f\0FCGI_MPXS_CONNSpad");
        assert_eq!(client.receive(26), b"\x01\x0a\0\0\0\x12\0\0\x0f\x01FCGI_MPXS_CONNS0");
        client.send(&[record(5, b"late"), record(2, b""), get(KEEP, &[])].concat());
        assert_eq!(client.receive_answer(), (vec![], vec![0, 0, 0, 1, 0, 0, 0, 0]));
        assert_eq!(client.receive_answer().0, b"Status: 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    assert!(begun.elapsed() < LONG);
}

/// What is in a body is no record, wherever the wait begins.
#[test]
fn a_wait_looks_at_records_only() {
    const PATIENCE: Duration = Duration::from_secs(20);
    let (tell, told) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let may_go = Mutex::new(may_go);
    let server = Running::start(move |_: &Request, body: &mut Body, out: &mut Response| {
        tell.send("begun").expect("the test listens");
        may_go.lock().expect("no panic").recv_timeout(PATIENCE).expect("the test goes on");
        let mut all = Vec::new();
        while let Ok(bytes @ [_, ..]) = body.fill_now() {
            let len = bytes.len();
            all.extend_from_slice(bytes);
            body.consume(len);
        }
        tell.send("waits").expect("the test listens");
        assert_eq!(out.wait(Duration::from_millis(100))?, Waited::Elapsed);
        body.read_to_end(&mut all)?;
        out.write_all(&all)
    });
    let abort = record(2, b"");
    let streams = [&record(5, &abort)[..], &record(5, b"x"), END_STDIN].concat();
    for cut in 0..streams.len() {
        let mut client = server.connect();
        client.send(&[&begin(KEEP)[..], END_PARAMS].concat());
        assert_eq!(told.recv_timeout(PATIENCE), Ok("begun"));
        client.send(&streams[..cut]);
        go.send(()).expect("the handler waits");
        assert_eq!(told.recv_timeout(PATIENCE), Ok("waits"));
        client.send(&streams[cut..]);
        let (stdout, end) = client.receive_answer();
        assert!(stdout.ends_with(&[b"\r\n\r\n", &abort[..], b"x"].concat()), "cut at {cut}: {}", stdout.escape_ascii());
        assert_eq!(end, [0; 8], "cut at {cut}");
    }
}

#[test]
fn errors_and_panics_of_a_handler_are_500_and_the_connection_lives_on() {
    let server = Running::start(|request: &Request, _: &mut Body, out: &mut Response| -> Result<(), HandlerError> {
        match request.param_str("WHAT") {
            Some("error") => Err("it does not work".into()),
            Some("panic") => panic!("a panic that a test wants"),
            Some("injection") => Ok(out.set("X", "a\r\nSet-Cookie: b").write_all(b"secret")?),
            Some("late") => {
                out.write_all(b"body")?;
                out.set("X", "y");
                Ok(())
            }
            _ => Ok(out.write_all(b"ok")?),
        }
    });
    let mut client = server.connect();
    for (what, app_status) in [("error", 1), ("panic", 101), ("injection", 1), ("late", 1)] {
        client.send(&get(KEEP, &[("WHAT", what)]));
        let (stdout, end) = client.receive_answer();
        let text = String::from_utf8(stdout).expect("text");
        assert!(text.starts_with("Status: 500 Internal Server Error\r\n"), "{what}: {text}");
        assert!(!text.contains("secret") && !text.contains("Set-Cookie"), "{what}: {text}");
        assert_eq!(end[3], app_status, "{what}");
    }
    client.send(&get(KEEP, &[]));
    assert!(client.receive_answer().0.ends_with(b"ok"));
}

#[test]
fn head_has_the_length_and_no_body() {
    let server = Running::start(hello);
    let got = server.ask(&get(CLOSE, &[("REQUEST_METHOD", "HEAD")]));
    assert_eq!(got, answer(&HELLO[..HELLO.len() - 2], 0));
}

#[test]
fn roles_without_a_handler_are_refused() {
    let server = Running::start(hello);
    let mut client = server.connect();
    for role in [2, 3, 4] {
        client.send(&[&[1, 1, 0, 1, 0, 8, 0, 0, 0, role, 1, 0, 0, 0, 0, 0], END_PARAMS, END_STDIN].concat());
        assert_eq!(client.receive(16), [1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0], "role {role}");
    }
    client.send(&get(CLOSE, &[]));
    assert_eq!(client.receive_all(), answer(HELLO, 0));
}

#[test]
fn management_records_are_answered_inside_a_body() {
    let server = Running::start(echo);
    let mut client = server.connect();
    client.send(&[&begin(CLOSE)[..], END_PARAMS, &record(5, b"a"), b"\x01\x63\0\0\0\0\0\0"].concat());
    assert_eq!(client.receive(16), [1, 11, 0, 0, 0, 8, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0]);
    client.send(&[&record(5, b"b")[..], END_STDIN].concat());
    assert!(client.receive_answer().0.ends_with(b"\r\n\r\nab"));
}

#[test]
fn a_handler_that_ignores_the_body_does_not_lose_the_next_request() {
    let server = Running::start(hello);
    let mut client = server.connect();
    for _ in 0..3 {
        let mut request = [&begin(KEEP)[..], END_PARAMS].concat();
        (0..20).for_each(|_| request.extend(record(5, &[b'x'; 1000])));
        client.send(&[&request[..], END_STDIN].concat());
        assert_eq!(client.receive(answer(HELLO, 0).len()), answer(HELLO, 0));
    }
}

#[test]
fn broken_peers_get_nothing_and_others_go_on() {
    let server = Running::start(hello);
    let broken: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x02\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03",
        &[&begin(KEEP)[..], &begin(KEEP)].concat(),
        &[&begin(KEEP)[..], END_STDIN].concat(),
        &[&begin(KEEP)[..], &record(4, b"\x05\x05abc"), END_PARAMS].concat(),
    ];
    for bytes in broken {
        assert_eq!(server.ask(bytes), b"", "{}", bytes.escape_ascii());
        assert_eq!(server.ask(&get(CLOSE, &[])), answer(HELLO, 0));
    }
}

#[test]
fn connections_over_the_limit_wait() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let server = Running::start_with(limits, hello);
    let mut kept: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for client in &mut kept {
        client.send(&get(KEEP, &[]));
        client.receive_answer();
    }
    let mut third = server.connect();
    third.send(&get(CLOSE, &[]));
    third.0.set_read_timeout(Some(Duration::from_millis(100))).expect("a time limit");
    third.0.read_exact(&mut [0]).expect_err("nobody serves it yet");
    drop(kept.pop());
    third.0.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    assert_eq!(third.receive_all(), answer(HELLO, 0));
}

#[test]
fn a_stop_answers_what_runs_and_closes_what_idles() {
    let server = Running::start(echo);
    let mut idle = server.connect();
    idle.send(&get(KEEP, &[]));
    idle.receive_answer();
    let mut busy = server.connect();
    busy.send(&[&begin(KEEP)[..], END_PARAMS, &record(5, &vec![b'x'; 20_000])].concat());
    // Its handler runs: a part of the answer is there.
    let first = busy.receive(8);
    server.stop.stop();
    assert_eq!(idle.receive_all(), b"");
    busy.send(END_STDIN);
    let rest = busy.receive_all();
    assert_eq!(first[1], 6);
    assert_eq!(rest[rest.len() - 16..], [1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// A request that came on a kept connection before the stop is not lost with it.
#[test]
fn a_stop_answers_what_was_sent_behind_the_request_under_way() {
    let (tell, handler) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let may_go = Mutex::new(may_go);
    let server = Running::start(move |request: &Request, _: &mut Body, out: &mut Response| {
        if request.param_str("WAIT").is_some() {
            tell.send("began").expect("the test listens");
            while out.wait(Duration::from_secs(60)).is_ok_and(|waited| waited != Waited::Stopping) {}
            tell.send("stops").expect("the test listens");
            may_go.lock().expect("no panic").recv().expect("the test goes on");
        }
        out.write_all(b"ok")
    });
    let mut client = server.connect();
    let expect = |event| assert_eq!(handler.recv_timeout(Duration::from_secs(20)), Ok(event));
    client.send(&get(KEEP, &[("WAIT", "1")]));
    expect("began");
    server.stop.stop();
    expect("stops");
    client.send(&get(KEEP, &[]));
    go.send(()).expect("the handler waits");
    assert!(client.receive_answer().0.ends_with(b"ok"));
    assert!(client.receive_answer().0.ends_with(b"ok"), "the second, too");
    assert_eq!(client.receive_all(), b"");
}

#[test]
fn an_idle_connection_makes_room() {
    let server = Running::start_with(Limits { connections: 2, ..Limits::default() }, hello);
    let mut kept: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for client in &mut kept {
        client.send(&get(KEEP, &[]));
        client.receive_answer();
    }
    // Both stay idle, a third waits: one of the two is closed, and only one.
    assert_eq!(server.ask(&get(CLOSE, &[])), answer(HELLO, 0));
    let still_open = kept.iter().filter(|client| {
        client.0.set_nonblocking(true).expect("a mode");
        (&client.0).read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    });
    assert_eq!(still_open.count(), 1);
}

/// Bytes that begin no request keep nobody's place.
#[test]
fn a_connection_that_drips_makes_room_too() {
    let server = Running::start_with(Limits { connections: 2, ..Limits::default() }, hello);
    let dripping: Vec<_> = (0..2)
        .map(|_| {
            let mut client = server.connect();
            client.send(b"\x01\x63\0\0\xff\xff\0\0d");
            client.receive(16);
            thread::spawn(move || {
                while client.0.write_all(&[0]).is_ok() {
                    thread::sleep(Duration::from_millis(20));
                }
            })
        })
        .collect();
    let mut kept = [(); 2].map(|()| server.connect());
    for client in &mut kept {
        client.send(&get(KEEP, &[]));
        assert_eq!(client.receive_answer().0, HELLO);
    }
    dripping.into_iter().for_each(|client| client.join().expect("no panic"));
}

#[test]
fn time_limits_end_what_takes_too_long() {
    let second = Duration::from_secs(1);
    let limits = Limits { params_time: second, silence: second, write_time: second, ..Limits::default() };
    let (told, errors) = mpsc::channel();
    let server = Running::start_with(limits, move |_: &Request, body: &mut Body, out: &mut Response| {
        let result = io::copy(body, &mut io::sink()).and_then(|_| out.write_all(&vec![b'x'; 8 << 20]));
        told.send(result.as_ref().err().map(io::Error::kind)).expect("the test waits");
        result
    });
    let mut half_params = server.connect();
    half_params.send(&begin(KEEP));
    let mut half_body = server.connect();
    half_body.send(&[&begin(KEEP)[..], END_PARAMS, &record(5, b"some")].concat());
    let mut reads_nothing = server.connect();
    reads_nothing.send(&get(KEEP, &[]));
    // An idle one has no limit.
    let mut idle = server.connect();
    assert_eq!(half_params.receive_all(), b"");
    assert_eq!(half_body.receive_all(), b"");
    let wait = Duration::from_secs(20);
    let kinds = [errors.recv_timeout(wait), errors.recv_timeout(wait)];
    assert_eq!(kinds, [Ok(Some(io::ErrorKind::TimedOut)); 2]);
    idle.send(&get(CLOSE, &[]));
    assert!(idle.receive_answer().0.len() > 8 << 20);
}

#[test]
fn idle_connections_are_closed_after_their_time() {
    for multiplex in [false, true] {
        let limits = Limits { idle_time: Some(Duration::from_secs(1)), ..Limits::default() };
        let configure = move |server: Server| server.limits(limits).multiplex(multiplex);
        let server = Running::start_as(configure, echo);
        let mut busy = server.connect();
        busy.send(&[&begin(KEEP)[..], END_PARAMS].concat());
        let mut answered = server.connect();
        answered.send(&get(KEEP, &[]));
        answered.receive_answer();
        assert_eq!(server.connect().receive_all(), b"", "nothing was asked");
        assert_eq!(answered.receive_all(), b"");
        // What is under way is not idle.
        busy.send(&[&record(5, b"body"), END_STDIN].concat());
        assert!(busy.receive_answer().0.ends_with(b"\r\n\r\nbody"));
    }
}

#[test]
fn an_early_answer_survives_the_rest_of_a_large_upload() {
    let server = Running::start(hello);
    let mut client = server.connect();
    client.send(&[&begin(CLOSE)[..], END_PARAMS].concat());
    let piece = record(5, &[b'x'; 60000]);
    let mut sender = client.0.try_clone().expect("another handle");
    let sending = thread::spawn(move || {
        let sent = (0..50).try_for_each(|_| sender.write_all(&piece));
        sender.shutdown(Shutdown::Write).and(sent)
    });
    assert_eq!(client.receive_all(), answer(HELLO, 0));
    sending.join().expect("no panic").expect("all of it was taken");
}

/// Waiting for more of what a peer may still send would cost a descriptor for each.
#[test]
fn a_peer_that_has_sent_all_is_not_waited_for() {
    let multiplexed = Running::multiplexed(Limits::default(), echo);
    for server in [Running::start(echo), multiplexed] {
        let mut client = server.connect();
        client.send(&[&begin(CLOSE)[..], END_PARAMS, &record(5, b"abc"), END_STDIN].concat());
        assert!(client.receive_all().ends_with(&[0; 8]));
        let error = client.0.write(b"x").expect_err("both directions are closed");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn params_over_the_budget_are_answered_503() {
    let limits = Limits { budget: 100_000, ..Limits::default() };
    let server = Running::start_with(limits, hello);
    let big = [b"\x01\x80\x01\x86\xa0n", &[b'x'; 100_000][..]].concat();
    let big: Vec<u8> = big.chunks(50_000).flat_map(|piece| record(4, piece)).collect();
    let mut client = server.connect();
    client.send(&[&begin(KEEP)[..], &big, END_PARAMS, END_STDIN].concat());
    let (stdout, _) = client.receive_answer();
    assert!(stdout.starts_with(b"Status: 503 "), "{:?}", stdout.escape_ascii().to_string());
    // What it took of the budget is there again, on this connection and on others.
    let medium = record(4, &[b"\x01\x80\0\xc3\x50n", &[b'x'; 50_000][..]].concat());
    for _ in 0..3 {
        client.send(&[&begin(KEEP)[..], &medium, END_PARAMS, END_STDIN].concat());
        assert!(client.receive_answer().0.ends_with(b"hi"));
        assert_eq!(server.ask(&[&begin(CLOSE)[..], &medium, END_PARAMS, END_STDIN].concat()), answer(HELLO, 0));
    }
}

#[test]
fn the_last_request_allowed_ends_the_server() {
    let mut server = Running::start_with(Limits { requests: Some(3), ..Limits::default() }, hello);
    for _ in 0..3 {
        assert_eq!(server.ask(&get(CLOSE, &[])), answer(HELLO, 0));
    }
    server.thread.take().expect("it runs").join().expect("no panic").expect("it stopped by itself");
    UnixStream::connect(&server.path).expect_err("nobody listens");
    std::mem::forget(server);
}

#[test]
fn a_handler_over_its_time_ends_the_server_with_an_error() {
    let limits = Limits { handler_time: Some(Duration::from_secs(1)), ..Limits::default() };
    let mut server = Running::start_with(limits, |_: &Request, _: &mut Body, _: &mut Response| -> io::Result<()> {
        thread::park();
        Ok(())
    });
    let mut client = server.connect();
    client.send(&get(CLOSE, &[]));
    let error = server.thread.take().expect("it runs").join().expect("no panic").expect_err("it failed");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    std::mem::forget(server);
}

/// What was sent of a response cannot pass for whole when its handler is not waited for any longer.
#[track_caller]
fn check_unfinished(limits: Limits, multiplexed: bool, is_stopped: bool) {
    /// Reads its body, which never ends, or computes.
    fn hang(_: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
        out.write_all(b"begun")?;
        out.flush()?;
        io::copy(body, &mut io::sink())?;
        loop {
            thread::park();
        }
    }
    let mut server = Running::start_as(|server| server.limits(limits).multiplex(multiplexed), hang);
    let (mut computes, mut reads) = (server.connect(), server.connect());
    computes.send(&get(KEEP, &[]));
    reads.send(&[&begin(KEEP)[..], END_PARAMS].concat());
    let begun = record(6, b"Status: 200 OK\r\n\r\nbegun");
    for client in [&mut computes, &mut reads] {
        assert_eq!(client.receive(begun.len()), begun);
    }
    if is_stopped {
        server.stop.stop();
    }
    assert_eq!(computes.receive_all(), [0; 8]);
    assert_eq!(reads.receive_all(), [0; 8]);
    let ended = server.thread.take().expect("once").join().expect("no panic");
    assert_eq!(ended.is_ok(), is_stopped);
    std::mem::forget(server);
}

#[test]
fn a_stop_breaks_off_what_does_not_end() {
    for multiplexed in [false, true] {
        check_unfinished(Limits { stop_timeout: Duration::from_secs(1), ..Limits::default() }, multiplexed, true);
    }
}

#[test]
fn a_handler_over_its_time_is_broken_off() {
    for multiplexed in [false, true] {
        let limits = Limits { handler_time: Some(Duration::from_secs(1)), ..Limits::default() };
        check_unfinished(limits, multiplexed, false);
    }
}

#[test]
fn nothing_of_an_aborted_or_refused_request_is_seen_by_the_next() {
    let server = Running::start(|request: &Request, _: &mut Body, out: &mut Response| {
        request.params().try_for_each(|(name, value)| writeln!(out, "{}={}", name.escape_ascii(), value.escape_ascii()))
    });
    let secret = params(&[("HTTP_COOKIE", "secret")]);
    let inside_a_pair = record(4, b"\x05\x30abc");
    let over_the_limit = record(4, b"\x01\xff\xff\xff\xff");
    let abort = record(2, b"");
    for before in [vec![&secret, &abort], vec![&inside_a_pair, &abort], vec![&secret, &over_the_limit]] {
        let mut client = server.connect();
        client.send(&begin(KEEP));
        before.into_iter().for_each(|record| client.send(record));
        client.receive_answer();
        client.send(&get(CLOSE, &[("A", "b")]));
        let got = String::from_utf8(client.receive_answer().0).expect("text");
        assert!(got.ends_with("\r\n\r\nA=b\n"), "{got}");
    }
}

#[test]
fn a_refused_request_that_keeps_nothing_closes_the_connection_after_the_active_one() {
    let server = Running::start(hello);
    let mut client = server.connect();
    client.send(&[&begin(KEEP)[..], END_PARAMS, b"\x01\x01\0\x02\0\x08\0\0\0\x01\0\0\0\0\0\0", END_STDIN].concat());
    let got = client.receive_all();
    let refused = b"\x01\x03\0\x02\0\x08\0\0\0\0\0\0\x01\0\0\0";
    assert_eq!(got, [&refused[..], &answer(HELLO, 0)].concat());
}

#[test]
fn a_refusal_reaches_a_peer_that_is_still_sending() {
    let server = Running::start(hello);
    for role in [2, 3, 4] {
        let mut client = server.connect();
        client.send(&[1, 1, 0, 1, 0, 8, 0, 0, 0, role, 0, 0, 0, 0, 0, 0]);
        assert_eq!(client.receive(16)[12], 3);
        (0..20).for_each(|_| client.send(&record(4, &[0; 1000])));
        client.send(&[END_PARAMS, END_STDIN].concat());
        client.0.shutdown(Shutdown::Write).expect("not reset");
        assert_eq!(client.receive_all(), b"");
    }
}

#[test]
fn a_connection_is_idle_again_after_an_abort() {
    let server = Running::start(hello);
    let mut client = server.connect();
    client.send(&[begin(KEEP), record(2, b"")].concat());
    client.receive(16);
    let stopped = Instant::now();
    server.stop.stop();
    assert_eq!(client.receive_all(), b"");
    assert!(stopped.elapsed() < Limits::default().stop_timeout, "closed as an idle one");
}

#[test]
fn an_upload_flows_fast_behind_params_of_any_size() {
    let (told, reads) = mpsc::channel();
    let server = Running::start(move |_: &Request, body: &mut Body, _: &mut Response| -> io::Result<()> {
        let mut count = 0;
        while body.read(&mut [0; 8192])? > 0 {
            count += 1;
        }
        told.send(count).expect("the test waits");
        Ok(())
    });
    for size in [100, 3000, 4000, 4100, 8000, 8100, 8140, 8150, 8160] {
        let stream = [&b"\x01"[..], &(0x8000_0000 | size as u32).to_be_bytes(), b"n", &vec![b'x'; size]].concat();
        let mut request = [&begin(CLOSE)[..], &record(4, &stream), END_PARAMS].concat();
        (0..16).for_each(|_| request.extend(record(5, &[b'b'; 60_000])));
        request.extend(END_STDIN);
        server.ask(&request);
        let reads = reads.recv_timeout(Duration::from_secs(20)).expect("a count");
        assert!(reads < 16 * 60_000 / 1500, "{reads} reads behind params of {size} bytes");
    }
}

fn allow_ann(request: &Request, out: &mut Response) -> io::Result<()> {
    match request.param_str("USER") {
        Some("ann") => out.set("Variable-GROUP", "staff"),
        Some("panic") => panic!("as asked"),
        Some(_) => out.status(403),
        None => return Err(io::Error::other("nobody to decide about")),
    };
    Ok(())
}

#[test]
fn an_authorizer_always_says_its_status_and_waits_for_nothing() {
    const AUTHORIZER: u8 = 2;
    let server = Running::start(Roles::new().authorizer(allow_ann));
    let mut client = server.connect();
    for (user, status, app_status) in [("ann", "200 OK", 0), ("bob", "403 Forbidden", 0), ("panic", "500 ", 101)] {
        client.send(&[&begin_role(AUTHORIZER, KEEP)[..], &params(&[("USER", user)]), END_PARAMS].concat());
        let (stdout, end) = client.receive_answer();
        let stdout = String::from_utf8(stdout).expect("text");
        assert!(stdout.starts_with(&format!("Status: {status}")), "{user}: {stdout}");
        assert_eq!(stdout.contains("\r\nVariable-GROUP: staff\r\n"), user == "ann", "{stdout}");
        assert_eq!(end, [0, 0, 0, app_status, 0, 0, 0, 0], "{user}");
    }
    // As lighttpd does: an empty STDIN, and the connection closed after the answer.
    let stdout = server.stdout(&[&begin_role(AUTHORIZER, CLOSE)[..], END_PARAMS, END_STDIN].concat());
    assert!(stdout.starts_with(b"Status: 500 "), "{:?}", stdout.escape_ascii().to_string());
}

/// Answers with the request's body, a dash, and the file.
fn filter(_: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    let mut stdin = Vec::new();
    body.read_to_end(&mut stdin)?;
    out.content_type("text/plain").write_all(&[&stdin[..], b"-"].concat())?;
    io::copy(body.data()?, out).map(drop)
}

#[test]
fn a_filter_is_given_the_body_then_the_file() {
    let server = Running::start(Roles::new().filter(filter));
    const END_DATA: &[u8] = b"\x01\x08\0\x01\0\0\0\0";
    let lengths = params(&[("CONTENT_LENGTH", "3"), ("FCGI_DATA_LENGTH", "4")]);
    let request = |data: &[u8]| {
        [&begin_role(3, KEEP)[..], &lengths, END_PARAMS, &record(5, b"abc"), END_STDIN, &record(8, data), END_DATA]
            .concat()
    };
    let want = b"Status: 200 OK\r\nContent-Length: 8\r\nContent-Type: text/plain\r\n\r\nabc-file";
    let whole = request(b"file");
    for cut in 0..=whole.len() {
        let mut client = server.connect();
        client.send(&whole[..cut]);
        client.send(&whole[cut..]);
        assert_eq!(client.receive(answer(want, 0).len()), answer(want, 0), "cut at {cut}");
    }
    let mut client = server.connect();
    client.send(&request(b"fil"));
    assert!(client.receive_answer().0.starts_with(b"Status: 500 "), "a file that was cut is an error");
    client.send(&whole);
    assert_eq!(client.receive(answer(want, 0).len()), answer(want, 0));
}

#[test]
fn a_filter_sends_nothing_before_the_end_of_the_body() {
    let server = Running::start(
        Roles::new()
            .filter(|_: &Request, _: &mut Body, out: &mut Response| out.content_type("text/plain").write_all(b"hi")),
    );
    let mut client = server.connect();
    client.send(&[&begin_role(3, CLOSE)[..], END_PARAMS, &record(5, b"abc")].concat());
    client.0.set_read_timeout(Some(Duration::from_millis(100))).expect("a time limit");
    client.0.read(&mut [0]).expect_err("nothing yet");
    client.0.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    client.send(END_STDIN);
    assert_eq!(client.receive_all(), answer(HELLO, 0));

    let server = Running::start(
        Roles::new().filter(|_: &Request, _: &mut Body, out: &mut Response| out.write_all(&[b'x'; 100_000])),
    );
    let stdout = server.stdout(&[&begin_role(3, CLOSE)[..], END_PARAMS, END_STDIN].concat());
    assert!(stdout.starts_with(b"Status: 500 "), "{:?}", stdout.escape_ascii().to_string());
}

#[test]
fn only_a_filter_has_a_file() {
    let server = Running::start(|_: &Request, body: &mut Body, out: &mut Response| {
        let error = body.data().err().expect("no file");
        write!(out.content_type("text/plain"), "{:?}", error.kind())
    });
    assert!(server.ask(&get(CLOSE, &[])).windows(11).any(|bytes| bytes == b"Unsupported"));
}

#[test]
fn bodies_over_the_limit_are_answered_413() {
    let server = Running::start_with(Limits { body_len: Some(5), ..Limits::default() }, echo);
    let post = |body: &[u8]| [&begin(CLOSE)[..], END_PARAMS, &record(5, body), END_STDIN].concat();
    assert!(server.ask(&post(b"12345")).windows(9).any(|bytes| bytes == b"\r\n\r\n12345"));
    assert!(server.stdout(&post(b"123456")).starts_with(b"Status: 413 Content Too Large\r\n"));
}
