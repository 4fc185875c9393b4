//! Going to the background, without leaving the caller in doubt whether it worked.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;

use crate::process::child;
use crate::socket::inherited::Given;
use crate::sys::{self, Fork, Pid};
use crate::{Error, signals};

/// The two processes there are after [`fork`].
pub(crate) enum Daemon {
    /// The one that was started and is waited for.
    Starter(Starter),
    /// The one that stays. It must end the process rather than return to the caller of
    /// [`main`](crate::main), whose descriptors are closed.
    Background(Background),
}

/// Splits the process in two. The background one leads its own session and has `/dev/null` for
/// stdin and stdout, and what we were given; it keeps stderr until it is up, so that it can say itself why it is not.
pub(crate) fn fork(given: &Given) -> Result<Daemon, Error> {
    let failed = |error| Error::cannot("go to the background", &error);
    sys::expect_children();
    let null = child::dev_null()?;
    let (starter, background) = UnixStream::pair().map_err(failed)?;
    let keep = [&[null.as_fd(), starter.as_fd(), background.as_fd()], &given.descriptors()[..]].concat();
    match sys::fork_daemon(&keep).map_err(failed)? {
        Fork::Parent(pid) => Ok(Daemon::Starter(Starter { pid, up: starter })),
        Fork::Child => {
            sys::redirect(&null, io::stdin()).map_err(failed)?;
            sys::redirect(&null, io::stdout()).map_err(failed)?;
            Ok(Daemon::Background(Background { null, up: background }))
        }
    }
}

/// What the process that was started knows of the other.
pub(crate) struct Starter {
    pid: Pid,
    up: UnixStream,
}

impl Starter {
    /// Waits until the other process is up, or has ended instead.
    pub(crate) fn wait(mut self) -> Result<Outcome, Error> {
        if self.up.read_exact(&mut [0]).is_ok() {
            return Ok(Outcome::Up(self.pid));
        }
        let supervisor = |how: &str| Error::new(format!("the supervisor (pid {}) {how}", self.pid));
        let status = sys::reap_pid(self.pid).map_err(|error| supervisor(&error.to_string()))?;
        match (status.code(), status.signal()) {
            (Some(0), _) => Err(supervisor("was stopped before it was up")),
            (Some(code), _) => Ok(Outcome::Failed(u8::try_from(code).unwrap_or(Error::SET_UP))),
            (None, Some(signal)) => Err(supervisor(&format!("was killed by {}", signals::name(signal)))),
            (None, None) => Err(supervisor(&status.to_string())),
        }
    }
}

/// How the start of the other process went.
pub(crate) enum Outcome {
    Up(Pid),
    /// It has said why, and this is its exit status.
    Failed(u8),
}

/// What the process in the background knows of the other.
pub(crate) struct Background {
    null: File,
    up: UnixStream,
}

impl Background {
    /// Lets the starting process report success and end; stderr is `/dev/null` from here on.
    pub(crate) fn up(mut self) -> Result<(), Error> {
        let failed = |error| Error::cannot("go to the background", &error);
        sys::redirect(&self.null, io::stderr()).map_err(failed)?;
        // Who started us may be gone, which changes nothing.
        let _ = self.up.write_all(&[1]);
        Ok(())
    }
}
