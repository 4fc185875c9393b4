//! What the supervisor does with processes that are to stop, and with what they leave: signals, and looks into /proc.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use crate::Supervisor;
use crate::error::Reason;
use crate::fleet::{Clients, Event, Phase};
use crate::process::clients::Subject;
use crate::process::connections;
use crate::sys::{self, Pid};

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

    /// What is left of a group.
    pub(crate) fn look_at_group(&mut self, pid: Pid) -> Event {
        let listener = self.listener_inode();
        Event::Looked { pid, left: self.orphans.are_left(pid, listener, Instant::now()) }
    }

    /// The clients of a process that is to stop.
    pub(crate) fn look_for_clients(&self, pid: Pid) -> Event {
        let begun = Instant::now();
        let clients = match self.channels.is_ready(pid) {
            true => Clients::ItsOwn,
            false => {
                let held = self.held.iter().find(|(held, _)| *held == pid);
                self.subject(pid).clients(held.map(|(_, places)| places))
            }
        };
        Event::Served { pid, clients, cost: begun.elapsed() }
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
