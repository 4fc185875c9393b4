//! Requests side by side on one connection, in literal bytes.

#[path = "../common/mod.rs"]
mod common;
mod random;
mod stage;
mod wire;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use fcgi_app::{Body, Limits, Request, Response, Roles};

use common::{CLOSE, KEEP, Running};
use random::exchange_at_random;
use stage::Stage;
use wire::{Answer, Answers, begin, expect_silence, get, open, params, receive, receive_record, record};

const WAIT: Duration = Duration::from_secs(20);
const OK: [u8; 8] = [0; 8];
const OVERLOADED: [u8; 8] = [0, 0, 0, 0, 2, 0, 0, 0];

#[test]
fn one_request_to_the_byte() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&get(0x1234, CLOSE, &[("NAME", "a")]));
    let head = b"Status: 200 OK\r\nContent-Length: 2\r\n\r\na=";
    let end = record(3, 0x1234, &OK);
    assert_eq!(client.receive_all(), [record(6, 0x1234, head), record(6, 0x1234, b""), end].concat());
}

#[test]
fn a_server_is_told_what_it_may_do() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&get(1, KEEP, &[("NAME", "slow"), ("GATE", "1")]));
    stage.hear();
    client.send(&record(9, 0, b"\x0d\0FCGI_MAX_REQS\x0f\0FCGI_MPXS_CONNS\x0e\0FCGI_MAX_CONNS"));
    let (kind, id, content) = receive_record(&mut client);
    assert_eq!((kind, id), (10, 0));
    let mut pairs: Vec<_> = fcgi_proto::Params::new(&content).iter().map(|pair| (pair.name, pair.value)).collect();
    pairs.sort_unstable();
    let want: [(&[u8], &[u8]); 3] =
        [(b"FCGI_MAX_CONNS", b"256"), (b"FCGI_MAX_REQS", b"64"), (b"FCGI_MPXS_CONNS", b"1")];
    assert_eq!(pairs, want);
    stage.gates.open("1");
    assert_eq!(receive(&mut client), Answer::new(1, "slow="));
}

#[test]
fn fast_requests_are_not_held_up_by_slow_ones() {
    let stage = Stage::new();
    let mut client = stage.connect();
    for id in 1..=60 {
        client.send(&get(id, KEEP, &[("NAME", "slow"), ("GATE", "1")]));
    }
    for id in 1000..1200 {
        client.send(&get(id, KEEP, &[("NAME", "fast")]));
        assert_eq!(receive(&mut client), Answer::new(id, "fast="));
    }
    stage.gates.open("1");
    let mut answers = Answers::default();
    let mut ids: Vec<_> = (1..=60).map(|_| answers.next(&mut client).id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=60).collect::<Vec<_>>());
}

#[test]
fn params_and_bodies_of_two_requests_come_mixed_at_every_cut() {
    let stage = Stage::new();
    let bytes = [
        begin(1, 1, KEEP),
        record(4, 1, b"\x04\x01NA"),
        begin(2, 1, CLOSE),
        record(4, 2, b"\x04"),
        record(4, 1, b"MEa"),
        record(4, 2, b"\x01NAMEb"),
        record(4, 1, b""),
        record(5, 1, b"on"),
        record(4, 2, b""),
        record(5, 2, b"two"),
        record(5, 1, b"e"),
        record(5, 2, b""),
        record(5, 1, b""),
    ]
    .concat();
    for cut in 0..=bytes.len() {
        let mut client = stage.connect();
        client.send(&bytes[..cut]);
        client.send(&bytes[cut..]);
        let mut answers = Answers::default();
        let mut got = [answers.next(&mut client), answers.next(&mut client)];
        got.sort_by_key(|answer| answer.id);
        assert_eq!(got, [Answer::new(1, "a=one"), Answer::new(2, "b=two")], "cut at {cut}");
        assert_eq!(client.receive_all(), b"", "closed, cut at {cut}");
    }
}

