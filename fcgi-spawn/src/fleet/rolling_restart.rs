//! Workers replaced one after the other: each new process is up before the old one is stopped, and the old one is gone
//! before the next turn begins.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::fleet::note::Cause;
use crate::sys::Pid;

/// How long the next turn waits for an old process that is never killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// One worker's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) slot: usize,
    pub(crate) cause: Cause,
    /// A process that started later needs no other.
    pub(crate) asked: Instant,
    /// The number of the reload it is part of.
    reload: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The new process is not up yet.
    Starting,
    /// The old one is not gone yet; it is waited for until then at most.
    Stopping { old: Pid, until: Option<Instant> },
}

/// The worker whose turn it is, and those after it. At most one turn of each reload and of each worker waits.
#[derive(Debug, Default)]
pub(crate) struct RollingRestart {
    current: Option<(Turn, Part)>,
    queue: VecDeque<Turn>,
    reloads: u32,
}

/// How far a reload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadProgress {
    /// There is more to do, or there was no reload.
    More,
    /// That was the last worker.
    Complete,
    /// It is broken off.
    Failed,
}

impl RollingRestart {
    pub(crate) fn is_over(&self) -> bool {
        self.current.is_none() && self.queue.is_empty()
    }

    /// Puts all these workers at the end of the queue, as one reload, which takes the place of one that is under way.
    pub(crate) fn reload(&mut self, slots: impl Iterator<Item = usize>, cause: Cause, asked: Instant) {
        self.reloads = self.reloads.wrapping_add(1);
        let reload = Some(self.reloads);
        self.queue.retain(|turn| turn.reload.is_none());
        self.queue.extend(slots.map(|slot| Turn { slot, cause, asked, reload }));
    }

    /// Puts one worker at the end of the queue, unless it is there.
    pub(crate) fn recycle(&mut self, slot: usize, cause: Cause, asked: Instant) {
        let turns = self.current.iter().map(|(turn, _)| turn).chain(&self.queue);
        if turns.into_iter().all(|turn| turn.slot != slot) {
            self.queue.push_back(Turn { slot, cause, asked, reload: None });
        }
    }

    /// Forgets it all.
    pub(crate) fn cancel(&mut self) {
        self.current = None;
        self.queue.clear();
    }

    /// The worker whose turn is next, if the last turn is over.
    pub(crate) fn next_slot(&self) -> Option<usize> {
        self.queue.front().filter(|_| self.current.is_none()).map(|turn| turn.slot)
    }

    /// Begins the next turn, if the last one is over.
    pub(crate) fn next(&mut self) -> Option<Turn> {
        self.next_slot()?;
        let turn = self.queue.pop_front()?;
        self.current = Some((turn, Part::Starting));
        Some(turn)
    }

    /// The turn of this worker whose new process is not up yet.
    pub(crate) fn starting(&self, slot: usize) -> Option<Turn> {
        let (turn, stage) = self.current?;
        (turn.slot == slot && stage == Part::Starting).then_some(turn)
    }

    /// The new process is up; the old one is being stopped, and killed unless `never_killed`.
    pub(crate) fn replaced(&mut self, old: Pid, never_killed: bool, now: Instant) {
        if let Some((_, stage)) = &mut self.current {
            *stage = Part::Stopping { old, until: never_killed.then_some(now + PATIENCE) };
        }
    }

