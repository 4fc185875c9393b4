//! Workers replaced one after the other: each new process is up before the old one leaves, and the old one is gone
//! before the next turn begins.

use std::collections::VecDeque;
use std::time::Instant;

use crate::fleet::note::Cause;
use crate::sys::Pid;

/// One worker's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) slot: usize,
    pub(crate) cause: Cause,
    /// A process that started later needs no other.
    pub(crate) asked: Instant,
    /// The number of the reload it is part of.
    pub(crate) reload: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The new process is not up yet.
    Proving,
    /// The old one is not gone yet.
    Leaving(Pid),
}

/// The worker whose turn it is, and those after it.
#[derive(Debug, Default)]
pub(crate) struct Renewal {
    current: Option<(Turn, Stage)>,
    queue: VecDeque<Turn>,
    reloads: u32,
}

/// How far a reload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is more to do, or there never was a reload.
    More,
    /// That was the last worker.
    Complete,
    /// It is broken off.
    Failed,
}

impl Renewal {
    pub(crate) fn is_over(&self) -> bool {
        self.current.is_none() && self.queue.is_empty()
    }

    /// Puts all these workers at the end of the queue, as one reload.
    pub(crate) fn reload(&mut self, slots: impl Iterator<Item = usize>, cause: Cause, asked: Instant) {
        self.reloads = self.reloads.wrapping_add(1);
        let reload = Some(self.reloads);
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

    /// Takes the next turn, if the last one is over.
    pub(crate) fn next(&mut self) -> Option<Turn> {
        if self.current.is_some() {
            return None;
        }
        let turn = self.queue.pop_front()?;
        self.current = Some((turn, Stage::Proving));
        Some(turn)
    }

    /// The turn of this worker whose new process is not up yet.
    pub(crate) fn proving(&self, slot: usize) -> Option<Turn> {
        let (turn, stage) = self.current?;
        (turn.slot == slot && stage == Stage::Proving).then_some(turn)
    }

    /// The new process is up; the old one is on its way out.
    pub(crate) fn replaced(&mut self, old: Pid) {
        if let Some((_, stage)) = &mut self.current {
            *stage = Stage::Leaving(old);
        }
    }

    /// This process is gone.
    pub(crate) fn gone(&mut self, pid: Pid) -> Progress {
        match self.current {
            Some((_, Stage::Leaving(old))) if old == pid => self.done(),
            _ => Progress::More,
        }
    }

    /// The turn is over.
    pub(crate) fn done(&mut self) -> Progress {
        let Some((Turn { reload: Some(reload), .. }, _)) = self.current.take() else { return Progress::More };
        match self.queue.iter().any(|turn| turn.reload == Some(reload)) {
            true => Progress::More,
            false => Progress::Complete,
        }
    }

    /// The new process failed: the rest of the same reload is called off.
    pub(crate) fn failed(&mut self) -> Progress {
        let Some((Turn { reload: Some(reload), .. }, _)) = self.current.take() else { return Progress::More };
        self.queue.retain(|turn| turn.reload != Some(reload));
        Progress::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Pid = Pid::for_test(1001);

    #[test]
    fn one_after_the_other() {
        let now = Instant::now();
        let mut renewal = Renewal::default();
        renewal.reload(0..2, Cause::Asked, now);
        assert_eq!(renewal.next().map(|turn| turn.slot), Some(0));
        assert!(renewal.next().is_none() && renewal.proving(0).is_some() && renewal.proving(1).is_none());
        renewal.replaced(OLD);
        assert!(renewal.next().is_none() && renewal.proving(0).is_none());
        assert_eq!(renewal.gone(Pid::for_test(1)), Progress::More);
        assert_eq!(renewal.gone(OLD), Progress::More);
        assert_eq!(renewal.next().map(|turn| turn.slot), Some(1));
        assert_eq!(renewal.done(), Progress::Complete);
        assert!(renewal.is_over());
    }

    #[test]
    fn a_failure_ends_its_own_reload_only() {
        let now = Instant::now();
        let mut renewal = Renewal::default();
        renewal.reload(0..3, Cause::Asked, now);
        renewal.reload(0..1, Cause::Asked, now);
        renewal.recycle(2, Cause::Memory(1), now);
        assert!(renewal.next().is_some());
        assert_eq!(renewal.failed(), Progress::Failed);
        assert_eq!(renewal.next().map(|turn| turn.slot), Some(0));
        assert_eq!(renewal.done(), Progress::Complete);
        assert!(renewal.is_over());
    }

    #[test]
    fn a_worker_is_recycled_once() {
        let now = Instant::now();
        let mut renewal = Renewal::default();
        renewal.recycle(1, Cause::Memory(1), now);
        renewal.recycle(1, Cause::Memory(1), now);
        assert!(renewal.next().is_some());
        renewal.recycle(1, Cause::Memory(1), now);
        assert_eq!(renewal.done(), Progress::More);
        assert!(renewal.is_over());
    }
}
