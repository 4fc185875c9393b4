//! What the supervisor does with processes that are to stop, and with what they leave: signals, and looks into /proc.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use crate::Supervisor;
use crate::error::Reason;
use crate::fleet::{Clients, Event, Phase};
use crate::handover::Running;
use crate::process::clients::Subject;
use crate::process::connections;
use crate::sys::{self, Pid};

/// How long looks for clients may take in a turn: a worker can be made so that each takes long.
const LOOKS: Duration = Duration::from_millis(50);

/// Of how many workers that ended what they have left is handed over: all of it has to fit into a variable.
const MOST_HELPERS: usize = 256;

impl Supervisor {
    /// Asks a process to stop, or what it has left. If it may not be asked, that is found out when it is killed.
    pub(crate) fn ask(&self, pid: Pid) {
        let signal = self.setup.config().stop_signal;
        if !self.orphans.is_reaped(pid) {
            let _ = sys::signal_process(pid, signal);
        } else if self.orphans.is_ours(pid) {
            let _ = self.orphans.signal(pid, signal, self.stops_all(), self.listener_inode());
        }
    }

    /// Kills a process with its group, or what it has left.
    pub(crate) fn kill(&self, pid: Pid) -> Event {
        if !self.orphans.is_ours(pid) {
            return Event::Vanished(pid);
        }
        let refused = self.orphans.signal(pid, libc::SIGKILL, self.stops_all(), self.listener_inode()).err();
        Event::Signalled { pid, refused: refused.map(|error| Reason(&error).to_string()) }
    }

    /// Has a process and its parts accept nothing for a moment.
    pub(crate) fn hold(&mut self, pid: Pid) -> Option<Event> {
        let places = self.subject(pid).places();
        let is_refused = sys::signal_group(pid, libc::SIGSTOP).is_err();
        self.held.push((pid, places));
        is_refused.then_some(Event::Served { pid, clients: Clients::Unseen, cost: Duration::ZERO })
    }

    /// Has it go on.
    pub(crate) fn release(&mut self, pid: Pid) {
        self.held.retain(|(held, _)| *held != pid);
        if self.orphans.is_ours(pid) {
            let _ = sys::signal_group(pid, libc::SIGCONT);
        }
    }

    /// What workers that ended have left, for the successor, which cannot tell whether a group is still theirs.
    pub(crate) fn helpers(&self) -> impl Iterator<Item = Running> {
        let helpers = self.fleet.helpers().filter(|(_, leader)| self.orphans.is_ours(*leader)).take(MOST_HELPERS);
        helpers.map(|(slot, leader)| Running { slot, pid: leader.number(), ..Running::default() })
    }

    /// Takes over what a worker has left that the predecessor has reaped.
    pub(crate) fn adopt_helpers(&mut self, slot: usize, leader: Pid, now: Instant) {
        self.orphans.take_over(leader);
        self.fleet.adopt_helpers(slot, leader, now);
    }

    /// What is left of a group.
    pub(crate) fn look_at_group(&mut self, pid: Pid) -> Event {
        let listener = self.listener_inode();
        Event::Looked { pid, left: self.orphans.are_left(pid, listener, Instant::now()) }
    }

    /// The clients of a process that is to stop, unless other looks have taken the time of this turn.
    pub(crate) fn look_for_clients(&mut self, pid: Pid) -> Option<Event> {
        if self.looked >= LOOKS {
            return None;
        }
        let begun = Instant::now();
        let clients = match self.channels.is_ready(pid) {
            true => Clients::ItsOwn,
            false => {
                let held = self.held.iter().find(|(held, _)| *held == pid);
                self.subject(pid).clients(held.map(|(_, places)| places))
            }
        };
        let cost = begun.elapsed();
        self.looked += cost;
        Some(Event::Served { pid, clients, cost })
    }

    fn subject(&self, leader: Pid) -> Subject {
        Subject { leader, program: self.orphans.program(leader), listener: self.listener_inode() }
    }

    /// The inode of the listening socket, by which it is found in /proc.
    pub(crate) fn listener_inode(&self) -> Option<u64> {
        self.listener.as_ref().and_then(|listener| connections::inode(listener.as_fd().as_raw_fd()))
    }

    fn stops_all(&self) -> bool {
        self.fleet.phase == Phase::Stopping
    }
}
