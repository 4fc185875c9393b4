use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

/// Lets threads do something one at a time, first come, first served.
///
/// A mutex goes to whoever is there when it is free, which is the one who just had it: a large answer would take hold of
/// the connection again with each of its records.
pub(crate) struct Turns(Mutex<Line>);

struct Line {
    /// The next ticket to be given out.
    next: u64,
    /// The ticket whose turn it is.
    now: u64,
    /// Who waits for the turns after it, in order.
    waiting: VecDeque<Thread>,
}

/// That it is one's turn, until this is dropped.
pub(crate) struct Turn<'t>(&'t Turns);

impl Turns {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Line { next: 0, now: 0, waiting: VecDeque::new() }))
    }

    /// Waits for one's turn.
    pub(crate) fn take(&self) -> Turn<'_> {
        let mut line = self.lock();
        let ticket = line.next;
        line.next += 1;
        if line.now != ticket {
            line.waiting.push_back(thread::current());
        }
        while line.now != ticket {
            drop(line);
            thread::park();
            line = self.lock();
        }
        Turn(self)
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut line = self.0.lock();
        line.now += 1;
        if let Some(next) = line.waiting.pop_front() {
            next.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_at_a_time() {
        let (turns, inside) = (Turns::new(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..if cfg!(miri) { 50 } else { 1000 } {
                        let _turn = turns.take();
                        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                        assert_eq!(inside.fetch_sub(1, Ordering::Relaxed), 1);
                    }
                });
            }
        });
    }

    #[test]
    fn first_come_first_served() {
        let (turns, served) = (Turns::new(), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            let turn = turns.take();
            for number in 0..8 {
                let (turns, served) = (&turns, &served);
                scope.spawn(move || {
                    let _turn = turns.take();
                    served.lock().expect("no panic").push(number);
                });
                while turns.lock().waiting.len() <= number {
                    thread::yield_now();
                }
            }
            drop(turn);
            // Who had the last turn comes after all that waited.
            let _turn = turns.take();
            assert_eq!(*served.lock().expect("no panic"), [0, 1, 2, 3, 4, 5, 6, 7]);
        });
    }
}