#[test]
fn a_sleeping_handler_delays_others_only_when_64_kib_wait_for_it() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&open(1, KEEP, &[("NAME", "sleeps"), ("GATE", "1")]));
    stage.hear();
    client.send(&[record(5, 1, &[b'x'; 32768]), record(5, 1, &[b'x'; 32768])].concat());
    client.send(&get(2, KEEP, &[("NAME", "other")]));
    assert_eq!(receive(&mut client), Answer::new(2, "other="));
    client.send(&[record(5, 1, b"one more"), get(3, KEEP, &[("NAME", "waits")])].concat());
    expect_silence(&mut client);
    stage.gates.open("1");
    client.send(&record(5, 1, b""));
    let mut answers = Answers::default();
    let got: HashMap<_, _> =
        (0..2).map(|_| answers.next(&mut client)).map(|answer| (answer.id, answer.stdout)).collect();
    assert!(got[&1].ends_with(b"xxxone more") && got[&3].ends_with(b"waits="));
}

#[test]
fn the_wait_ends_when_the_handler_returns() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&open(1, KEEP, &[("NAME", "early"), ("GATE", "1"), ("DO", "early")]));
    stage.hear();
    for _ in 0..3 {
        client.send(&record(5, 1, &[b'x'; 40_000]));
    }
    client.send(&[record(5, 1, b""), get(2, KEEP, &[("NAME", "waits")])].concat());
    expect_silence(&mut client);
    stage.gates.open("1");
    let mut answers = Answers::default();
    let mut got = [answers.next(&mut client), answers.next(&mut client)];
    got.sort_by_key(|answer| answer.id);
    assert_eq!(got, [Answer::new(1, "early"), Answer::new(2, "waits=")]);
}

#[test]
fn large_bodies_go_both_ways_at_once() {
    let stage = Stage::new();
    let client = stage.connect();
    let mut sender = client.0.try_clone().expect("another handle");
    let bodies: Vec<Vec<u8>> = (0..4).map(|n| (0..3_000_000).map(|i: usize| ((i + n) % 251) as u8).collect()).collect();
    let requests = bodies.clone();
    let sending = thread::spawn(move || {
        for id in 0..4 {
            sender.write_all(&open(id + 1, KEEP, &[("NAME", "n")])).expect("sent");
        }
        for at in (0..3_000_000).step_by(30_000) {
            for (id, body) in (1..).zip(&requests) {
                sender.write_all(&record(5, id, &body[at..at + 30_000])).expect("sent");
            }
        }
        for id in 0..4 {
            sender.write_all(&record(5, id + 1, b"")).expect("sent");
        }
    });
    let (mut client, mut answers) = (client, Answers::default());
    for _ in 0..4 {
        let answer = answers.next(&mut client);
        assert!(answer.stdout.ends_with(&bodies[usize::from(answer.id) - 1]), "{} differs", answer.id);
    }
    sending.join().expect("no panic");
}

#[test]
fn one_of_several_is_aborted_in_each_phase() {
    let stage = Stage::new();
    let mut client = stage.connect();
    let abort = record(2, 2, b"");
    client.send(&open(1, KEEP, &[("NAME", "first")]));
    // While its params come.
    client.send(&[begin(2, 1, KEEP), params(2, &[("NAME", "x")]), abort.clone(), record(4, 2, b"")].concat());
    let aborted = Answer { id: 2, stdout: vec![], end: [0, 0, 0, 1, 0, 0, 0, 0] };
    assert_eq!(receive(&mut client), aborted);
    // While its handler waits for the body.
    stage.gates.open("0");
    let second = open(2, KEEP, &[("NAME", "second"), ("GATE", "0"), ("ERROR", "tell")]);
    client.send(&[second, record(5, 2, b"some")].concat());
    assert_eq!(stage.hear(), "second");
    client.send(&abort);
    assert_eq!(stage.hear(), "second: ConnectionAborted");
    assert_eq!(receive(&mut client), aborted);
    // While its handler computes: it ends when that looks.
    client.send(&get(2, KEEP, &[("NAME", "third"), ("GATE", "1"), ("ERROR", "tell")]));
    assert_eq!(stage.hear(), "third");
    client.send(&abort);
    expect_silence(&mut client);
    stage.gates.open("1");
    assert_eq!(stage.hear(), "third: ConnectionAborted");
    assert_eq!(receive(&mut client), aborted);
    // After its end.
    client.send(&get(2, KEEP, &[("NAME", "fourth")]));
    assert_eq!(receive(&mut client), Answer::new(2, "fourth="));
    client.send(&abort);
    client.send(&[record(5, 1, b"untouched"), record(5, 1, b"")].concat());
    assert_eq!(receive(&mut client), Answer::new(1, "first=untouched"));
}

