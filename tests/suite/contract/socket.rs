//! The socket: address, mode, queue, and what was there before.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use fcgi_tests::{Address, Program, eventually, free_port, skip};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::{Case, text};
use crate::app::expect_hello;

/// How many connections a socket takes that nobody accepts. One that was closed still counts.
pub(super) fn queue(path: &Path) -> usize {
    let address = SocketAddrUnix::new(path).expect("the path fits");
    let fits = |_: &usize| {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None);
        match connect(socket.expect("a socket"), &address) {
            Ok(()) => true,
            Err(rustix::io::Errno::AGAIN) => false,
            Err(error) => panic!("{}: {error}", path.display()),
        }
    };
    (0..100_000).take_while(fits).count()
}

/// A socket without anybody behind it.
pub(super) fn stale(path: &Path) {
    drop(UnixListener::bind(path).expect("a socket"));
    // A child forked by another test has a copy of the listener until its exec.
    eventually("a stale socket", || UnixStream::connect(path).is_err().then_some(()));
}

/// The addresses on which somebody listens on `port`, as the kernel spells them.
fn listening(port: u16) -> Vec<String> {
    let lines = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| fs::read_to_string(file).unwrap_or_default()).concat();
    let fields = lines.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let suffix = format!(":{port:04X}");
    fields
        .filter(|fields| fields[3] == "0A")
        .filter_map(|fields| Some(fields[1].strip_suffix(&suffix)?.into()))
        .collect()
}

fn answers(ip: impl Into<std::net::IpAddr>, port: u16) -> bool {
    TcpStream::connect(SocketAddr::new(ip.into(), port)).is_ok()
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[test]
fn a_program_behind_a_unix_socket_answers() {
    let case = Case::new();
    let hello = Program::ours("hello");
    let [_child] = case.run_words(["-s", "sock", "--", text(hello.path())]).started();
    expect_hello(&Address::Unix(case.path("sock")));
}

#[test]
fn a_program_behind_a_port_answers() {
    let (case, port) = (Case::new(), free_port());
    let hello = Program::ours("hello");
    let [_child] = case.run_words(["-p", &port.to_string(), "--", text(hello.path())]).started();
    expect_hello(&Address::loopback(port));
}

#[test]
fn a_port_is_bound_on_every_ipv4_address() {
    let port = free_port();
    let _child = Case::new().child(&format!("-p {port}"));
    assert_eq!(listening(port), ["00000000"]);
}

#[test]
fn an_ipv4_address_is_bound_alone() {
    let port = free_port();
    let _child = Case::new().child(&format!("-a 127.0.0.1 -p {port}"));
    assert_eq!(listening(port), ["0100007F"]);
}

#[test]
fn an_ipv6_address_is_bound_alone() {
    if !has_ipv6() {
        skip!("there is no IPv6 here");
    }
    let port = free_port();
    let _child = Case::new().child(&format!("-a ::1 -p {port}"));
    assert!(answers(Ipv6Addr::LOCALHOST, port) && !answers(Ipv4Addr::LOCALHOST, port));
}

#[test]
fn the_ipv6_wildcard_takes_ipv4_too() {
    if !has_ipv6() {
        skip!("there is no IPv6 here");
    }
    let port = free_port();
    let _child = Case::new().child(&format!("-a :: -p {port}"));
    assert!(answers(Ipv6Addr::LOCALHOST, port) && answers(Ipv4Addr::LOCALHOST, port));
}

/// The port of a connection that ended a moment ago can be bound: SO_REUSEADDR.
#[test]
fn a_restart_need_not_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let client = TcpStream::connect(address).expect("a connection");
    drop(listener.accept().expect("a connection")); // who closes first keeps the port
    drop((listener, client));
    // Another test's child may have the listener until its exec.
    eventually("nobody who listens", || listening(address.port()).is_empty().then_some(()));
    let _child = Case::new().child(&format!("-a 127.0.0.1 -p {}", address.port()));
}

