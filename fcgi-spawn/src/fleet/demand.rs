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

/// What a worker reports of itself by its heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    /// Nothing yet, or it has no heartbeat.
    Nothing,
    /// It has something to do.
    AtWork,
    /// It has had nothing to do since then. It reports that anew after each request, within [`Idle::LATE`].
    Resting { since: Instant },
}

/// What a look at a worker shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Busy,
    /// It has had nothing to do for the whole time.
    Idle,
    /// It was never seen with a connection, and yet it has run, about as much between any two looks.
    Restless,
}

/// How long a worker has had nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Idle(Option<Seen>);

/// What the last looks at a worker without a connection have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    work: u64,
    /// It has not run since.
    since: Instant,
    runs: Option<Runs>,
}

/// Looks in a row that each found it to have run since the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Runs {
    first: Instant,
    looks: u32,
    least: u64,
    most: u64,
}

impl Idle {
    /// The longest time from the end of a request to the report that the worker rests.
    pub(crate) const LATE: Duration = Duration::from_secs(1);

    /// How many looks have to agree on a worker that is never idle.
    const LOOKS: u32 = 8;

    /// Between two looks at a worker that may be idle for this long.
    pub(crate) fn interval(idle: Duration) -> Duration {
        (idle / Self::LOOKS).clamp(Duration::from_millis(100), Duration::from_secs(60))
    }

    /// A look at what a worker uses and reports. `idle` is how long it may have nothing to do.
    pub(crate) fn look(&mut self, usage: Usage, reported: Reported, idle: Duration, now: Instant) -> Look {
        match reported {
            _ if usage.connected => self.busy(),
            Reported::AtWork => self.busy(),
            Reported::Resting { since } if now.saturating_duration_since(since) >= idle + Self::LATE => Look::Idle,
            Reported::Resting { .. } => self.busy(),
            Reported::Nothing => self.look_at_work(usage.work, idle, now),
        }
    }

    fn busy(&mut self) -> Look {
        self.0 = None;
        Look::Busy
    }

    /// A program without a heartbeat rests as long as none of its threads has run.
    fn look_at_work(&mut self, work: u64, idle: Duration, now: Instant) -> Look {
        let Some(seen) = self.0 else {
            self.0 = Some(Seen { work, since: now, runs: None });
            return Look::Busy;
        };
        if seen.work == work {
            self.0 = Some(Seen { runs: None, ..seen });
            return if now.saturating_duration_since(seen.since) >= idle { Look::Idle } else { Look::Busy };
        }
        let runs = Runs::after(seen.runs, work.abs_diff(seen.work), now);
        self.0 = Some(Seen { work, since: now, runs: Some(runs) });
        if runs.are_alike(idle, now) { Look::Restless } else { Look::Busy }
    }
}

impl Runs {
    fn after(before: Option<Self>, work: u64, now: Instant) -> Self {
        let Some(Runs { first, looks, least, most }) = before else {
            return Runs { first: now, looks: 1, least: work, most: work };
        };
        Runs { first, looks: looks.saturating_add(1), least: least.min(work), most: most.max(work) }
    }

    /// Requests come as they like; a timer has a period.
    fn are_alike(self, idle: Duration, now: Instant) -> bool {
        let is_long = self.looks >= Idle::LOOKS && now.saturating_duration_since(self.first) >= idle;
        is_long && self.most - self.least <= 2 + self.most / 4
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

    const IDLE: Duration = Duration::from_secs(10);

    fn usage(work: u64, connected: bool) -> Usage {
        Usage { rss: 0, work, connected }
    }

    #[test]
    fn there_are_eight_looks_in_the_time() {
        for (idle, interval) in [(80_000, 10_000), (8_000, 1_000), (1, 100), (800_000, 60_000)] {
            assert_eq!(Idle::interval(Duration::from_millis(idle)), Duration::from_millis(interval));
        }
    }

    #[test]
    fn idle_is_no_connection_and_no_work_for_all_the_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = Idle::default();
        let mut look = |work, connected, at| seen.look(usage(work, connected), Reported::Nothing, IDLE, at);
        assert_eq!(look(1, false, at(0)), Look::Busy);
        assert_eq!(look(1, false, at(9)), Look::Busy);
        assert_eq!(look(2, false, at(10)), Look::Busy, "it has worked");
        assert_eq!(look(2, true, at(19)), Look::Busy, "a client is connected");
        assert_eq!(look(2, false, at(21)), Look::Busy);
        assert_eq!(look(2, false, at(30)), Look::Busy);
        assert_eq!(look(2, false, at(31)), Look::Idle);
    }

    #[test]
    fn a_heartbeat_counts_for_more_than_threads_that_run() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let resting = Reported::Resting { since: at(1) };
        let mut seen = Idle::default();
        assert_eq!(seen.look(usage(1, false), resting, IDLE, at(11)), Look::Busy, "the report may be late");
        assert_eq!(seen.look(usage(2, false), resting, IDLE, at(12)), Look::Idle);
        assert_eq!(seen.look(usage(2, true), resting, IDLE, at(13)), Look::Busy, "a client is connected");
        for second in 0..40 {
            let at_work = seen.look(usage(2, false), Reported::AtWork, IDLE, at(second));
            assert_eq!(at_work, Look::Busy, "it waits for something else than a client");
        }
    }

    /// The looks at a worker that has run as often between one and the next, a second each.
    fn looks(runs: &[u64]) -> Vec<Look> {
        let start = Instant::now();
        let (mut seen, mut work) = (Idle::default(), 0);
        let mut look = |(second, runs): (usize, &u64)| {
            work += runs;
            seen.look(usage(work, false), Reported::Nothing, IDLE, start + Duration::from_secs(second as u64))
        };
        runs.iter().enumerate().map(&mut look).collect()
    }

    #[test]
    fn a_worker_that_wakes_by_itself_is_never_idle() {
        for period in [[1, 1, 1], [1, 3, 2], [100, 120, 110]] {
            let looks = looks(&period.repeat(10));
            assert_eq!(looks[..11], [Look::Busy; 11], "{period:?}");
            assert_eq!(looks[11..], [Look::Restless; 19], "{period:?}");
        }
    }

    #[test]
    fn requests_are_no_timer() {
        assert_eq!(looks(&[10, 40, 25].repeat(20)), [Look::Busy; 60]);
        assert_eq!(looks(&[2, 2, 2, 2, 0].repeat(12)), [Look::Busy; 60]);
    }
}