#[test]
fn an_abort_ends_a_wait_at_once() {
    let stage = Stage::new();
    let mut client = stage.connect();
    let begun = Instant::now();
    for body in [&b""[..], b"some"] {
        let pairs = [("NAME", "waits"), ("GATE", "0"), ("DO", "wait"), ("ERROR", "tell")];
        stage.gates.open("0");
        client.send(&[open(1, KEEP, &pairs), record(5, 1, body)].concat());
        assert_eq!(stage.hear(), "waits");
        client.send(&record(2, 1, b""));
        assert_eq!(stage.hear(), "waits: ConnectionAborted");
        assert_eq!(receive(&mut client).end, [0, 0, 0, 1, 0, 0, 0, 0]);
    }
    assert!(begun.elapsed() < WAIT, "it waited to the end");
}

#[test]
fn an_abort_stops_a_large_answer() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&get(1, KEEP, &[("NAME", "big"), ("DO", "big"), ("ERROR", "tell")]));
    let mut seen = receive_record(&mut client).2.len();
    client.send(&record(2, 1, b""));
    client.send(&get(2, KEEP, &[("NAME", "other")]));
    let mut answers = Answers::default();
    let mut ids = Vec::new();
    while ids.len() < 2 {
        let answer = answers.next(&mut client);
        ids.push(answer.id);
        seen += if answer.id == 1 { answer.stdout.len() } else { 0 };
    }
    assert_eq!(stage.hear(), "big: ConnectionAborted");
    assert!(seen < 16 << 20, "{seen} bytes came");
}

#[test]
fn large_answers_let_others_go_first() {
    let stage = Stage::new();
    let mut client = stage.connect();
    for id in [1, 2] {
        client.send(&get(id, KEEP, &[("DO", "endless")]));
    }
    for id in 3..20 {
        client.send(&get(id, KEEP, &[("NAME", "fast")]));
        while receive_record(&mut client) != (3, id, OK.to_vec()) {}
    }
    stage.gates.open("end");
    let mut answers = Answers::default();
    assert_eq!(answers.next(&mut client).id + answers.next(&mut client).id, 3);
}

#[test]
fn the_65th_request_is_refused_and_the_others_go_on() {
    let stage = Stage::new();
    let mut client = stage.connect();
    for round in 0..3 {
        let gate = round.to_string();
        for id in 1..=64 {
            client.send(&open(id, KEEP, &[("NAME", "n"), ("GATE", &gate)]));
        }
        for id in [65, 66, 300] {
            client.send(&get(id, KEEP, &[("NAME", "over")]));
            assert_eq!(receive(&mut client), Answer { id, stdout: vec![], end: OVERLOADED });
        }
        stage.gates.open(&gate);
        let mut answers = Answers::default();
        for id in 1..=64 {
            client.send(&record(5, id, b""));
        }
        for _ in 0..64 {
            let answer = answers.next(&mut client);
            assert_eq!(answer, Answer::new(answer.id, "n="));
        }
    }
}

#[test]
fn handlers_are_bounded_over_all_connections() {
    let stage = Stage::with(Limits { connections: 3, ..Limits::default() });
    let mut clients = [stage.connect(), stage.connect()];
    for id in 1..=32 {
        for client in &mut clients {
            client.send(&get(id, KEEP, &[("NAME", "n"), ("GATE", "1")]));
            stage.hear();
        }
    }
    clients[0].send(&get(33, KEEP, &[]));
    assert!(receive(&mut clients[0]).is_status("503"));
    stage.gates.open("1");
    for client in &mut clients {
        let mut answers = Answers::default();
        (0..32).for_each(|_| assert_eq!(answers.next(client).end, OK));
        client.send(&get(33, KEEP, &[("NAME", "m")]));
        assert_eq!(receive(client), Answer::new(33, "m="));
    }
}

