//! Waiting for something to become true, but not for ever.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what should happen soon. Long, because machines that run tests are busy:
/// a passing test never waits this long, a failing one says what it waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks. Short enough not to be felt, long enough not to keep a core busy.
const PAUSE: Duration = Duration::from_millis(5);

/// A point in time after which a wait fails.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline `time` from now.
    pub fn after(time: Duration) -> Self {
        Deadline(Instant::now() + time)
    }

    /// Whether it is too late.
    pub fn passed(self) -> bool {
        Instant::now() >= self.0
    }

    /// What is left, zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Looks again and again until there is something to see, and returns it.
///
/// # Panics
/// With `what`, when there is still nothing after [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look)
}

/// [`eventually`] with a time of its own, for promises that name one.
///
/// # Panics
/// With `what`, when there is still nothing after `time`.
#[track_caller]
pub fn eventually_within<T>(time: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(time);
    loop {
        // Asked before the look: the last look begins after the deadline, so a busy machine is no failure.
        let last = deadline.passed();
        if let Some(seen) = look() {
            return seen;
        }
        assert!(!last, "not within {time:?}: {what}");
        thread::sleep(PAUSE.min(deadline.left()));
    }
}

/// Looks again and again for `time`; `false` as soon as what should hold does not.
pub fn holds_for(time: Duration, mut look: impl FnMut() -> bool) -> bool {
    let deadline = Deadline::after(time);
    while look() {
        if deadline.passed() {
            return true;
        }
        thread::sleep(PAUSE.min(deadline.left()));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eventually_returns_the_first_thing_seen() {
        let mut looks = 0;
        let seen = eventually("the third look", || {
            looks += 1;
            (looks == 3).then_some("it")
        });
        assert_eq!((seen, looks), ("it", 3));
    }

    #[test]
    #[should_panic(expected = "not within 20ms: a miracle")]
    fn eventually_says_what_it_waited_for() {
        eventually_within(Duration::from_millis(20), "a miracle", || None::<()>);
    }

    #[test]
    fn what_holds_once_does_not_hold_for_long() {
        let mut looks = 0;
        let holds = holds_for(PATIENCE, || {
            looks += 1;
            looks < 3
        });
        assert!(!holds && looks == 3);
        assert!(holds_for(Duration::from_millis(20), || looks == 3));
    }
}
