//! Workers on demand: when a waiting connection means one more, and when a worker is not needed any more.

use std::time::{Duration, Instant};

use crate::fleet::Usage;

/// Between two looks at connections that wait: the listening socket says so again and again.
const LOOK: Duration = Duration::from_secs(1);

/// Whether connections keep waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// One was waiting; the next look is at this time.
    look: Option<Instant>,
}

impl Demand {
    /// Whether it wants to know at once when a connection waits.
    pub(crate) fn is_watching(self) -> bool {
        self.look.is_none()
    }

    /// When it wants to look again.
    pub(crate) fn deadline(self) -> Option<Instant> {
        self.look
    }

    pub(crate) fn is_due(self, now: Instant) -> bool {
        self.look.is_some_and(|then| now >= then)
    }

    /// A look at the listening socket: whether one worker more is needed. That a connection waits for a moment is
    /// nothing where there are workers: only one that is seen again a second later counts.
    pub(crate) fn look(&mut self, waiting: bool, workers: bool, now: Instant) -> bool {
        let again = self.look.is_some();
        self.look = waiting.then_some(now + LOOK);
        waiting && (again || !workers)
    }
}

/// Since when a worker does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Idle(Option<(Instant, u64)>);

impl Idle {
    /// Between two looks at a worker that may be idle for this long.
    pub(crate) fn interval(idle: Duration) -> Duration {
        (idle / 8).clamp(Duration::from_millis(100), Duration::from_secs(60))
    }

    /// A look at what it uses: whether that was nothing for this long.
    pub(crate) fn look(&mut self, usage: Usage, idle: Duration, now: Instant) -> bool {
        match self.0 {
            Some((since, cpu)) if cpu == usage.cpu && !usage.connected => now.saturating_duration_since(since) >= idle,
            _ => {
                self.0 = (!usage.connected).then_some((now, usage.cpu));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_connection_starts_a_worker_at_once() {
        let now = Instant::now();
        let mut demand = Demand::default();
        assert!(demand.is_watching() && demand.look(true, false, now));
        assert!(!demand.is_watching() && !demand.is_due(now) && demand.is_due(now + LOOK));
    }

    #[test]
    fn another_one_comes_when_connections_keep_waiting() {
        let now = Instant::now();
        let mut demand = Demand::default();
        assert!(!demand.look(true, true, now), "it may be on its way");
        assert!(demand.look(true, true, now + LOOK));
        assert!(demand.look(true, true, now + 2 * LOOK));
        assert!(!demand.look(false, true, now + 3 * LOOK));
        assert!(demand.is_watching() && !demand.look(true, true, now + 4 * LOOK));
    }

    #[test]
    fn idle_is_no_connection_and_no_work_for_all_the_time() {
        let start = Instant::now();
        let idle = Duration::from_secs(10);
        let at = |seconds| start + Duration::from_secs(seconds);
        let usage = |cpu, connected| Usage { rss: 0, cpu, connected };
        let mut seen = Idle::default();
        assert!(!seen.look(usage(1, false), idle, at(0)));
        assert!(!seen.look(usage(1, false), idle, at(9)));
        assert!(!seen.look(usage(2, false), idle, at(10)), "it has worked");
        assert!(!seen.look(usage(2, true), idle, at(19)), "somebody is connected");
        assert!(!seen.look(usage(2, false), idle, at(21)));
        assert!(!seen.look(usage(2, false), idle, at(30)));
        assert!(seen.look(usage(2, false), idle, at(31)));
    }
}