#[test]
fn an_active_id_is_not_begun_again() {
    let stage = Stage::new();
    let mut client = stage.connect();
    stage.gates.open("0");
    client.send(&open(1, KEEP, &[("NAME", "a"), ("GATE", "0"), ("ERROR", "tell")]));
    assert_eq!(stage.hear(), "a");
    client.send(&begin(1, 1, KEEP));
    assert_eq!(client.receive_all(), b"");
    assert_eq!(stage.hear(), "a: ConnectionAborted");
}

#[test]
fn no_request_begins_after_one_that_keeps_nothing() {
    let stage = Stage::new();
    for last_to_end in [1, 2] {
        let mut client = stage.connect();
        let gate = |id: u16| format!("{last_to_end}-{id}");
        client.send(&get(1, KEEP, &[("NAME", "keeps"), ("GATE", &gate(1))]));
        client.send(&get(2, CLOSE, &[("NAME", "closes"), ("GATE", &gate(2))]));
        client.send(&get(3, KEEP, &[("NAME", "late")]));
        assert_eq!(receive(&mut client), Answer { id: 3, stdout: vec![], end: OVERLOADED });
        for id in [3 - last_to_end, last_to_end] {
            stage.gates.open(&gate(id));
            assert_eq!(receive(&mut client), Answer::new(id, if id == 1 { "keeps=" } else { "closes=" }));
        }
        assert_eq!(client.receive_all(), b"");
    }
}

#[test]
fn half_close_delivers_what_is_complete_and_nothing_else() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&get(1, KEEP, &[("NAME", "whole"), ("GATE", "1")]));
    stage.hear();
    stage.gates.open("0");
    client.send(&open(2, KEEP, &[("NAME", "cut"), ("GATE", "0"), ("ERROR", "tell")]));
    assert_eq!(stage.hear(), "cut");
    client.send(&record(5, 2, b"some"));
    client.send(&[begin(3, 1, KEEP), params(3, &[("NAME", "params")])].concat());
    client.0.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(stage.hear(), "cut: ConnectionAborted");
    stage.gates.open("1");
    assert_eq!(receive(&mut client), Answer::new(1, "whole="));
    assert_eq!(client.receive_all(), b"");
}

#[test]
fn a_broken_peer_aborts_all_of_its_requests_and_no_others() {
    let stage = Stage::new();
    stage.gates.open("0");
    let mut other = stage.connect();
    other.send(&open(1, KEEP, &[("NAME", "other")]));
    for (gate, broken) in [("1", &b"\x02\x01\0\x01\0\x08\0\0"[..]), ("2", b"GET / HTTP/1.1\r\n\r\n")] {
        let mut client = stage.connect();
        for id in 1..=3 {
            client.send(&open(id, KEEP, &[("NAME", "n"), ("GATE", "0"), ("ERROR", "tell")]));
            assert_eq!(stage.hear(), "n");
        }
        client.send(&get(4, KEEP, &[("NAME", "computes"), ("GATE", gate), ("ERROR", "tell")]));
        assert_eq!(stage.hear(), "computes");
        client.send(broken);
        (0..3).for_each(|_| assert_eq!(stage.hear(), "n: ConnectionAborted"));
        stage.gates.open(gate);
        assert_eq!(stage.hear(), "computes: ConnectionAborted");
        assert_eq!(client.receive_all(), b"");
    }
    other.send(&record(5, 1, b""));
    assert_eq!(receive(&mut other), Answer::new(1, "other="));
}

#[test]
fn a_peer_that_vanishes_is_seen_by_all_handlers() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&open(1, KEEP, &[("NAME", "reads"), ("ERROR", "tell")]));
    client.send(&get(2, KEEP, &[("NAME", "writes"), ("DO", "big"), ("ERROR", "tell")]));
    receive_record(&mut client);
    drop(client);
    let mut heard = [stage.hear(), stage.hear()];
    heard.sort();
    assert_eq!(heard[0], "reads: ConnectionAborted");
    assert!(["writes: ConnectionAborted", "writes: BrokenPipe", "writes: ConnectionReset"].contains(&&heard[1][..]));
}

