//! The process of a program, and its end.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};

/// How long a process group has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How often a program is looked at on a kernel that cannot tell of its end (before 5.3).
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A program in a process group of its own, which ends with this value.
pub(super) struct Program {
    child: Child,
    /// Readable when it has ended; not on an old kernel.
    pub(super) exit: Option<OwnedFd>,
    /// None of these waits: they are for `poll`.
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
    /// Whether the group may be gone, and its number be another's.
    reaped: bool,
}

impl Program {
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let exit = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok();
        let program = Self { child, exit, stdin, stdout, stderr, reaped: false };
        let pipes = [
            program.stdin.as_ref().map(AsFd::as_fd),
            program.stdout.as_ref().map(AsFd::as_fd),
            program.stderr.as_ref().map(AsFd::as_fd),
        ];
        for pipe in pipes.into_iter().flatten() {
            ioctl_fionbio(pipe, true)?;
        }
        Ok(program)
    }

    /// Whether it has ended. It is not reaped: its number stays its group's.
    pub(super) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.pid()), options), Ok(None))
    }

    /// Gives the status of one that has ended.
    pub(super) fn reap(mut self) -> io::Result<ExitStatus> {
        self.reaped = true;
        self.child.wait()
    }

    /// Ends its whole group: SIGTERM, and SIGKILL when it has ended, or after two seconds. As long as somebody has its
    /// output open, somebody of the group is there.
    pub(super) fn end(mut self) {
        let _ = kill_process_group(self.pid(), Signal::TERM);
        let by = Instant::now() + GRACE;
        while !(self.has_ended() && self.stdout.is_none() && self.stderr.is_none()) {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            discard(&mut self.stdout);
            discard(&mut self.stderr);
            self.wait(left);
        }
    }

    /// Waits until there is output or the end.
    fn wait(&self, time: Duration) {
        // An ended one would be told of again and again.
        let exit = self.exit.as_ref().filter(|_| !self.has_ended()).map(AsFd::as_fd);
        let pipes = [self.stdout.as_ref().map(AsFd::as_fd), self.stderr.as_ref().map(AsFd::as_fd), exit];
        let mut fds: Vec<_> =
            pipes.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let time = if self.exit.is_some() { time } else { time.min(LOOK_AGAIN) };
        let _ = poll(&mut fds, Timespec::try_from(time).ok().as_ref());
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

/// Reads and throws away what is there; at its end the pipe is closed.
fn discard(pipe: &mut Option<impl Read>) {
    let Some(reader) = pipe else { return };
    loop {
        match reader.read(&mut [0; 4096]) {
            Ok(1..) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
            Ok(0) | Err(_) => {
                *pipe = None;
                return;
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
