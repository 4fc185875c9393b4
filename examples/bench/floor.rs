//! What a FastCGI application costs at the least: a thread per connection, one read and one write per request, the answer
//! canned. It takes whatever it is sent for one whole request: the floor under the others, and of no other use.
//!
//! `examples/bench/run` builds it with `rustc -O` and starts it. Its argument is the path of the socket.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;

const ANSWER: &[u8] = b"\x01\x06\0\x01\0\x4d\0\0\
    Status: 200 OK\r\nContent-Length: 13\r\nContent-Type: text/plain\r\n\r\nHello, World!\
    \x01\x06\0\x01\0\0\0\0\
    \x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0";
const KEEP_CONN: u8 = 1;

fn main() {
    let path = std::env::args().nth(1).expect("usage: floor SOCKET");
    let listener = Arc::new(UnixListener::bind(path).expect("a socket"));
    let acceptors: Vec<_> = (0..256)
        .map(|_| {
            let listener = Arc::clone(&listener);
            let accept = move || while let Ok((stream, _)) = listener.accept() { serve(stream) };
            thread::Builder::new().stack_size(64 << 10).spawn(accept).expect("a thread")
        })
        .collect();
    acceptors.into_iter().for_each(|acceptor| acceptor.join().expect("no panic"));
}

fn serve(mut stream: UnixStream) {
    let mut buffer = [0; 8192];
    while let Ok(1..) = stream.read(&mut buffer) {
        if stream.write_all(ANSWER).is_err() || buffer[10] & KEEP_CONN == 0 {
            return;
        }
    }
}