#[test]
fn a_peer_that_never_reads_costs_its_own_connection() {
    let limits = Limits { write_time: Duration::from_secs(1), connections: 2, ..Limits::default() };
    let stage = Stage::with(limits);
    let mut client = stage.connect();
    client.send(&open(1, KEEP, &[("NAME", "reads"), ("ERROR", "tell")]));
    client.send(&get(2, KEEP, &[("NAME", "writes"), ("DO", "big"), ("ERROR", "tell")]));
    let mut heard = [stage.hear(), stage.hear()];
    heard.sort();
    assert_eq!(heard, ["reads: ConnectionAborted", "writes: TimedOut"]);
    for _ in 0..2 {
        let mut other = stage.connect();
        other.send(&get(1, CLOSE, &[("NAME", "other")]));
        assert_eq!(receive(&mut other), Answer::new(1, "other="));
    }
}

#[test]
fn silence_ends_the_request_that_waits_and_no_other() {
    let stage = Stage::with(Limits { silence: Duration::from_millis(300), ..Limits::default() });
    let mut client = stage.connect();
    client.send(&open(1, KEEP, &[("NAME", "waits"), ("ERROR", "tell")]));
    client.send(&get(2, KEEP, &[("NAME", "computes"), ("GATE", "1")]));
    let mut heard = [stage.hear(), stage.hear()];
    heard.sort();
    assert_eq!(heard, ["computes", "waits: TimedOut"]);
    let answer = receive(&mut client);
    assert!(answer.id == 1 && answer.is_status("500"), "{answer:?}");
    stage.gates.open("1");
    assert_eq!(receive(&mut client), Answer::new(2, "computes="));
    client.send(&[record(5, 1, b"too late"), get(1, KEEP, &[("NAME", "again")])].concat());
    assert_eq!(receive(&mut client), Answer::new(1, "again="));
}

#[test]
fn params_that_take_too_long_end_the_connection() {
    let stage = Stage::with(Limits { params_time: Duration::from_secs(1), ..Limits::default() });
    let mut client = stage.connect();
    client.send(&get(1, KEEP, &[("NAME", "computes"), ("GATE", "1"), ("DO", "big"), ("ERROR", "tell")]));
    assert_eq!(stage.hear(), "computes");
    client.send(&begin(2, 1, KEEP));
    assert_eq!(client.receive_all(), b"");
    stage.gates.open("1");
    let error = stage.hear();
    assert!(["computes: ConnectionAborted", "computes: TimedOut"].contains(&&error[..]), "{error}");
}

#[test]
fn a_handler_over_its_time_ends_the_server_with_an_error() {
    let mut stage = Stage::with(Limits { handler_time: Some(Duration::from_secs(1)), ..Limits::default() });
    let mut client = stage.connect();
    client.send(&get(1, KEEP, &[("NAME", "sleeps"), ("GATE", "1")]));
    stage.hear();
    let until = Instant::now() + WAIT;
    let thread = stage.server.thread.take().expect("it runs");
    // Others that come and go do not hide it. The connection ends by what is no record.
    let mut first = [0];
    loop {
        assert!(Instant::now() < until, "it goes on");
        let sent = client.0.write_all(&get(2, KEEP, &[("NAME", "fast")]));
        if sent.is_err() || client.0.read_exact(&mut first).is_err() || first == [0] {
            break;
        }
        let header = client.receive(7);
        client.receive(usize::from(header[3]) << 8 | usize::from(header[4]));
        while receive_record(&mut client).0 != 3 {}
    }
    let error = thread.join().expect("no panic").expect_err("it failed");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    stage.gates.open("1");
    std::mem::forget(stage.server);
}

#[test]
fn panics_are_answered_and_hurt_nobody() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&open(1, KEEP, &[("NAME", "other")]));
    for id in 2..20 {
        client.send(&get(id, KEEP, &[("DO", "panic")]));
        let answer = receive(&mut client);
        assert!(answer.id == id && answer.is_status("500") && answer.end == [0, 0, 0, 101, 0, 0, 0, 0]);
    }
    client.send(&record(5, 1, b""));
    assert_eq!(receive(&mut client), Answer::new(1, "other="));
}

