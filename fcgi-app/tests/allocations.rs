//! A request on a kept connection allocates nothing, once the first has made what is used again.

#![allow(unsafe_code, reason = "an allocator that counts")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use fcgi_app::{Body, Request, Response};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread has handled a request: what others allocate, such as the housekeeper, is not counted.
    static HANDLES: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: all of it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if HANDLES.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: what the caller promises is what is wanted.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn handle(request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    HANDLES.set(true);
    let read: usize = request.params().map(|(name, value)| name.len() + value.len()).sum();
    out.content_type("text/plain").set("X-Params", if read > 0 { "some" } else { "none" });
    out.write_all(b"Hello, World!")?;
    body.copy_to(out).map(drop)
}

/// Asserts that requests of the same bytes allocate nothing. The first one is not counted.
#[track_caller]
fn check(server: &Running, request: &[u8], what: &str) {
    const REQUESTS: usize = 1000;
    let mut client = server.connect();
    client.send(request);
    let len = client.receive_records().iter().map(|(_, content)| 8 + content.len()).sum();
    let mut answer = vec![0; len];
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    for _ in 0..REQUESTS {
        client.0.write_all(request).expect("sent");
        client.0.read_exact(&mut answer).expect("as long as the first");
    }
    let count = ALLOCATIONS.load(Ordering::SeqCst) - before;
    assert_eq!(count, 0, "{what}: allocations in {REQUESTS} requests");
}

/// One test, since the allocations of all servers' threads are counted.
#[test]
fn kept_connections_allocate_nothing() {
    let server = Running::start(handle);
    let pairs =
        [("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", "/hello"), ("QUERY_STRING", ""), ("HTTP_HOST", "localhost")];
    check(&server, &get(KEEP, &pairs), "a request without a body");
    let cookie = "c".repeat(100);
    let large = [("HTTP_COOKIE", &cookie[..]); 30];
    check(&server, &get(KEEP, &large), "params that outgrow the buffer");
    let post = |len: usize| {
        let mut request = [&begin(KEEP)[..], &params(&[("REQUEST_METHOD", "POST")]), END_PARAMS].concat();
        vec![b'x'; len].chunks(32768).for_each(|piece| request.extend(record(5, piece)));
        [&request[..], END_STDIN].concat()
    };
    check(&server, &post(1500), "a small body");
    let mut client = server.connect();
    client.send(&post(100_000));
    assert!(client.receive_answer().0.len() > 100_000);
    check(&server, &post(1500), "a small body after a large one");
}