    /// When it wants the next `tick`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.current {
            Some((_, Part::Stopping { until, .. })) => until,
            _ => None,
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) -> ReloadProgress {
        if self.deadline().is_some_and(|until| now >= until) { self.done() } else { ReloadProgress::More }
    }

    /// This process is gone, or not waited for any longer.
    pub(crate) fn gone(&mut self, pid: Pid) -> ReloadProgress {
        match self.current {
            Some((_, Part::Stopping { old, .. })) if old == pid => self.done(),
            _ => ReloadProgress::More,
        }
    }

    /// The turn is over.
    pub(crate) fn done(&mut self) -> ReloadProgress {
        let Some((Turn { reload: Some(_), .. }, _)) = self.current.take() else { return ReloadProgress::More };
        match self.queue.iter().any(|turn| turn.reload.is_some()) {
            true => ReloadProgress::More,
            false => ReloadProgress::Complete,
        }
    }

    /// The new process failed: the rest of the reload is called off, unless a later one has taken its place.
    pub(crate) fn failed(&mut self) -> ReloadProgress {
        let Some((Turn { reload: Some(reload), .. }, _)) = self.current.take() else { return ReloadProgress::More };
        if reload != self.reloads {
            return ReloadProgress::More;
        }
        self.queue.retain(|turn| turn.reload.is_none());
        ReloadProgress::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Pid = Pid::for_test(1001);

    #[test]
    fn one_after_the_other() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.reload(0..2, Cause::Asked, now);
        assert!(!restart.is_over(), "a turn waits");
        assert_eq!(restart.next().map(|turn| turn.slot), Some(0));
        assert!(restart.next().is_none() && restart.starting(0).is_some() && restart.starting(1).is_none());
        restart.replaced(OLD, false, now);
        assert!(restart.next().is_none() && restart.starting(0).is_none() && restart.deadline().is_none());
        assert_eq!(restart.gone(Pid::for_test(1)), ReloadProgress::More);
        assert!(restart.next().is_none(), "the old one is there");
        assert_eq!(restart.gone(OLD), ReloadProgress::More);
        assert_eq!(restart.next().map(|turn| turn.slot), Some(1));
        assert!(!restart.is_over(), "a turn is under way");
        assert_eq!(restart.done(), ReloadProgress::Complete);
        assert!(restart.is_over());
    }

    #[test]
    fn a_process_that_is_never_killed_is_not_waited_for_without_end() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.reload(0..2, Cause::Asked, now);
        restart.next();
        restart.replaced(OLD, true, now);
        assert_eq!((restart.deadline(), restart.tick(now)), (Some(now + PATIENCE), ReloadProgress::More));
        assert!(restart.next().is_none());
        restart.tick(now + PATIENCE);
        assert_eq!(restart.next().map(|turn| turn.slot), Some(1));
    }

    #[test]
    fn a_failure_ends_the_reload_and_nothing_else() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.recycle(2, Cause::Memory(1), now);
        restart.reload(0..3, Cause::Asked, now);
        assert_eq!(restart.next().map(|turn| turn.slot), Some(2));
        restart.done();
        restart.recycle(1, Cause::Memory(1), now);
        restart.next();
        assert_eq!(restart.failed(), ReloadProgress::Failed);
        assert!(restart.is_over(), "worker 1 was in the queue already");
    }

    #[test]
    fn a_later_reload_takes_the_place_of_one_under_way() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.reload(0..3, Cause::Asked, now);
        restart.next();
        for _ in 0..100 {
            restart.reload(0..3, Cause::Changed, now);
        }
        assert_eq!((restart.queue.len(), restart.failed()), (3, ReloadProgress::More));
        for slot in 0..3 {
            assert_eq!(restart.next().map(|turn| (turn.slot, turn.cause)), Some((slot, Cause::Changed)));
            assert_eq!(restart.done(), if slot == 2 { ReloadProgress::Complete } else { ReloadProgress::More });
        }
    }

    #[test]
    fn nothing_is_left_of_a_restart_that_is_cancelled() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.reload(0..2, Cause::Asked, now);
        restart.next();
        restart.replaced(OLD, true, now);
        restart.cancel();
        assert!(restart.is_over() && restart.deadline().is_none() && restart.next().is_none());
        assert_eq!(restart.gone(OLD), ReloadProgress::More);
    }

    #[test]
    fn a_worker_is_recycled_once() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.recycle(1, Cause::Memory(1), now);
        restart.recycle(1, Cause::Memory(1), now);
        assert!(restart.next().is_some());
        restart.recycle(1, Cause::Memory(1), now);
        assert_eq!(restart.done(), ReloadProgress::More);
        assert!(restart.is_over());
    }
}
