//! Telling a service manager how we are: systemd by its datagrams, s6 and others by a line on a descriptor.
//!
//! The protocol is that of sd_notify(3), spoken without its library; each message is one datagram.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::{Duration, Instant};

use crate::sys;

/// All who are told how we are.
pub(crate) struct Notify {
    /// Where systemd listens.
    systemd: Option<UnixDatagram>,
    /// What gets a line when all is up, once.
    ready: Option<File>,
    watchdog: Option<Watchdog>,
    /// What was said last.
    status: String,
}

/// Something to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Ready,
    Reloading,
    Stopping,
    Status(&'a str),
    Watchdog,
}

/// The variables by which we are told; no other process is to find them.
pub(crate) const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// How long a message may take: a service manager reads at once, if at all.
const PATIENCE: Duration = Duration::from_secs(1);

impl Notify {
    /// Finds out who wants to know. `ready` is what `--ready-fd` names.
    pub(crate) fn new(ready: Option<OwnedFd>, now: Instant) -> Self {
        let systemd = env::var_os("NOTIFY_SOCKET").and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                log::warn!("{}", crate::Error::io("connect to NOTIFY_SOCKET", &name, &error));
                None
            }
        });
        let variable = |name| env::var(name).ok();
        let watchdog = watchdog_period(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), process::id());
        let watchdog = watchdog.filter(|_| systemd.is_some()).map(|period| Watchdog { period, next: now });
        Notify { systemd, ready: ready.map(File::from), watchdog, status: String::new() }
    }

    /// All workers are up, for the first time or after a reload.
    pub(crate) fn ready(&mut self) {
        self.send(Message::Ready);
        if let Some(mut ready) = self.ready.take() {
            // A reader that is gone is no fault.
            let _ = ready.write_all(b"\n");
        }
    }

    pub(crate) fn reloading(&mut self) {
        self.send(Message::Reloading);
    }

    pub(crate) fn stopping(&mut self) {
        self.send(Message::Stopping);
    }

    /// Whether it is to be told.
    pub(crate) fn wants_status(&self) -> bool {
        self.systemd.is_some()
    }

    /// Says how many workers are up, and so on, if that is news.
    pub(crate) fn status(&mut self, text: &str) {
        if self.status != text {
            text.clone_into(&mut self.status);
            self.send(Message::Status(text));
        }
    }

    /// When the watchdog wants to hear of us.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next)
    }

    /// Says that we are alive, when it is time.
    pub(crate) fn tick(&mut self, now: Instant) {
        if let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| now >= watchdog.next) {
            watchdog.next = now + watchdog.period;
            self.send(Message::Watchdog);
        }
    }

    fn send(&mut self, message: Message<'_>) {
        let Some(systemd) = &self.systemd else { return };
        if let Err(error) = systemd.send(text(message, process::id(), sys::monotonic()).as_bytes()) {
            log::warn!("cannot write to NOTIFY_SOCKET: {}", crate::error::Reason(&error));
        }
    }
}

struct Watchdog {
    period: Duration,
    next: Instant,
}

/// The datagram for a message.
fn text(message: Message<'_>, pid: u32, monotonic: Duration) -> String {
    match message {
        Message::Ready => format!("READY=1\nMAINPID={pid}"),
        Message::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic.as_micros()),
        Message::Stopping => "STOPPING=1".into(),
        Message::Status(status) => format!("STATUS={status}"),
        Message::Watchdog => "WATCHDOG=1".into(),
    }
}

/// Half the time after which systemd takes us for dead, if it is us whom it watches.
fn watchdog_period(microseconds: Option<String>, pid: Option<String>, us: u32) -> Option<Duration> {
    let time = Duration::from_micros(microseconds?.parse().ok()?);
    let is_us = pid.is_none_or(|pid| pid.parse() == Ok(us));
    (is_us && !time.is_zero()).then_some(time / 2)
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("neither an absolute path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_sd_notify() {
        let text = |message| text(message, 4711, Duration::from_micros(2_000_001));
        assert_eq!(text(Message::Ready), "READY=1\nMAINPID=4711");
        assert_eq!(text(Message::Reloading), "RELOADING=1\nMONOTONIC_USEC=2000001");
        assert_eq!(text(Message::Stopping), "STOPPING=1");
        assert_eq!(text(Message::Status("2 of 2 workers are up")), "STATUS=2 of 2 workers are up");
        assert_eq!(text(Message::Watchdog), "WATCHDOG=1");
    }

    #[test]
    fn the_watchdog_hears_of_us_twice_as_often_as_it_wants() {
        let period = |time: &str, pid: Option<&str>| watchdog_period(Some(time.into()), pid.map(str::to_owned), 4711);
        assert_eq!(period("3000000", None), Some(Duration::from_millis(1500)));
        assert_eq!(period("3000000", Some("4711")), Some(Duration::from_millis(1500)));
        assert_eq!(period("3000000", Some("4712")), None);
        assert_eq!(period("0", None), None);
        assert_eq!(period("soon", None), None);
        assert_eq!(watchdog_period(None, None, 4711), None);
    }

    #[test]
    fn an_abstract_socket_is_found() {
        let name = format!("fcgi-spawn-notify-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("an address");
        let systemd = UnixDatagram::bind_addr(&address).expect("bound");
        connect(OsStr::new(&format!("@{name}"))).expect("connected").send(b"READY=1").expect("sent");
        let mut buffer = [0; 64];
        assert_eq!(systemd.recv(&mut buffer).expect("received"), 7);
        assert!(connect(OsStr::new("relative")).is_err());
    }

    #[test]
    fn the_status_is_said_when_it_is_news() {
        let (systemd, ours) = UnixDatagram::pair().expect("a pair");
        let mut notify = Notify { systemd: Some(ours), ready: None, watchdog: None, status: String::new() };
        for status in ["one", "one", "two"] {
            notify.status(status);
        }
        notify.stopping();
        let mut buffer = [0; 64];
        for want in ["STATUS=one", "STATUS=two", "STOPPING=1"] {
            let len = systemd.recv(&mut buffer).expect("received");
            assert_eq!(&buffer[..len], want.as_bytes());
        }
    }
}
