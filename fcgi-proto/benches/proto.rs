//! What decoding costs, beside a memcpy of the same bytes in the same run.
//!
//!     cargo bench -p fcgi-proto
//!
//! The GET is what nginx really sent. Every result is checked inside.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fcgi_proto::{Config, EndRequest, Event, Header, Pair, Params, ProtocolStatus, RecordType, Session, records};

/// A request as nginx sent it: BEGIN, one PARAMS record, the ends of PARAMS and STDIN.
const GET: &[u8] = include_bytes!("../../tests/fixtures/wire/nginx-keep-get.bin");

/// Decodes the request and visits every param; gives their number and the sum of their lengths.
fn get(session: &mut Session, mut input: &[u8]) -> (usize, usize) {
    let mut visited = (0, 0);
    let mut params = &[][..];
    while let Some(event) = session.next(&mut input).expect("valid") {
        match event {
            Event::Params { content, .. } => params = content,
            Event::ParamsEnd { .. } => {
                for Pair { name, value } in Params::new(params) {
                    visited.0 += 1;
                    visited.1 += black_box(name).len() + black_box(value).len();
                }
            }
            Event::StdinEnd { id } => session.end(id),
            _ => {}
        }
    }
    visited
}

/// The encoded params of the request.
fn params_of_get() -> &'static [u8] {
    let (mut session, mut input) = (Session::<1>::new(Config::default()), GET);
    loop {
        if let Some(Event::Params { content, .. }) = session.next(&mut input).expect("valid") {
            return content;
        }
    }
}

fn decode_get(c: &mut Criterion) {
    let mut group = c.benchmark_group("GET of nginx");
    group.throughput(Throughput::Bytes(GET.len() as u64));
    let mut session = Session::<1>::new(Config::default());
    let want = get(&mut session, GET);
    assert!(want.0 >= 20, "{want:?}");
    group.bench_function("decode and visit all params", |b| {
        b.iter(|| assert_eq!(get(&mut session, black_box(GET)), want));
    });
    let mut copy = vec![0; GET.len()];
    group.bench_function("memcpy", |b| b.iter(|| black_box(&mut copy[..]).copy_from_slice(black_box(GET))));
    group.finish();
}

/// A body of 1 MiB in records of 32 KiB, as nginx sends an upload, and the end of the stream.
fn upload() -> Vec<u8> {
    let body = vec![b'x'; 1 << 20];
    let mut wire = Vec::new();
    for (header, content) in records(RecordType::Stdin, 1, &body, 32768) {
        wire.extend(header.encode());
        wire.extend(content);
    }
    wire.extend(Header::new(RecordType::Stdin, 1, 0).encode());
    wire
}

/// A session in the middle of a request, as it stands while a body flows.
fn session_at_stdin() -> Session {
    let mut session = Session::new(Config::default());
    let mut input = &GET[..GET.len() - Header::LEN];
    while session.next(&mut input).expect("valid").is_some() {}
    session
}

fn walk_stdin(c: &mut Criterion) {
    let wire = upload();
    let mut group = c.benchmark_group("1 MiB of STDIN");
    group.throughput(Throughput::Bytes(wire.len() as u64));
    group.bench_function("walk", |b| {
        b.iter_batched_ref(
            session_at_stdin,
            |session| {
                let mut input = black_box(&wire[..]);
                let mut len = 0;
                while let Some(event) = session.next(&mut input).expect("valid") {
                    if let Event::Stdin { content, .. } = event {
                        len += black_box(content).len();
                    }
                }
                assert_eq!(len, 1 << 20);
            },
            criterion::BatchSize::SmallInput,
        );
    });
    let mut copy = vec![0; wire.len()];
    group.bench_function("memcpy", |b| b.iter(|| black_box(&mut copy[..]).copy_from_slice(black_box(&wire))));
    let (source, mut copy) = (vec![1; 65536], vec![0; 65536]);
    group.throughput(Throughput::Bytes(65536));
    group.bench_function("memcpy of 64 KiB, hot", |b| {
        b.iter(|| black_box(&mut copy[..]).copy_from_slice(black_box(&source)));
    });
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let pairs: Vec<_> = Params::new(params_of_get()).iter().collect();
    let len: usize = pairs.iter().map(Pair::encoded_len).sum();
    let mut out = vec![0; len];
    group.bench_function("the params of a GET", |b| {
        b.iter(|| {
            let mut written = 0;
            for pair in black_box(&pairs) {
                written += pair.encode(&mut out[written..]).expect("room");
            }
            assert_eq!(written, len);
        });
    });
    group.bench_function("headers and END_REQUEST of an answer", |b| {
        b.iter(|| {
            let end = EndRequest { app_status: black_box(0), protocol_status: ProtocolStatus::RequestComplete };
            let header = Header::new(RecordType::Stdout, 1, black_box(1000)).encode();
            (black_box(header), black_box(Header::new(RecordType::Stdout, 1, 0).encode()), black_box(end.record(1)))
        });
    });
    group.finish();
}

criterion_group!(benches, decode_get, walk_stdin, encode);
criterion_main!(benches);
