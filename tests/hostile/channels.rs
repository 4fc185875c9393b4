//! Attacks through what a worker was given: its output, its channels to the supervisor, its listening socket.

use std::env;
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, sendmsg, shutdown};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::home::Home;

/// The variables that name descriptors of channels to the supervisor.
const CHANNELS: [&str; 3] = ["FCGI_SPAWN_REPORT", "FCGI_SPAWN_READY", "FCGI_SPAWN_HEARTBEAT"];

/// How many descriptors go with a message; the kernel has a limit of 253.
const AT_ONCE: usize = 200;

/// What is written without a pause.
const BURST: usize = 256 << 10;

/// Our ends of the channels that there are.
fn channels() -> Vec<OwnedFd> {
    let Ok(us) = pidfd_open(getpid(), PidfdFlags::empty()) else { return Vec::new() };
    let number = |name: &&str| env::var(name).ok()?.parse().ok();
    let copy = |number| pidfd_getfd(&us, number, PidfdGetfdFlags::empty()).ok();
    CHANNELS.iter().filter_map(number).filter_map(copy).collect()
}

/// Bytes of all kinds: long lines, control bytes, syslog priorities, and forged lines of the supervisor and of workers.
fn garbage() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BURST);
    for number in 0_u32.. {
        if bytes.len() >= BURST {
            break;
        }
        match number % 6 {
            0 => bytes.extend(vec![b'x'; 9000]),
            1 => bytes.extend(b"\0\0\x1b]0;title\x07\x1b[2J\r<0>kernel: panic\n"),
            2 => bytes.extend(b"\n2026-01-01T00:00:00Z fcgi-spawn: SIGTERM: stopping\nworker 1 (pid 1): fine\n"),
            3 => bytes.extend([b'\n'; 500]),
            4 => bytes.extend((0..=255).cycle().take(3000)),
            _ => bytes.extend(b"%s%n%s%n \xff\xfe\xc0\x80\n"),
        }
    }
    bytes
}

pub(crate) fn write_output(home: &Home, pause: Duration) {
    let (garbage, stdout, stderr) = (garbage(), io::stdout(), io::stderr());
    while !home.is_over() {
        for stream in [stdout.as_fd(), stderr.as_fd()] {
            if !write_all(stream, &garbage) {
                return;
            }
        }
        thread::sleep(pause);
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// A thread for each channel: what fills one keeps no other waiting.
fn on_each_channel(home: &Home, attack: impl Fn(&OwnedFd) -> bool + Sync) {
    let channels = channels();
    thread::scope(|scope| {
        for channel in &channels {
            scope.spawn(|| while !home.is_over() && (0..1000).all(|_| attack(channel)) {});
        }
    });
}

pub(crate) fn write_report(home: &Home) {
    let kinds: [&[u8]; 5] = [b"+", b"-", b"\0\n", &[b'+'; 4096], &(0..=255).collect::<Vec<u8>>()];
    on_each_channel(home, |channel| {
        // What is too large for a message is refused, which is no reason to stop.
        kinds.iter().any(|bytes| rustix::io::write(channel, bytes).is_ok())
    });
}

pub(crate) fn send_descriptors(home: &Home) {
    let Ok(null) = File::open("/dev/null") else { return };
    let many = [null.as_fd(); AT_ONCE];
    on_each_channel(home, |channel| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&many));
        match sendmsg(channel, &[IoSlice::new(b"+")], &mut control, SendFlags::empty()) {
            // A pipe takes none.
            Err(rustix::io::Errno::NOTSOCK | rustix::io::Errno::PIPE) => false,
            // Too many are on their way.
            Err(_) => {
                thread::sleep(Duration::from_millis(1));
                true
            }
            Ok(_) => true,
        }
    });
}

pub(crate) fn shut_listener(home: &Home) {
    while !home.is_over() {
        let _ = shutdown(io::stdin(), Shutdown::Both);
        thread::sleep(Duration::from_millis(500));
    }
}