#[test]
fn params_over_a_limit_are_refused_and_the_others_go_on() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&open(1, KEEP, &[("NAME", "other")]));
    for id in 2..5 {
        client.send(&[begin(id, 1, KEEP), record(4, id, b"\x01\xff\xff\xff\xff")].concat());
        let answer = receive(&mut client);
        assert!(answer.id == id && answer.is_status("431") && answer.end == OK);
        client.send(&[record(4, id, b"rest"), record(4, id, b""), record(5, id, b"")].concat());
    }
    client.send(&record(5, 1, b""));
    assert_eq!(receive(&mut client), Answer::new(1, "other="));
}

/// One pair of so many bytes, in records.
fn big_params(id: u16, size: usize) -> Vec<u8> {
    let mut stream = [&b"\x01"[..], &(0x8000_0000 | (size - 6) as u32).to_be_bytes(), b"n"].concat();
    stream.resize(size, b'x');
    [stream.chunks(65_000).flat_map(|piece| record(4, id, piece)).collect(), record(4, id, b"")].concat()
}

#[test]
fn params_of_a_connection_take_4_mib() {
    let stage = Stage::new();
    for _ in 0..2 {
        let mut client = stage.connect();
        for id in 1..=4 {
            client.send(&[begin(id, 1, KEEP), big_params(id, 1 << 20)].concat());
        }
        client.send(&[begin(5, 1, KEEP), record(4, 5, b"\x01\x01ab")].concat());
        let answer = receive(&mut client);
        assert!(answer.id == 5 && answer.is_status("503"), "{answer:?}");
        // Where one has ended, another has room.
        client.send(&record(5, 1, b""));
        assert_eq!(receive(&mut client).id, 1);
        client.send(&[begin(6, 1, KEEP), big_params(6, 1 << 20), record(5, 6, b"")].concat());
        assert_eq!(receive(&mut client), Answer::new(6, "="));
    }
}

#[test]
fn the_budget_bounds_all_and_comes_back() {
    let stage = Stage::with(Limits { budget: 205_000, ..Limits::default() });
    let mut client = stage.connect();
    for _ in 0..20 {
        // 128 KiB of params, 4 KiB of a queue, 64 KiB of params, 4 KiB of a queue, and no more.
        client.send(&[begin(1, 1, KEEP), big_params(1, 100_000)].concat());
        client.send(&[begin(2, 1, KEEP), big_params(2, 40_000)].concat());
        client.send(&[begin(3, 1, KEEP), big_params(3, 5000)].concat());
        let answer = receive(&mut client);
        assert!(answer.id == 3 && answer.is_status("503"), "{answer:?}");
        // What is under way goes on, however large.
        for id in [1, 2] {
            let mut sender = client.0.try_clone().expect("another handle");
            let sending = thread::spawn(move || {
                (0..10).for_each(|_| sender.write_all(&record(5, id, &[b'b'; 20_000])).expect("sent"));
                sender.write_all(&record(5, id, b"")).expect("sent");
            });
            let answer = receive(&mut client);
            assert!(answer.id == id && answer.stdout.ends_with(&[b'b'; 200_000]));
            sending.join().expect("no panic");
        }
    }
}

#[test]
fn a_stop_answers_what_runs_then_closes() {
    let stage = Stage::new();
    let mut idle = stage.connect();
    idle.send(&get(1, KEEP, &[("NAME", "n")]));
    receive(&mut idle);
    let mut busy = stage.connect();
    busy.send(&get(1, KEEP, &[("NAME", "computes"), ("GATE", "1")]));
    stage.hear();
    busy.send(&open(2, KEEP, &[("NAME", "reads")]));
    stage.server.stop.stop();
    assert_eq!(idle.receive_all(), b"");
    busy.send(&[record(5, 2, b"still"), record(5, 2, b"")].concat());
    assert_eq!(receive(&mut busy), Answer::new(2, "reads=still"));
    busy.send(&get(2, KEEP, &[("NAME", "on its way")]));
    assert_eq!(receive(&mut busy), Answer::new(2, "on its way="));
    stage.gates.open("1");
    assert_eq!(receive(&mut busy), Answer::new(1, "computes="));
    assert_eq!(busy.receive_all(), b"");
}

