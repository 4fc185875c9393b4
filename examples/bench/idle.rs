//! Opens connections to a FastCGI application, has one request answered on each, and keeps them idle until its standard
//! input ends. It says `ready` when all of them are.
//!
//! `examples/bench/run` builds it with `rustc -O` and starts it. Its arguments are the path of the socket and a number.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

const BEGIN: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0";
const PARAMS: &[u8] = b"\x01\x04\0\x01\0\x4d\0\0\
    \x0b\x06SCRIPT_NAME/hello\x0e\x03REQUEST_METHODGET\x0f\x08SERVER_PROTOCOLHTTP/1.1\x0c\0QUERY_STRING";
const ENDS: &[u8] = b"\x01\x04\0\x01\0\0\0\0\x01\x05\0\x01\0\0\0\0";
const END_REQUEST: u8 = 3;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(Ok(count))) = (arguments.next(), arguments.next().map(|count| count.parse())) else {
        panic!("usage: idle SOCKET CONNECTIONS");
    };
    let request = [BEGIN, PARAMS, ENDS].concat();
    let kept: Vec<UnixStream> = (0..count).map(|_| ask(&path, &request)).collect::<Result<_, _>>()?;
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(kept);
    Ok(())
}

fn ask(path: &str, request: &[u8]) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(request)?;
    loop {
        let mut header = [0; 8];
        stream.read_exact(&mut header)?;
        let len = usize::from(header[4]) << 8 | usize::from(header[5]);
        stream.read_exact(&mut vec![0; len + usize::from(header[6])])?;
        if header[1] == END_REQUEST {
            return Ok(stream);
        }
    }
}
