//! What came of the requests.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::failure::{Class, Failure};

/// Counts of one thread, or of all.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) ok: u64,
    /// By [`Class`].
    failed: [u64; Class::ALL.len()],
    /// The first failure of each class, to show.
    examples: [Option<String>; Class::ALL.len()],
    /// Requests sent a second time, since a kept connection ended before any byte of their answer.
    pub(super) retries: u64,
    pub(super) connections: u64,
    /// Kept connections that were found closed before they were used again.
    pub(super) found_closed: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Bytes of FCGI_STDERR among them.
    pub(super) stderr: u64,
    /// Of right answers, in nanoseconds.
    latencies: Histogram<u64>,
    /// Whether a thread ended early, since nobody accepted its connections any more.
    pub(super) gave_up: bool,
}

impl Tally {
    /// Nothing yet; answers take no longer than `longest`.
    pub(super) fn new(longest: Duration) -> Self {
        let longest = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX / 4);
        Self {
            ok: 0,
            failed: Default::default(),
            examples: Default::default(),
            retries: 0,
            connections: 0,
            found_closed: 0,
            sent: 0,
            received: 0,
            stderr: 0,
            latencies: Histogram::new_with_max(longest.max(2), 3).expect("bounds in range"),
            gave_up: false,
        }
    }

    /// Counts a right answer.
    pub(super) fn right(&mut self, latency: Duration) {
        self.ok += 1;
        self.latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a request that failed.
    pub(super) fn wrong(&mut self, failure: Failure) {
        let class = failure.class as usize;
        self.failed[class] += 1;
        self.examples[class].get_or_insert(failure.why);
    }

    /// Adds another thread's counts.
    pub(super) fn add(&mut self, other: Self) {
        self.ok += other.ok;
        for (class, example) in other.examples.into_iter().enumerate() {
            self.failed[class] += other.failed[class];
            if self.examples[class].is_none() {
                self.examples[class] = example;
            }
        }
        self.retries += other.retries;
        self.connections += other.connections;
        self.found_closed += other.found_closed;
        self.sent += other.sent;
        self.received += other.received;
        self.stderr += other.stderr;
        self.latencies.add(&other.latencies).expect("all have the same bounds");
        self.gave_up |= other.gave_up;
    }

    /// How many requests failed.
    pub(super) fn failed(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Whether every request was answered as it should be.
    pub(super) fn is_right(&self) -> bool {
        self.ok > 0 && self.failed() == 0 && !self.gave_up
    }

    /// Each class with how many requests failed in this way, and one reason.
    pub(super) fn failures(&self) -> impl Iterator<Item = (Class, u64, Option<&str>)> {
        Class::ALL
            .into_iter()
            .map(|class| (class, self.failed[class as usize], self.examples[class as usize].as_deref()))
    }

    /// The shortest latency, those that so many in a hundred do not exceed, and the longest, by their names; none when
    /// no answer was right.
    pub(super) fn latencies(&self) -> Vec<(&'static str, Duration)> {
        if self.latencies.is_empty() {
            return Vec::new();
        }
        let quantile = |q| self.latencies.value_at_quantile(q);
        [
            ("min", self.latencies.min()),
            ("50%", quantile(0.5)),
            ("90%", quantile(0.9)),
            ("99%", quantile(0.99)),
            ("99.9%", quantile(0.999)),
            ("max", self.latencies.max()),
        ]
        .map(|(name, nanoseconds)| (name, Duration::from_nanos(nanoseconds)))
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_threads_are_added_up() {
        let tallies = [(); 2].map(|()| Tally::new(Duration::from_secs(60)));
        let [mut all, mut other] = tallies;
        assert!(!all.is_right(), "nothing was answered");
        for thousand in 1..=1000 {
            other.right(Duration::from_micros(thousand));
        }
        all.add(other);
        assert!(all.is_right());
        let [min, median, p90, p99, p999, max] = all.latencies()[..] else { panic!("{all:?}") };
        for ((name, got), (wanted, micros)) in [
            (min, ("min", 1)),
            (median, ("50%", 500)),
            (p90, ("90%", 900)),
            (p99, ("99%", 990)),
            (p999, ("99.9%", 999)),
            (max, ("max", 1000)),
        ] {
            assert_eq!(name, wanted);
            let off = got.as_nanos().abs_diff(micros * 1000);
            assert!(off <= micros, "{name}: {got:?}"); // three digits
        }
    }

    #[test]
    fn failures_are_counted_by_class_with_the_first_reason() {
        let mut all = Tally::new(Duration::from_secs(1));
        let mut other = Tally::new(Duration::from_secs(1));
        other.wrong(Failure::wrong("first"));
        other.wrong(Failure::wrong("second"));
        other.wrong(Failure::new(Class::Timeout, "slow"));
        all.wrong(Failure::new(Class::Timeout, "late"));
        all.right(Duration::ZERO);
        all.add(other);
        assert_eq!((all.ok, all.failed(), all.is_right()), (1, 4, false));
        let some: Vec<_> = all.failures().filter(|(_, count, _)| *count > 0).collect();
        assert_eq!(some, [(Class::Wrong, 2, Some("first")), (Class::Timeout, 2, Some("late"))]);
    }

    #[test]
    fn no_latency_is_too_short_or_too_long() {
        let mut tally = Tally::new(Duration::from_secs(1));
        tally.right(Duration::ZERO);
        tally.right(Duration::from_secs(100));
        assert_eq!(tally.latencies().len(), 6);
        assert_eq!(Tally::new(Duration::ZERO).latencies(), []);
    }
}