#[test]
fn a_mode_is_660_less_the_umask() {
    for (umask, mode) in [("000", 0o660), ("007", 0o660), ("022", 0o640), ("077", 0o600), ("777", 0)] {
        let case = Case::called_by(&format!("umask {umask}; exec"));
        case.child("-s sock");
        assert_eq!(case.owner("sock").0, mode, "umask {umask}");
    }
}

#[test]
fn an_explicit_mode_ignores_the_umask() {
    for (value, mode) in [("0666", 0o666), ("666", 0o666), ("0600", 0o600), ("0777", 0o777), ("0", 0)] {
        let case = Case::called_by("umask 077; exec");
        case.child(&format!("-s sock -M {value}"));
        assert_eq!(case.owner("sock").0, mode, "-M {value}");
    }
}

#[test]
fn a_socket_is_its_makers() {
    let case = Case::new();
    case.child("-s sock");
    let folder = fs::metadata(case.dir.path()).expect("a folder");
    assert_eq!(case.owner("sock"), (case.owner("sock").0, folder.uid(), folder.gid()));
}

#[test]
fn b_is_the_length_of_the_queue() {
    for (backlog, fits) in [(0, 1), (3, 4)] {
        let case = Case::new();
        let _child = case.child(&format!("-s sock -b {backlog}"));
        assert_eq!(queue(&case.path("sock")), fits, "-b {backlog}");
    }
}

#[test]
fn the_queue_has_1024_places_as_far_as_the_kernel_allows() {
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a limit");
    let limit: usize = limit.trim().parse().expect("a number");
    let case = Case::new();
    let _child = case.child("-s sock");
    assert_eq!(queue(&case.path("sock")), limit.min(1024) + 1);
}

#[test]
fn address_is_ignored_with_a_unix_socket() {
    for address in ["127.0.0.1", "nonsense"] {
        let case = Case::new();
        let ended = case.run(&format!("-s sock -a {address} -- /bin/sleep 1000"));
        assert!(ended.status == 0 && ended.children.len() == 1 && case.exists("sock"), "{ended:?}");
    }
}

#[test]
fn mode_and_owner_are_ignored_with_a_port() {
    let ended = Case::new().run(&format!("-p {} -M 0600 -U nobody -- /bin/sleep 1000", free_port()));
    assert!(ended.status == 0 && ended.children.len() == 1, "{ended:?}");
}

#[test]
fn a_stale_socket_is_replaced() {
    let case = Case::new();
    stale(&case.path("sock"));
    let before = fs::metadata(case.path("sock")).expect("a socket").ctime_nsec();
    let _child = case.child("-s sock");
    assert!(UnixStream::connect(case.path("sock")).is_ok());
    assert_ne!(fs::metadata(case.path("sock")).expect("a socket").ctime_nsec(), before);
}

#[test]
fn a_socket_in_use_is_refused_and_stays() {
    let case = Case::new();
    let listener = UnixListener::bind(case.path("sock")).expect("a socket");
    case.refuses("-s sock -- /bin/true", "in use");
    listener.accept().expect("the look at who is there");
    assert!(UnixStream::connect(case.path("sock")).is_ok());
}

#[test]
fn a_second_start_is_refused_and_the_first_goes_on() {
    let case = Case::new();
    let child = case.child("-s sock");
    case.refuses("-s sock -- /bin/true", "in use");
    assert!(child.0.is_alive() && UnixStream::connect(case.path("sock")).is_ok());
}

#[test]
fn a_port_in_use_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = taken.local_addr().expect("its address").port();
    Case::new().refuses(&format!("-a 127.0.0.1 -p {port} -- /bin/true"), "in use");
}

#[test]
fn a_path_has_107_bytes() {
    let case = Case::new();
    let name = "x".repeat(107);
    let _child = case.child(&format!("-s {name}"));
    assert!(case.exists(&name));
    case.refuses(&format!("-s {name}x -- /bin/true"), "too long");
}

#[test]
fn the_socket_stays_when_the_child_ends() {
    let case = Case::new();
    let child = case.child("-s sock");
    child.0.signal(fcgi_tests::Signal::TERM);
    child.0.wait_gone();
    let refused = UnixStream::connect(case.path("sock")).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(io::ErrorKind::ConnectionRefused));
}
