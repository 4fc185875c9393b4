//! When a worker that failed may start again.

use std::time::{Duration, Instant};

/// The restart policy of one worker. It reads no clock: who asks brings the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    delay: Duration,
}

impl Restart {
    /// The same pause after every failure.
    pub(crate) fn fixed(delay: Duration) -> Self {
        Restart { delay }
    }

    /// The time at which a worker that just failed may start again.
    ///
    /// The pause counts from the death, not from the last start: a program that needs long to fail
    /// is not tried more often for it.
    pub(crate) fn on_failure(&mut self, now: Instant) -> Instant {
        now + self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_waits_the_same() {
        let mut now = Instant::now();
        let mut restart = Restart::fixed(Duration::from_secs(5));
        for _ in 0..5 {
            let then = restart.on_failure(now);
            assert_eq!(then - now, Duration::from_secs(5));
            now = then;
        }
    }

    #[test]
    fn no_delay_is_at_once() {
        let now = Instant::now();
        assert_eq!(Restart::fixed(Duration::ZERO).on_failure(now), now);
    }
}
