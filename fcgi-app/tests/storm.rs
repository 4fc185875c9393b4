//! Requests, ends and failures of all kinds at random, on many connections at once: nothing is left of them.

mod common;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use fcgi_app::{Address, Body, Limits, Listener, Request, Response, Server};
use socket2::{SockAddr, SockRef, Socket, Type};

use common::{CLOSE, KEEP, get, record};

/// How long each kind of server is in it.
const TIME: Duration = Duration::from_millis(1200);

/// Numbers that look random, and are the same again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Does something else for each number.
fn handle(request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    let number: u64 = request.param_str("N").and_then(|number| number.parse().ok()).unwrap_or_default();
    match number % 9 {
        0 => out.write_all(b"hello"),
        1 => {
            out.write_all(b"done")?;
            out.finish()?;
            thread::sleep(Duration::from_millis(number % 7));
            let _ = out.wait(Duration::from_millis(3));
            let _ = body.read(&mut [0; 10]);
            Ok(())
        }
        2 => {
            let _ = out.wait(Duration::from_millis(20))?;
            out.write_all(b"waited")
        }
        3 => {
            out.write_all(&vec![b'x'; 300_000])?;
            out.finish()
        }
        4 => {
            out.write_all(b"part")?;
            out.flush()?;
            Err(io::Error::other("it fails"))
        }
        5 => {
            let _ = out.is_wanted();
            io::copy(body, &mut io::sink())?;
            out.finish()
        }
        6 => Err(io::Error::other("it fails")),
        7 => panic!("a panic that a test wants"),
        _ => {
            out.write_all(b"x")?;
            out.finish()?;
            panic!("a panic that a test wants")
        }
    }
}

/// Connections until the time is over: what is sent on them, and how they end, is chance.
fn disturb(address: &SockAddr, mut random: Random) -> io::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        let socket = Socket::new(address.domain(), Type::STREAM, None)?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(1 + random.below(60))))?;
        socket.set_write_timeout(Some(Duration::from_millis(500)))?;
        let mut socket: TcpStream = socket.into();
        for _ in 0..=random.below(6) {
            let flags = if random.below(3) == 0 { CLOSE } else { KEEP };
            let mut bytes = get(flags, &[("N", &random.below(1000).to_string())]);
            match random.below(8) {
                0 => bytes.truncate(bytes.len() - 8), // no end of STDIN
                1 => {
                    bytes.truncate(bytes.len() - 8);
                    bytes.extend(record(5, &vec![b'b'; 1 + random.below(60_000) as usize]));
                }
                2 => bytes.extend(record(2, b"")), // an abort
                3 => bytes.extend([1, 9, 0, 0, 0, 0, 0, 0]),
                4 if random.below(4) == 0 => bytes.extend([7; 8]), // no FastCGI
                _ => {}
            }
            if socket.write_all(&bytes).is_err() {
                break;
            }
            match random.below(5) {
                0 => drop(socket.shutdown(Shutdown::Write)),
                1 => break,
                _ if matches!(socket.read(&mut vec![0; 1 + random.below(100_000) as usize]), Ok(0)) => break,
                _ => {}
            }
        }
        if random.below(10) == 0 {
            // A reset.
            let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
    }
    Ok(())
}

/// Descriptors and threads of this process.
fn held() -> [usize; 2] {
    ["/proc/self/fd", "/proc/self/task"].map(|folder| fs::read_dir(folder).expect("it is mounted").count())
}

#[test]
fn nothing_is_left_of_a_storm() {
    let path = std::env::temp_dir().join(format!("fcgi-app-storm-{}.sock", std::process::id()));
    for multiplexed in [false, true] {
        for address in [Address::Unix(path.clone()), Address::Tcp("127.0.0.1:0".into())] {
            let before = held();
            let listener = Listener::bind(&address).expect("bound");
            let bound = SockRef::from(&listener.as_fd()).local_addr().expect("an address");
            let limits = Limits { connections: 24, write_time: Duration::from_secs(1), ..Limits::default() };
            let server = Server::new(listener).expect("a server").limits(limits).multiplex(multiplexed);
            let stop = server.stop_handle();
            let serving = thread::spawn(move || server.serve(handle));
            thread::scope(|scope| {
                for seed in 1..=6_u64 {
                    let bound = &bound;
                    scope.spawn(move || disturb(bound, Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
                }
            });
            let begun = Instant::now();
            stop.stop();
            drop(stop);
            serving.join().expect("no panic").expect("served");
            assert!(begun.elapsed() < limits.stop_timeout, "{address}, multiplexed {multiplexed}: a request hangs");
            while held() != before {
                assert!(begun.elapsed() < Duration::from_secs(20), "{:?} were held, {before:?} before", held());
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
