//! The files that a launcher leaves behind when all went well, and takes away again when it did not.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use socket2::Socket;

use crate::Error;
use crate::error::Reason;
use crate::files::pid_file::PidFile;
use crate::files::place::twice;
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

/// Ends what the keeper is told, and what it answers.
const END: u8 = 0;

/// More than the pids of all workers there can be.
const MAX_WORD: usize = 64 << 10;

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

/// Tells the keeper something and waits until it has done it; the answer is why not.
fn tell(keeper: UnixStream, word: &str) -> String {
    match write_word(&keeper, word).and_then(|()| read_word(&keeper)) {
        Ok(Some(answer)) => answer,
        Ok(None) => "the process that looks after our files has ended".into(),
        Err(error) => format!("cannot reach the process that looks after our files: {}", Reason(&error)),
    }
}

/// What the keeper does. The launcher has given up its rights, so it is not believed more than it has to be.
fn look_after(files: Files, launcher: UnixStream) {
    let answer = match read_word(&launcher) {
        // It has executed the program.
        Ok(None) => files.keep(""),
        Ok(Some(pids)) if pids.bytes().all(|byte| byte.is_ascii_digit() || byte == b'\n') => files.keep(&pids),
        Ok(Some(_)) => {
            files.undo();
            Ok(())
        }
        Err(error) => {
            files.undo();
            Err(Error::cannot("read what is to become of the files", &error))
        }
    };
    let answer = answer.err().map(|error| error.to_string()).unwrap_or_default();
    let _ = write_word(&launcher, &answer);
}

fn write_word(mut to: &UnixStream, word: &str) -> io::Result<()> {
    let word = [word.as_bytes(), &[END]].concat();
    let mut left = &word[..];
    while !left.is_empty() {
        match twice(|| to.write(left))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => left = &left[written..],
        }
    }
    Ok(())
}

/// `None` if the other side ends before its word does.
fn read_word(mut from: &UnixStream) -> io::Result<Option<String>> {
    let (mut word, mut bytes) = (Vec::new(), [0; 4096]);
    while word.len() < MAX_WORD {
        match twice(|| from.read(&mut bytes))? {
            0 => return Ok(None),
            read => word.extend_from_slice(&bytes[..read]),
        }
        if word.last() == Some(&END) {
            word.pop();
            return Ok(Some(String::from_utf8_lossy(&word).into_owned()));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}
