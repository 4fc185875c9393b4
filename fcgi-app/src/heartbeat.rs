//! Telling a supervisor that we are well, for as long as we are.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::sys;

/// The socket or pipe that a supervisor listens at. While there are connections it gets a [`BEAT`](Self::BEAT) a
/// second; before the housekeeper sleeps, and nobody wakes it, a last byte that says so. A worker that has nothing to do
/// is therefore silent, costs no wake-up, and is not missed.
///
/// The last byte also follows connections of a moment, which had no beat, but not more often than once a second: a
/// supervisor knows within a second since when a worker rests.
pub(crate) struct Heartbeat {
    pipe: File,
    pulse: Pulse,
    rested: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pulse {
    /// The supervisor expects nothing.
    Resting,
    /// There are connections, for less than a tick: those of a moment cost nothing.
    Woken,
    /// The supervisor expects the next beat.
    Beating,
}

impl Heartbeat {
    const BEAT: u8 = b'+';
    const REST: u8 = b'-';
    /// Between two bytes that say no more than that connections came and went.
    const PAUSE: Duration = Duration::from_secs(1);
    /// How long to wait for a supervisor that does not read, with a byte that no other replaces.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(crate) fn new(pipe: File) -> Self {
        Heartbeat { pipe, pulse: Pulse::Resting, rested: None }
    }

    /// A tick has passed while there are connections, and all is well.
    pub(crate) fn beat(&mut self) {
        self.pulse = match self.pulse {
            Pulse::Resting => Pulse::Woken,
            Pulse::Woken | Pulse::Beating => {
                // If it is lost, the next one comes in time.
                self.write(Self::BEAT, Duration::ZERO);
                Pulse::Beating
            }
        };
    }

    /// All is not well: the next beat does not come. The supervisor misses it only if it expects one.
    pub(crate) fn stop(&mut self) {
        if self.pulse != Pulse::Beating {
            self.write(Self::BEAT, Self::PATIENCE);
            self.pulse = Pulse::Beating;
        }
    }

    /// No beat is to be expected until there are connections again.
    pub(crate) fn rest(&mut self) {
        let is_news = self.rested.is_none_or(|rested| rested.elapsed() >= Self::PAUSE);
        if self.pulse == Pulse::Beating || is_news {
            self.write(Self::REST, Self::PATIENCE);
            self.rested = Some(Instant::now());
        }
        self.pulse = Pulse::Resting;
    }

    /// A supervisor that does not read is hardly waited for, and one that is gone wants nothing.
    fn write(&mut self, byte: u8, patience: Duration) {
        if matches!(sys::poll_socket(self.pipe.as_fd(), true, patience), Ok(true)) {
            let _ = self.pipe.write(&[byte]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn heartbeat() -> (Heartbeat, UnixStream) {
        let (pipe, supervisor) = UnixStream::pair().expect("a pair");
        (Heartbeat::new(File::from(OwnedFd::from(pipe))), supervisor)
    }

    fn heard(heartbeat: Heartbeat, mut supervisor: UnixStream) -> String {
        drop(heartbeat);
        let mut heard = String::new();
        supervisor.read_to_string(&mut heard).expect("read");
        heard
    }

    #[test]
    fn connections_of_a_moment_cost_one_byte_a_second() {
        let (mut heartbeat, supervisor) = heartbeat();
        for _ in 0..3 {
            for _ in 0..5 {
                heartbeat.beat();
                heartbeat.rest();
            }
            heartbeat.rested = heartbeat.rested.and_then(|rested| rested.checked_sub(Heartbeat::PAUSE));
        }
        assert_eq!(heard(heartbeat, supervisor), "---");
    }

    #[test]
    fn a_rest_follows_the_last_beat() {
        let (mut heartbeat, supervisor) = heartbeat();
        for _ in 0..3 {
            heartbeat.beat();
        }
        heartbeat.rest();
        heartbeat.rest();
        heartbeat.beat();
        heartbeat.beat();
        assert_eq!(heard(heartbeat, supervisor), "++-+");
    }

    #[test]
    fn what_stops_at_once_is_missed_too() {
        let (mut heartbeat, supervisor) = heartbeat();
        heartbeat.beat();
        heartbeat.stop();
        heartbeat.stop();
        heartbeat.beat();
        heartbeat.stop();
        assert_eq!(heard(heartbeat, supervisor), "++");
    }

    #[test]
    fn a_supervisor_that_is_gone_or_does_not_read_changes_nothing() {
        let (mut heartbeat, supervisor) = heartbeat();
        for _ in 0..100_000 {
            heartbeat.beat();
        }
        drop(supervisor);
        heartbeat.beat();
    }
}
