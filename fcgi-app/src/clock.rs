use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Time as the housekeeper counts it, about a second a tick, and only while there are connections.
///
/// Reading it costs no system call, so that time limits cost none either.
pub(crate) struct Clock {
    ticks: AtomicU32,
    /// Lines that peers may still cause in the log within this tick.
    lines: AtomicU32,
    /// The next number in the order of events that a tick is too long to tell apart.
    next: AtomicU32,
}

/// A tick at which something is overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(pub(crate) u32);

impl Deadline {
    /// The one that is never reached: all have 31 bits, so that one more says what is waited for.
    pub(crate) const NEVER: Self = Self(u32::MAX >> 1);
}

impl Clock {
    /// How many lines a second peers may cause in the log.
    const LINES: u32 = 10;

    pub(crate) const fn new() -> Self {
        Self { ticks: AtomicU32::new(0), lines: AtomicU32::new(Self::LINES), next: AtomicU32::new(0) }
    }

    /// One second has passed.
    pub(crate) fn tick(&self) {
        // For some 68 years; then time stands still rather than starting anew.
        let next = self.ticks.load(Ordering::Relaxed).saturating_add(1).min(Deadline::NEVER.0 - 1);
        self.ticks.store(next, Ordering::Relaxed);
        self.lines.store(Self::LINES, Ordering::Relaxed);
    }

    /// A number that follows all given before, and wraps around: what was first of what happened within a tick.
    pub(crate) fn order(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The current tick.
    fn now(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// When `limit` will have passed for certain: up to two ticks late, never early.
    pub(crate) fn deadline(&self, limit: Duration) -> Deadline {
        let ticks = u32::try_from(limit.as_secs()).unwrap_or(u32::MAX).saturating_add(2);
        Deadline(self.now().saturating_add(ticks).min(Deadline::NEVER.0))
    }

    /// Whether a deadline has passed.
    pub(crate) fn is_past(&self, deadline: Deadline) -> bool {
        deadline != Deadline::NEVER && self.now() >= deadline.0
    }

    /// Whether one more line that a peer caused may go to the log now.
    pub(crate) fn may_log(&self) -> bool {
        let take = |lines: u32| lines.checked_sub(1);
        self.lines.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_never_early() {
        let clock = Clock::new();
        let deadline = clock.deadline(Duration::from_secs(3));
        for _ in 0..5 {
            assert!(!clock.is_past(deadline));
            clock.tick();
        }
        assert!(clock.is_past(deadline));
        assert!(!clock.is_past(Deadline::NEVER));
        assert!(!clock.is_past(clock.deadline(Duration::MAX)));
    }

    #[test]
    fn ten_lines_a_second() {
        let clock = Clock::new();
        assert_eq!((0..20).filter(|_| clock.may_log()).count(), 10);
        clock.tick();
        assert!(clock.may_log());
    }
}
