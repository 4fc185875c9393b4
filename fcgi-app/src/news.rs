use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What wakes the handlers that wait beside the thread that reads their connection: an abort, the end of a connection, a
/// stop. One for all of them: that is rare, and each of them looks for itself whether it is meant.
#[derive(Default)]
pub(crate) struct News {
    lock: Mutex<()>,
    told: Condvar,
}

impl News {
    /// Has all who wait look; what they look at was changed before.
    pub(crate) fn tell(&self) {
        // With the lock no wait can be between its look and its sleep.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.told.notify_all();
    }

    /// Waits until `found` finds something, at most for so long.
    pub(crate) fn wait<T>(&self, time: Duration, mut found: impl FnMut() -> Option<T>) -> Option<T> {
        let begun = Instant::now();
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = time.saturating_sub(begun.elapsed());
            let result = found();
            if result.is_some() || left.is_zero() {
                return result;
            }
            lock = self.told.wait_timeout(lock, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn all_who_wait_are_told() {
        let (news, happened) = (News::default(), AtomicBool::new(false));
        let look = || happened.load(Ordering::Acquire).then_some(());
        assert_eq!(news.wait(Duration::from_millis(1), look), None);
        thread::scope(|scope| {
            let waits: Vec<_> = (0..3).map(|_| scope.spawn(|| news.wait(Duration::from_secs(60), look))).collect();
            news.tell(); // of nothing
            happened.store(true, Ordering::Release);
            news.tell();
            assert!(waits.into_iter().all(|wait| wait.join().expect("no panic").is_some()));
        });
    }
}
