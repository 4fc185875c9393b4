//! The files that a launcher leaves behind when all went well, and takes away again when it did not.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use socket2::Socket;

use crate::Error;
use crate::error::Reason;
use crate::files::pid_file::PidFile;
use crate::socket::socket_file::SocketFile;
use crate::sys::{self, Fork};

/// The files that were made; dropped, they are removed.
pub(crate) struct Files {
    pub(crate) socket: Option<SocketFile>,
    pub(crate) pid_file: Option<PidFile>,
}

impl Files {
    /// Leaves them where they are, with these pids in the pid file, if there are any.
    fn keep(mut self, pids: &str) -> Result<(), Error> {
        if let (Some(mut pid_file), false) = (self.pid_file.take(), pids.is_empty()) {
            pid_file.write(pids)?;
            pid_file.keep();
        }
        if let Some(socket) = self.socket.take() {
            socket.keep();
        }
        Ok(())
    }

    /// Leaves everything to another process that has them too.
    fn leave(self) {
        if let Some(socket) = self.socket {
            socket.keep();
        }
        if let Some(pid_file) = self.pid_file {
            pid_file.leave();
        }
    }

    /// Removes them; but a program that went to the background keeps its socket.
    fn undo(mut self) {
        if let Some(socket) = self.socket.take() {
            socket.remove_if_dead();
        }
    }
}

/// Who looks after the files until it is known what is to become of them.
pub(crate) enum Made {
    Us(Box<Files>),
    /// A process that still has the rights we give up. It waits for one word, or for our end of this to be
    /// closed by an exec, and ends.
    Keeper(UnixStream),
}

/// What the keeper is told, if it is not pids.
const UNDO: &str = "undo";

/// More than the pids of all workers there can be.
const MAX_WORD: u64 = 64 << 10;

impl Made {
    /// Leaves the files to a process that stays who we are. It does not hold the listening socket.
    pub(crate) fn with_keeper(files: Files, listener: Socket) -> Result<(Self, Socket), Error> {
        let failed = |error| Error::cannot("fork", &error);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        match sys::fork_orphan().map_err(failed)? {
            Fork::Parent(_) => {
                files.leave();
                Ok((Made::Keeper(ours), listener))
            }
            Fork::Child => {
                drop((ours, listener));
                look_after(files, theirs);
                sys::exit_now();
            }
        }
    }

    /// Leaves the files where they are. The pids are for the pid file.
    pub(crate) fn keep(self, pids: &str) -> Result<(), Error> {
        match self {
            Made::Us(files) => files.keep(pids),
            Made::Keeper(keeper) => match tell(keeper, pids) {
                answer if answer.is_empty() => Ok(()),
                answer => Err(Error::new(answer)),
            },
        }
    }

    /// Removes the files. We have to have closed the listening socket.
    pub(crate) fn undo(self) {
        match self {
            Made::Us(files) => files.undo(),
            Made::Keeper(keeper) => drop(tell(keeper, UNDO)),
        }
    }
}

/// Tells the keeper something and waits until it has done it.
fn tell(mut keeper: UnixStream, word: &str) -> String {
    let mut answer = String::new();
    let told = keeper
        .write_all(word.as_bytes())
        .and_then(|()| keeper.shutdown(Shutdown::Write))
        .and_then(|()| keeper.read_to_string(&mut answer));
    match told {
        Ok(_) => answer,
        Err(error) => format!("cannot reach the process that looks after our files: {}", Reason(&error)),
    }
}

/// What the keeper does. The launcher has given up its rights, so it is not believed more than it has to be.
fn look_after(files: Files, mut launcher: UnixStream) {
    let mut word = String::new();
    let read = (&mut launcher).take(MAX_WORD).read_to_string(&mut word);
    let are_pids = read.is_ok() && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'\n');
    if !are_pids {
        files.undo();
    } else if let Err(error) = files.keep(&word) {
        let _ = launcher.write_all(error.to_string().as_bytes());
    }
}
