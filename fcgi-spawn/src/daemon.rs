//! Going to the background, without leaving the caller in doubt whether it worked.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::process::child;
use crate::socket::inherited::Given;
use crate::sys::{self, Fork, Pid};
use crate::{Error, signals};

/// Between two looks whether the other process has ended, while it neither reports nor closes its end.
const LOOK: Duration = Duration::from_secs(1);

/// How long the other process may take to end once it has closed its end without a report.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// Waits until the other process is up, or has ended instead. Whatever it fails to report, this ends: soon after the
    /// other process, or after it has closed its end.
    pub(crate) fn wait(mut self) -> Result<Outcome, Error> {
        while !sys::is_readable_within(&self.up, LOOK) {
            if let Some(status) = sys::reap_if_ended(self.pid) {
                return self.outcome(status);
            }
            // Where even that fails it does not spin.
            sys::wait_for_child(LOOK / 10);
        }
        // Whatever fails once, the byte is still there.
        let report = self.up.read_exact(&mut [0]).or_else(|_| self.up.read_exact(&mut [0]));
        if report.is_ok() {
            return Ok(Outcome::Up(self.pid));
        }
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = sys::reap_if_ended(self.pid) {
                return self.outcome(status);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.supervisor("does not report whether it is up; look for it before another start"));
            }
            sys::wait_for_child(left);
        }
    }

    fn supervisor(&self, how: &str) -> Error {
        Error::new(format!("the supervisor (pid {}) {how}", self.pid))
    }

    fn outcome(&self, status: ExitStatus) -> Result<Outcome, Error> {
        match (status.code(), status.signal()) {
            (Some(0), _) => Err(self.supervisor("was stopped before it was up")),
            (Some(code), _) => Ok(Outcome::Failed(u8::try_from(code).unwrap_or(Error::SET_UP))),
            (None, Some(signal)) => Err(self.supervisor(&format!("was killed by {}", signals::name(signal)))),
            (None, None) => Err(self.supervisor(&status.to_string())),
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
    ///
    /// # Errors
    ///
    /// The start fails if success cannot be reported: the caller would never know. stderr is what it was then.
    pub(crate) fn up(mut self) -> Result<(), Error> {
        let failed = |error| Error::cannot("go to the background", &error);
        let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
        sys::redirect(&self.null, io::stderr()).map_err(failed)?;
        match self.up.write_all(&[1]).or_else(|_| self.up.write_all(&[1])) {
            // The starting process is gone, which changes nothing.
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                let _ = sys::redirect(&stderr, io::stderr());
                Err(Error::cannot("report that the supervisor is up", &error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process in the place of the supervisor, and our end of the stream.
    fn started(script: &str) -> (Child, Starter, UnixStream) {
        let child = Command::new("/bin/sh").args(["-c", script]).stdin(Stdio::null()).spawn().expect("sh exists");
        let (up, theirs) = UnixStream::pair().expect("a pair");
        let pid = Pid::handed_over(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        (child, Starter { pid, up }, theirs)
    }

    #[track_caller]
    fn check(outcome: Result<Outcome, Error>, want: &str) {
        match outcome {
            Ok(Outcome::Up(_)) => assert_eq!(want, "up"),
            Ok(Outcome::Failed(status)) => assert_eq!(want, status.to_string()),
            Err(error) => assert!(error.to_string().contains(want), "{error}"),
        }
    }

    #[test]
    fn a_report_is_success() {
        let (mut child, starter, mut theirs) = started("exec sleep 1000");
        theirs.write_all(&[1]).expect("written");
        check(starter.wait(), "up");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }

    #[test]
    fn an_end_without_a_report_is_passed_on() {
        for (script, want) in [("exit 7", "7"), ("exit 0", "was stopped"), ("kill -KILL $$", "was killed by SIGKILL")] {
            let (_child, starter, theirs) = started(script);
            drop(theirs);
            check(starter.wait(), want);
        }
    }

    /// A child of the supervisor may hold the other end for longer than the supervisor lives.
    #[test]
    fn an_end_is_seen_while_the_stream_is_open() {
        let (_child, starter, _theirs) = started("exit 7");
        check(starter.wait(), "7");
    }

    #[test]
    fn a_report_that_was_lost_has_a_deadline() {
        let (mut child, starter, theirs) = started("exec sleep 1000");
        drop(theirs);
        check(starter.wait(), "does not report whether it is up");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
}
