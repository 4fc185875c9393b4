//! What the fleet is told, and what it wants done.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::Error;
use crate::fleet::demand::Reported;
use crate::fleet::note::{Cause, Note};
use crate::fleet::stop::{Clients, Left};
use crate::sys::Pid;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// Everything is there for the first workers.
    Begin,
    /// A process was forked for a worker, to execute this version of the program.
    Forked {
        slot: usize,
        pid: Pid,
        version: u32,
    },
    /// It has executed the program.
    Executed(Pid),
    /// It could not execute the program, perhaps for want of memory or processes, which is no fault of the program.
    NotExecuted {
        pid: Pid,
        error: Error,
        is_shortage: bool,
    },
    /// The system refused to start a process for a worker.
    Refused {
        slot: usize,
        error: Error,
    },
    /// A process reports that it serves.
    Ready(Pid),
    /// A child ended and is reaped; what is left in its group, and what it has said last.
    Ended {
        pid: Pid,
        status: ExitStatus,
        left: Left,
        said: Option<String>,
    },
    /// What is left in a group.
    Looked {
        pid: Pid,
        left: Left,
    },
    /// The clients of a process that is to stop.
    Served {
        pid: Pid,
        clients: Clients,
        /// How long the look took.
        cost: Duration,
    },
    /// The signal that kills a group was sent, or was refused for this reason.
    Signalled {
        pid: Pid,
        refused: Option<String>,
    },
    /// A group that was to be killed has no process of ours any more.
    Vanished(Pid),
    /// What a process uses.
    Measured {
        pid: Pid,
        usage: Usage,
        reported: Reported,
    },
    /// Whether a connection waits.
    Waiting(bool),
    /// The heartbeat of a process is missing for so long.
    Overdue {
        pid: Pid,
        time: Duration,
    },
    Reload(Cause),
    /// A reload because of this file.
    FileChanged(PathBuf),
    OneMore,
    OneLess,
    Stop,
    Tick,
}

impl Event {
    /// Whether a process may be gone for good by this.
    pub(crate) fn may_end(&self) -> bool {
        matches!(self, Event::Ended { .. } | Event::Looked { .. } | Event::Vanished(_))
    }
}

/// What a process uses, as far as it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Memory in bytes.
    pub(crate) rss: u64,
    /// A number that changes whenever one of its threads, or one of its children's, has run.
    pub(crate) work: u64,
    /// A client is connected to it.
    pub(crate) connected: bool,
}

/// Something that is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Start a process; `Forked` or `Refused` follows.
    Start(usize),
    /// Note which program a process executes.
    Identify(Pid),
    /// `Served` follows.
    LookForClients(Pid),
    /// Stop a process group for a moment, so that it accepts no connection.
    Hold(Pid),
    /// Have it go on.
    Release(Pid),
    /// Ask a process, or what it has left in its group, to stop.
    Ask(Pid),
    /// Kill a process group; `Signalled` follows.
    Kill(Pid),
    /// `Looked` follows.
    LookAtGroup(Pid),
    /// `Waiting` follows.
    LookAtListener,
    /// `Measured` follows.
    Measure(Pid),
    Say(Note),
    /// All first workers are up, as far as they can.
    Up,
    /// The first start failed, and everything is being stopped.
    Fail(Error),
}
