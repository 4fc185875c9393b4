//! A listening socket that we were started with: systemd's by `LISTEN_FDS`, or, as a FastCGI program gets it, on
//! descriptor 0.

use std::env;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::process;

use socket2::{SockRef, Socket, Type};

use crate::error::Reason;
use crate::{Address, Config, Error, output, sys};

/// The variables by which systemd tells us; no other process is to find them.
pub(crate) const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Where systemd's descriptors begin.
const FIRST: RawFd = 3;

/// What we were started with and go on with, in the background too, where descriptor 0 is another.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) listener: Option<Socket>,
    /// Where a line says that all is up.
    pub(crate) ready: Option<OwnedFd>,
    /// The log, if that is a descriptor.
    pub(crate) log: Option<OwnedFd>,
}

impl Given {
    pub(crate) fn take(config: &Config) -> Result<Self, Error> {
        let listener = match config.address {
            Address::Inherited(fd) => Some(duplicate(fd)?),
            _ => None,
        };
        let take = |fd| {
            sys::take_inherited(fd).ok_or_else(|| Error::new(format!("--ready-fd {fd}: no open descriptor above 2")))
        };
        let log = config.log.as_ref().map(output::given).transpose()?.flatten();
        Ok(Given { listener, ready: config.ready_fd.map(take).transpose()?, log })
    }

    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let listener = self.listener.iter().map(AsFd::as_fd);
        listener.chain(self.ready.iter().chain(&self.log).map(AsFd::as_fd)).collect()
    }
}

/// The descriptor of the socket we were started with, if there is one.
///
/// # Errors
///
/// systemd has passed more than one, or something else than a listening stream socket.
pub(crate) fn find() -> Result<Option<RawFd>, Error> {
    let variable = |name| env::var(name).ok();
    match passed(variable("LISTEN_PID"), variable("LISTEN_FDS"), process::id()) {
        0 => Ok(is_listening(&SockRef::from(&io::stdin())).then_some(libc::STDIN_FILENO)),
        1 => {
            duplicate(FIRST)?;
            Ok(Some(FIRST))
        }
        more => Err(Error::new(format!("LISTEN_FDS={more}: one socket is served, and this is more"))),
    }
}

/// A descriptor of our own for it.
pub(crate) fn duplicate(fd: RawFd) -> Result<Socket, Error> {
    let failed = |why: &str| Error::new(format!("cannot use descriptor {fd}: {why}"));
    let own = match fd {
        libc::STDIN_FILENO => io::stdin().as_fd().try_clone_to_owned(),
        _ => sys::duplicate(fd),
    };
    let socket = own.map(Socket::from).map_err(|error| failed(&Reason(&error).to_string()))?;
    match is_listening(&SockRef::from(&socket)) {
        true => Ok(socket),
        false => Err(failed("not a listening stream socket")),
    }
}

fn is_listening(socket: &SockRef<'_>) -> bool {
    socket.is_listener().unwrap_or(false) && socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
}

/// How many descriptors systemd has passed to the process `us`.
fn passed(pid: Option<String>, count: Option<String>, us: u32) -> usize {
    match pid.and_then(|pid| pid.parse().ok()) == Some(us) {
        true => count.and_then(|count| count.parse().ok()).unwrap_or(0),
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_for_another_process_is_not_ours() {
        let passed = |pid: &str, count: &str| passed(Some(pid.into()), Some(count.into()), 4711);
        assert_eq!((passed("4711", "1"), passed("4712", "1"), passed("4711", "x"), passed("4711", "3")), (1, 0, 0, 3));
    }

    #[test]
    fn only_a_listening_stream_socket_will_do() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let (stream, _other) = UnixStream::pair().expect("a pair");
        assert!(duplicate(listener.as_raw_fd()).is_ok());
        let refused = duplicate(stream.as_raw_fd()).expect_err("it does not listen").to_string();
        assert_eq!(refused, format!("cannot use descriptor {}: not a listening stream socket", stream.as_raw_fd()));
    }
}