/// A reset could overtake the last answer.
#[test]
fn a_stopped_connection_ends_without_a_reset_after_its_last_answer() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&open(1, KEEP, &[("NAME", "overtakes"), ("DO", "early")]));
    assert_eq!(receive(&mut client), Answer::new(1, "overtakes"));
    client.send(&record(5, 1, b""));
    client.send(&get(2, KEEP, &[("NAME", "last"), ("GATE", "1")]));
    stage.hear();
    let mut idle = stage.connect();
    idle.send(&get(1, KEEP, &[("NAME", "idle")]));
    receive(&mut idle);
    stage.server.stop.stop();
    assert_eq!(idle.receive_all(), b"", "it stops");
    stage.gates.open("1");
    assert_eq!(receive(&mut client), Answer::new(2, "last="));
    assert_eq!(client.receive_all(), b"");
    for id in 3..6 {
        client.send(&get(id, KEEP, &[("NAME", "late")]));
        assert_eq!(client.receive_all(), b"");
    }
}

/// Else a connection that always has a request under way would end in the middle of some.
#[test]
fn late_in_a_stop_no_request_begins() {
    let stage = Stage::with(Limits { stop_timeout: Duration::from_secs(2), ..Limits::default() });
    let mut client = stage.connect();
    client.send(&get(1, KEEP, &[("NAME", "computes"), ("GATE", "1")]));
    stage.hear();
    stage.server.stop.stop();
    let begun = Instant::now();
    loop {
        client.send(&get(2, KEEP, &[("NAME", "new")]));
        let answer = receive(&mut client);
        if answer.is_status("503") {
            break;
        }
        assert_eq!(answer, Answer::new(2, "new="));
        assert!(begun.elapsed() < WAIT, "still served");
    }
    stage.gates.open("1");
    assert_eq!(receive(&mut client), Answer::new(1, "computes="));
    client.0.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(client.receive_all(), b"");
}

#[test]
fn the_last_request_allowed_ends_the_server() {
    let mut stage = Stage::with(Limits { requests: Some(10), ..Limits::default() });
    let mut client = stage.connect();
    for id in 1..=10 {
        client.send(&get(id, KEEP, &[("NAME", "n")]));
        assert_eq!(receive(&mut client).id, id);
    }
    assert_eq!(client.receive_all(), b"");
    stage.server.thread.take().expect("it runs").join().expect("no panic").expect("it stopped by itself");
    std::mem::forget(stage.server);
}

#[test]
fn an_early_answer_survives_the_rest_of_a_large_upload() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&open(1, CLOSE, &[("NAME", "early"), ("DO", "early")]));
    let piece = record(5, 1, &[b'x'; 60_000]);
    let mut sender = client.0.try_clone().expect("another handle");
    let sending = thread::spawn(move || {
        let sent = (0..50).try_for_each(|_| sender.write_all(&piece));
        sender.shutdown(Shutdown::Write).and(sent)
    });
    assert_eq!(receive(&mut client), Answer::new(1, "early"));
    assert_eq!(client.receive_all(), b"");
    sending.join().expect("no panic").expect("all of it was taken");
}

#[test]
fn an_early_answer_is_followed_by_the_close_though_the_body_stalls() {
    let stage = Stage::with(Limits { connections: 1, ..Limits::default() });
    let mut client = stage.connect();
    client.send(&open(1, CLOSE, &[("NAME", "early"), ("GATE", "1"), ("DO", "early")]));
    stage.hear();
    client.send(&record(5, 1, b"some")[..10]);
    stage.gates.open("1");
    assert_eq!(receive(&mut client), Answer::new(1, "early"));
    assert_eq!(client.receive_all(), b"");
    // Its slot is free before long.
    let mut other = stage.connect();
    other.send(&get(1, CLOSE, &[("NAME", "other")]));
    assert_eq!(receive(&mut other), Answer::new(1, "other="));
}

