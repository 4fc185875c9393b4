//! A reload: all workers are replaced, one after the other, and how that went.

use std::time::{Duration, Instant};

use crate::fleet::life::UP_AFTER_RELOAD;
use crate::fleet::note::{Cause, Note};
use crate::fleet::worker::{LAUNCH, REPORT, WorkerEvent, WorkerState};
use crate::fleet::{Fleet, Phase, rolling_restart, stop};

/// The last reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastReload {
    /// Counted from 1.
    pub(crate) number: u64,
    pub(crate) result: ReloadResult,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReloadResult {
    /// It takes no longer than until then if new processes report soon that they are up.
    UnderWay {
        until: Instant,
    },
    Done,
    /// For this reason.
    Failed(String),
}

/// How much of the reason of a failure a successor is given, in bytes.
const REASON: usize = 1024;

impl LastReload {
    /// For a supervisor that takes over.
    pub(crate) fn numbers(&self) -> Vec<i128> {
        let (result, reason) = match &self.result {
            ReloadResult::Failed(reason) => (1, reason.as_str()),
            ReloadResult::UnderWay { .. } | ReloadResult::Done => (0, ""),
        };
        let reason = reason.bytes().take(REASON).map(i128::from);
        [self.number.into(), result].into_iter().chain(reason).collect()
    }

    /// `None` if there was none, or not in this form.
    pub(crate) fn of(numbers: &[i128]) -> Option<Self> {
        let ([number, result], reason) = numbers.split_first_chunk()?;
        let reason: Option<Vec<u8>> = reason.iter().map(|byte| u8::try_from(*byte).ok()).collect();
        let result = match result {
            0 => ReloadResult::Done,
            _ => ReloadResult::Failed(String::from_utf8_lossy(&reason?).into_owned()),
        };
        Some(LastReload { number: u64::try_from(*number).ok()?, result })
    }
}

impl Fleet {
    /// Every worker is to be replaced. A stop that has begun goes on; a reload that has begun starts over.
    pub(super) fn reload(&mut self, why: Note, cause: Cause, now: Instant) {
        if self.phase == Phase::Stopping {
            return;
        }
        (0..self.slots.len()).for_each(|slot| self.end_loop(slot, now));
        self.say(why);
        if let Some(slot) = self.rolling.abandon() {
            self.tell(slot, WorkerEvent::Discard, None, now);
        }
        let busy: Vec<_> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].worker.state != WorkerState::Empty).collect();
        let runs = |slot: &usize| self.slots[*slot].worker.process().is_some();
        let until = now + self.longest_reload(busy.len());
        let number = self.last_reload.as_ref().map_or(1, |last| last.number + 1);
        self.last_reload = Some(LastReload { number, result: ReloadResult::UnderWay { until } });
        if busy.iter().any(runs) {
            self.rolling.reload(busy.into_iter(), cause, now);
        } else {
            // There is nothing to prove: what waits for its next start starts now.
            self.tell_all(WorkerEvent::Replace, now);
            self.tell_all(WorkerEvent::Tick, now);
            self.report(true);
        }
    }

    /// The reload that is under way.
    #[cfg(test)]
    pub(super) fn reloading(&self) -> Option<&ReloadResult> {
        let result = self.last_reload.as_ref().map(|reload| &reload.result);
        result.filter(|result| matches!(result, ReloadResult::UnderWay { .. }))
    }

    /// How long a reload of so many workers takes at most, if new processes report soon that they are up.
    fn longest_reload(&self, workers: usize) -> Duration {
        let reports = self.slots.iter().flat_map(|slot| slot.worker.process()).any(|process| process.reports);
        let report = if reports { REPORT } else { Duration::ZERO };
        let start = LAUNCH + self.rules.ready_after.unwrap_or(UP_AFTER_RELOAD).max(report);
        let stop =
            self.rules.stop_timeout.unwrap_or_default().max(rolling_restart::PATIENCE) + self.rules.drain + stop::LAST;
        let canaries = (start + self.rules.canary) * rolling_restart::CANARIES;
        // One may be about to come up when it begins.
        (start + canaries).saturating_add((start + stop).saturating_mul(u32::try_from(workers).unwrap_or(u32::MAX)))
    }

    /// Begins the next turn of a rolling restart when it is time.
    pub(super) fn roll(&mut self, now: Instant) {
        let comes_up = |fleet: &Self, slot: usize| {
            matches!(fleet.slots[slot].worker.state, WorkerState::Launching { .. } | WorkerState::Starting { .. })
        };
        // A process that is about to come up or to end decides first what there is to replace.
        while let Some(slot) = self.rolling.next_slot().filter(|slot| !comes_up(self, *slot)) {
            let Some(turn) = self.rolling.next() else { return };
            let worker = &self.slots[slot].worker;
            match worker.process().filter(|process| process.since >= turn.asked) {
                _ if worker.state == WorkerState::Empty => {
                    let is_complete = self.rolling.done();
                    self.report(is_complete);
                }
                None => {
                    self.tell(slot, WorkerEvent::Replace, None, now);
                    self.tell(slot, WorkerEvent::Tick, None, now);
                }
                // It has ended by itself since, and this is the new one.
                Some(_) => self.new_is_up(slot, now),
            }
        }
    }

    pub(super) fn reload_ended(&mut self, result: ReloadResult) {
        self.last_reload.iter_mut().for_each(|last| last.result = result.clone());
    }

    /// Reports the end of a reload, if that is what it was.
    pub(super) fn report(&mut self, is_complete: bool) {
        if is_complete {
            self.reload_ended(ReloadResult::Done);
            self.say(Note::Reloaded);
        }
    }
}
