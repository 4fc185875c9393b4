//! What the threads share: how many requests may still begin, and what the progress line tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering}; // small machines have no AtomicU64
use std::time::{Duration, Instant};

/// The requests of a run, to be taken one by one until they are used up, the time is over, or the user has had enough.
#[derive(Debug)]
pub(super) struct Budget {
    requests: u64,
    end: Option<Instant>,
    stop: Arc<AtomicBool>,
    taken: AtomicUsize,
    failed: AtomicUsize,
}

impl Budget {
    /// So many requests, begun in that much time from now on.
    pub(super) fn new(requests: Option<u64>, time: Option<Duration>, stop: Arc<AtomicBool>) -> Self {
        Self {
            requests: requests.unwrap_or(u64::MAX),
            end: time.map(|time| Instant::now() + time),
            stop,
            taken: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        }
    }

    /// Takes a request, which is to begin now; `false` when no more are to begin.
    pub(super) fn take(&self, now: Instant) -> bool {
        !self.stop.load(Ordering::Relaxed)
            && self.end.is_none_or(|end| now < end)
            && (self.taken.fetch_add(1, Ordering::Relaxed) as u64) < self.requests
    }

    /// Lets no more requests begin.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Notes that a request failed.
    pub(super) fn note_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that have begun, and how many of them failed.
    pub(super) fn progress(&self) -> (u64, u64) {
        let [taken, failed] = [&self.taken, &self.failed].map(|count| count.load(Ordering::Relaxed) as u64);
        (taken.min(self.requests), failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_used_up_or_over() {
        let now = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let three = Budget::new(Some(3), None, Arc::clone(&stop));
        assert_eq!([(); 5].map(|()| three.take(now)), [true, true, true, false, false]);
        assert_eq!(three.progress(), (3, 0));

        let second = Budget::new(None, Some(Duration::from_secs(1)), Arc::clone(&stop));
        assert!(second.take(now));
        assert!(!second.take(now + Duration::from_secs(2)));
        stop.store(true, Ordering::Relaxed);
        assert!(!second.take(now));
        assert_eq!(second.progress(), (1, 0));
    }
}