#[test]
fn roles_side_by_side() {
    let filter = |_: &Request, body: &mut Body, out: &mut Response| {
        let mut stdin = Vec::new();
        body.read_to_end(&mut stdin)?;
        out.write_all(&[&stdin[..], b"-"].concat())?;
        io::copy(body.data()?, out).map(drop)
    };
    let authorizer = |_: &Request, out: &mut Response| -> io::Result<()> {
        out.status(403);
        Ok(())
    };
    let server = Running::multiplexed(Limits::default(), Roles::new().filter(filter).authorizer(authorizer));
    let bytes = [
        begin(1, 3, KEEP),
        record(4, 1, b""),
        record(5, 1, b"abc"),
        begin(2, 2, KEEP),
        record(4, 2, b""),
        begin(3, 1, KEEP),
        record(5, 1, b""),
        record(8, 1, b"fi"),
        begin(4, 9, KEEP),
        record(8, 1, b"le"),
        record(8, 1, b""),
    ]
    .concat();
    for cut in 0..bytes.len() {
        let mut client = server.connect();
        client.send(&bytes[..cut]);
        client.send(&bytes[cut..]);
        let mut answers = Answers::default();
        let mut got: Vec<_> = (0..4).map(|_| answers.next(&mut client)).collect();
        got.sort_by_key(|answer| answer.id);
        assert_eq!(got[0], Answer::new(1, "abc-file"), "cut at {cut}");
        assert!(got[1].is_status("403") && got[1].end == OK, "cut at {cut}");
        assert!(got[2..].iter().all(|answer| answer.end == [0, 0, 0, 0, 3, 0, 0, 0]), "cut at {cut}");
    }
}

#[test]
fn a_filter_that_reads_nothing_answers_after_the_body() {
    let early = |_: &Request, _: &mut Body, out: &mut Response| out.write_all(b"hi");
    let server = Running::multiplexed(Limits::default(), Roles::new().filter(early));
    let mut client = server.connect();
    client.send(&[begin(1, 3, KEEP), record(4, 1, b""), record(5, 1, b"abc")].concat());
    expect_silence(&mut client);
    client.send(&record(5, 1, b""));
    assert_eq!(receive(&mut client), Answer::new(1, "hi"));
    client.send(&[record(8, 1, b"never read"), record(8, 1, b"")].concat());
    client.send(&[begin(1, 3, CLOSE), record(4, 1, b""), record(5, 1, b"")].concat());
    assert_eq!(receive(&mut client), Answer::new(1, "hi"));
    assert_eq!(client.receive_all(), b"");
}

#[test]
fn thousands_of_short_requests_in_any_order() {
    let stage = Stage::new();
    thread::scope(|scope| {
        for seed in 1..=8 {
            let client = stage.connect();
            scope.spawn(move || exchange_at_random(client, 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed), 300));
        }
    });
}

#[test]
fn an_id_comes_back_right_after_its_end() {
    let stage = Stage::new();
    let mut client = stage.connect();
    for number in 0..3000 {
        let name = number.to_string();
        client.send(&get(7, KEEP, &[("NAME", &name)]));
        assert_eq!(receive(&mut client), Answer::new(7, &format!("{name}=")));
    }
}

#[test]
fn the_last_answer_closes_every_time() {
    let stage = Stage::new();
    for round in 0..500 {
        let mut client = stage.connect();
        let ids = 1..=(1 + round % 5);
        let bytes: Vec<u8> = ids.clone().flat_map(|id| open(id, KEEP, &[("NAME", "n")])).collect();
        client.send(&[bytes, get(99, CLOSE, &[("NAME", "last")])].concat());
        client.send(&ids.clone().flat_map(|id| record(5, id, b"")).collect::<Vec<_>>());
        let mut answers = Answers::default();
        (0..=ids.count()).for_each(|_| assert_eq!(answers.next(&mut client).end, OK));
        assert_eq!(client.receive_all(), b"", "round {round}");
    }
}
