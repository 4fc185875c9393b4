//! Workers that say that they are well, and those that have stopped saying so.
//!
//! An fcgi-app worker writes to the socket named by `FCGI_SPAWN_HEARTBEAT`, one for all: a `+` a second while it has
//! connections and no handler has exceeded its time, a `-` before it sleeps until somebody connects. Between a `+` and
//! the next byte lies at most the limit; a worker that has never written, or has written a `-`, may be silent for ever.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::Error;
use crate::process::ready::Ready;
use crate::sys::{self, Pid};
use crate::takeover::handover::{Hearts, Life, State};

/// The heartbeats of all workers.
pub(crate) struct Heartbeats {
    limit: Duration,
    ours: Ready,
    theirs: OwnedFd,
    pulses: Vec<(Pid, Pulse)>,
}

/// What is known of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// Nothing is expected of it.
    Resting,
    /// The next beat has to come in time.
    Beating { last: Instant },
}

impl Pulse {
    fn after(byte: u8, now: Instant) -> Self {
        match byte {
            b'-' => Pulse::Resting,
            _ => Pulse::Beating { last: now },
        }
    }

    /// When the next beat is missed.
    fn deadline(self, limit: Duration) -> Option<Instant> {
        match self {
            Pulse::Beating { last } => Some(last + limit),
            Pulse::Resting => None,
        }
    }
}

impl Heartbeats {
    pub(crate) fn new(limit: Duration) -> Result<Self, Error> {
        let (ours, theirs) = Ready::new().map_err(|error| failed(&error))?;
        Ok(Heartbeats { limit, ours, theirs, pulses: Vec::new() })
    }

    /// Goes on listening to the workers of whoever was this process before. Silence counts from `now`.
    pub(crate) fn take_over(limit: Duration, state: &State, now: Instant) -> Result<Self, Error> {
        let Some(Hearts { ends: (ours, theirs), beating }) = &state.hearts else { return Heartbeats::new(limit) };
        let ends = sys::take_inherited(*ours).zip(sys::take_inherited(*theirs));
        let Some((ours, theirs)) = ends else { return Heartbeats::new(limit) };
        let mut hearts = Heartbeats { limit, ours: Ready::adopt(ours), theirs, pulses: Vec::new() };
        for slot in &state.slots {
            let Life::Process { pid: number, .. } = slot.life else { continue };
            let Some(pid) = Pid::handed_over(number) else { continue };
            let pulse = if beating.contains(&number) { Pulse::Beating { last: now } } else { Pulse::Resting };
            hearts.pulses.push((pid, pulse));
        }
        Ok(hearts)
    }

    /// Has the socket survive an exec, or not.
    pub(crate) fn hand_over(&self, survives: bool, state: &mut State) {
        for end in [self.ours.as_fd(), self.theirs.as_fd()] {
            let _ = sys::set_close_on_exec(end, !survives);
        }
        let beating = self.pulses.iter().filter(|(_, pulse)| *pulse != Pulse::Resting);
        state.hearts = Some(Hearts {
            ends: (self.ours.as_fd().as_raw_fd(), self.theirs.as_raw_fd()),
            beating: beating.map(|(pid, _)| pid.number()).collect(),
        });
    }

    /// What workers are to write to.
    pub(crate) fn their_end(&self) -> Result<OwnedFd, Error> {
        sys::out_of_the_way(self.theirs.as_fd()).map_err(|error| failed(&error))
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    pub(crate) fn add(&mut self, pid: Pid) {
        self.pulses.push((pid, Pulse::Resting));
    }

    /// Takes what workers have written. What others write, such as their children, is nothing to us.
    pub(crate) fn listen(&mut self, now: Instant) {
        for (pid, byte) in self.ours.heard() {
            self.heard(pid, byte, now);
        }
    }

    fn heard(&mut self, pid: Pid, byte: u8, now: Instant) {
        for (_, pulse) in self.pulses.iter_mut().filter(|(its, _)| *its == pid) {
            *pulse = Pulse::after(byte, now);
        }
    }

    pub(crate) fn ended(&mut self, pid: Pid) {
        self.pulses.retain(|(its, _)| *its != pid);
    }

    /// When the first worker is missed.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.pulses.iter().filter_map(|(_, pulse)| pulse.deadline(self.limit)).min()
    }

    /// The workers that are silent for too long. If nothing becomes of it they are named again after as long a time.
    pub(crate) fn silent(&mut self, now: Instant) -> Vec<Pid> {
        let mut silent = Vec::new();
        for (pid, pulse) in &mut self.pulses {
            if pulse.deadline(self.limit).is_some_and(|deadline| now >= deadline) {
                *pulse = Pulse::Beating { last: now };
                silent.push(*pid);
            }
        }
        silent
    }
}

impl AsFd for Heartbeats {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}

fn failed(error: &std::io::Error) -> Error {
    Error::cannot("make a socket for heartbeats", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const ONE: Pid = Pid::for_test(1001);
    const TWO: Pid = Pid::for_test(1002);

    #[test]
    fn silence_counts_from_the_last_beat() {
        let now = Instant::now();
        let mut hearts = Heartbeats::new(LIMIT).expect("a socket");
        hearts.add(ONE);
        hearts.add(TWO);
        assert_eq!(hearts.deadline(), None);

        hearts.heard(ONE, b'+', now);
        hearts.heard(TWO, b'+', now + LIMIT / 2);
        assert_eq!(hearts.deadline(), Some(now + LIMIT));
        assert_eq!(hearts.silent(now + LIMIT / 2), []);
        assert_eq!(hearts.silent(now + LIMIT), [ONE]);
        hearts.heard(TWO, b'-', now + LIMIT);
        assert_eq!(hearts.silent(now + 3 * LIMIT), [ONE]);
        hearts.ended(ONE);
        hearts.heard(ONE, b'+', now);
        assert_eq!(hearts.deadline(), None);
    }

    #[test]
    fn what_others_write_is_nothing_to_us() {
        let mut hearts = Heartbeats::new(LIMIT).expect("a socket");
        hearts.add(ONE);
        let theirs = hearts.their_end().expect("a copy");
        std::io::Write::write_all(&mut std::fs::File::from(theirs), b"+").expect("written");
        hearts.listen(Instant::now());
        assert_eq!((hearts.deadline(), hearts.pulses.len()), (None, 1));
    }
}
