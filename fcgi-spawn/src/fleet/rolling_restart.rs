//! Workers replaced one after the other: each new process is up before the old one is stopped, and the old one is gone
//! before the next turn begins.
//!
//! The first new process of a reload is the canary: it serves beside its predecessor, and has to live for some time before
//! any old process is stopped. Until all workers are replaced, a process of the reload that fails ends it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::fleet::note::Cause;
use crate::sys::Pid;

/// How long the next turn waits for an old process that is never killed.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How many canaries there may be: those before the last one may end by exit 0, as a program does that serves a number of
/// requests.
pub(super) const CANARIES: u32 = 3;

/// One worker's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) slot: usize,
    pub(crate) cause: Cause,
    /// A process that started later needs no other.
    pub(crate) asked: Instant,
    /// Whether it is part of the reload, which has begun at that time.
    pub(crate) is_reload: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The new process is not up yet.
    Starting,
    /// It is up, and takes over if it lives until then.
    Watching { until: Instant },
    /// The old one is not gone yet; it is waited for until then at most.
    Stopping { old: Pid, until: Option<Instant> },
}

#[derive(Clone, Copy, Debug)]
struct Current {
    turn: Turn,
    part: Part,
    /// How many canaries have ended by exit 0.
    recycled: u32,
}

/// A reload that is not complete.
#[derive(Clone, Copy, Debug)]
struct Reload {
    asked: Instant,
    /// A canary has lived, or none is needed.
    is_proven: bool,
}

/// The worker whose turn it is, and those after it. At most one turn of each worker waits, and one of the reload.
#[derive(Debug, Default)]
pub(crate) struct RollingRestart {
    current: Option<Current>,
    queue: VecDeque<Turn>,
    reload: Option<Reload>,
}

impl RollingRestart {
    pub(crate) fn is_over(&self) -> bool {
        self.current.is_none() && self.queue.is_empty()
    }

    /// Since when a reload is under way.
    pub(crate) fn reloading_since(&self) -> Option<Instant> {
        self.reload.map(|reload| reload.asked)
    }

    /// Puts all these workers at the end of the queue, as one reload, which takes the place of one that is under way: see
    /// [`abandon`](Self::abandon).
    pub(crate) fn reload(&mut self, slots: impl Iterator<Item = usize>, cause: Cause, asked: Instant) {
        if let Some(current) = &mut self.current {
            current.turn.is_reload = false;
        }
        self.queue.retain(|turn| !turn.is_reload);
        self.queue.extend(slots.map(|slot| Turn { slot, cause, asked, is_reload: true }));
        // Without the old listening socket the old processes serve nothing.
        self.reload = Some(Reload { asked, is_proven: cause == Cause::Listener });
    }

    /// Puts one worker at the end of the queue. Whether it was not there.
    pub(crate) fn recycle(&mut self, slot: usize, cause: Cause, asked: Instant) -> bool {
        let mut turns = self.current.iter().map(|current| &current.turn).chain(&self.queue);
        let is_new = turns.all(|turn| turn.slot != slot);
        if is_new {
            self.queue.push_back(Turn { slot, cause, asked, is_reload: false });
        }
        is_new
    }

    /// Forgets it all.
    pub(crate) fn cancel(&mut self) {
        *self = RollingRestart::default();
    }

    /// Ends a turn whose old process is not being stopped: the worker whose new process is to be discarded.
    pub(crate) fn abandon(&mut self) -> Option<usize> {
        let slot = self.current.filter(|current| !matches!(current.part, Part::Stopping { .. }))?.turn.slot;
        self.current = None;
        Some(slot)
    }

    /// Ends the reload. What has been replaced stays so; the worker whose new process is to be discarded.
    pub(crate) fn fail_reload(&mut self) -> Option<usize> {
        self.reload = None;
        self.queue.retain(|turn| !turn.is_reload);
        let current = self.current.as_mut().filter(|current| current.turn.is_reload)?;
        current.turn.is_reload = false;
        self.abandon()
    }

    /// The worker whose turn is next, if the last turn is over.
    pub(crate) fn next_slot(&self) -> Option<usize> {
        self.queue.front().filter(|_| self.current.is_none()).map(|turn| turn.slot)
    }

    /// Begins the next turn, if the last one is over.
    pub(crate) fn next(&mut self) -> Option<Turn> {
        self.next_slot()?;
        let turn = self.queue.pop_front()?;
        self.current = Some(Current { turn, part: Part::Starting, recycled: 0 });
        Some(turn)
    }

    /// The turn of this worker, whose old process is not being stopped yet.
    pub(crate) fn turn(&self, slot: usize) -> Option<Turn> {
        let current = self.current.filter(|current| current.turn.slot == slot)?;
        (!matches!(current.part, Part::Stopping { .. })).then_some(current.turn)
    }

    /// The new process is up: whether it has to live for this time before it takes over. `is_changed` tells whether it
    /// executes another version of the program than the old one.
    pub(crate) fn is_watched(&mut self, is_changed: bool, time: Duration, now: Instant) -> bool {
        let Some(current) = &mut self.current else { return false };
        let is_canary = match (current.turn.is_reload, self.reload) {
            (true, Some(reload)) => !reload.is_proven,
            _ => is_changed,
        };
        if is_canary && !time.is_zero() {
            current.part = Part::Watching { until: now + time };
        }
        is_canary && !time.is_zero()
    }

    /// The canary ended by exit 0: whether another one may try.
    pub(crate) fn canary_again(&mut self) -> bool {
        let Some(current) = &mut self.current else { return false };
        if !matches!(current.part, Part::Watching { .. }) || current.recycled + 1 == CANARIES {
            return false;
        }
        (current.part, current.recycled) = (Part::Starting, current.recycled + 1);
        true
    }

    /// The new process is to take over.
    pub(crate) fn proven(&mut self) {
        if let (Some(Current { turn: Turn { is_reload: true, .. }, .. }), Some(reload)) =
            (self.current, &mut self.reload)
        {
            reload.is_proven = true;
        }
    }

    /// It has taken over; the old one is being stopped, and waited for until then at most if it is never killed.
    pub(crate) fn replaced(&mut self, old: Pid, until: Option<Instant>) {
        if let Some(current) = &mut self.current {
            current.part = Part::Stopping { old, until };
        }
    }

    /// When it wants the next `tick`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.current?.part {
            Part::Starting => None,
            Part::Watching { until } => Some(until),
            Part::Stopping { until, .. } => until,
        }
    }

    /// The worker whose canary has lived for long enough.
    pub(crate) fn has_lived(&self, now: Instant) -> Option<usize> {
        let current = self.current?;
        matches!(current.part, Part::Watching { until } if now >= until).then_some(current.turn.slot)
    }

    /// Time has passed: whether this completes the reload.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let is_late = |part| matches!(part, Part::Stopping { until: Some(until), .. } if now >= until);
        self.current.is_some_and(|current| is_late(current.part)) && self.done()
    }

    /// This process is gone, or not waited for any longer: whether this completes the reload.
    pub(crate) fn gone(&mut self, pid: Pid) -> bool {
        let is_it = |part| matches!(part, Part::Stopping { old, .. } if old == pid);
        self.current.is_some_and(|current| is_it(current.part)) && self.done()
    }

    /// The turn is over: whether this completes the reload.
    pub(crate) fn done(&mut self) -> bool {
        let Some(Current { turn: Turn { is_reload: true, .. }, .. }) = self.current.take() else { return false };
        let is_complete = !self.queue.iter().any(|turn| turn.is_reload);
        if is_complete {
            self.reload = None;
        }
        is_complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Pid = Pid::for_test(1001);

    /// How long a canary has to live here.
    const TIME: Duration = Duration::from_secs(5);

    #[test]
    fn one_after_the_other() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.reload(0..2, Cause::Listener, now);
        assert!(!restart.is_over(), "a turn waits");
        assert_eq!(restart.next().map(|turn| turn.slot), Some(0));
        assert!(restart.next().is_none() && restart.turn(0).is_some() && restart.turn(1).is_none());
        assert!(!restart.is_watched(true, TIME, now), "the old processes serve nothing");
        restart.replaced(OLD, None);
        assert!(restart.next().is_none() && restart.turn(0).is_none() && restart.deadline().is_none());
        assert!(!restart.gone(Pid::for_test(1)));
        assert!(restart.next().is_none(), "the old one is there");
        assert!(!restart.gone(OLD));
        assert_eq!(restart.next().map(|turn| turn.slot), Some(1));
        assert!(!restart.is_over(), "a turn is under way");
        assert!(restart.done() && restart.is_over() && restart.reloading_since().is_none());
    }

    #[test]
    fn a_process_that_is_never_killed_is_not_waited_for_without_end() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.reload(0..2, Cause::Asked, now);
        restart.next();
        restart.replaced(OLD, Some(now + PATIENCE));
        assert_eq!((restart.deadline(), restart.tick(now)), (Some(now + PATIENCE), false));
        assert!(restart.next().is_none());
        restart.tick(now + PATIENCE);
        assert_eq!(restart.next().map(|turn| turn.slot), Some(1));
    }

    /// The first new process of a reload is watched, and no other.
    #[test]
    fn a_reload_has_one_canary() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.reload(0..2, Cause::Asked, now);
        restart.next();
        assert!(restart.is_watched(false, TIME, now));
        assert_eq!((restart.deadline(), restart.has_lived(now)), (Some(now + TIME), None));
        assert_eq!(restart.has_lived(now + TIME), Some(0));
        restart.proven();
        restart.replaced(OLD, None);
        assert_eq!(restart.has_lived(now + TIME), None);
        restart.gone(OLD);
        restart.next();
        assert!(!restart.is_watched(true, TIME, now), "it is proven");

        restart.reload(0..2, Cause::Changed, now);
        assert_eq!(restart.abandon(), Some(1));
        restart.next();
        assert!(!restart.is_watched(true, Duration::ZERO, now), "it is turned off");
        assert!(restart.is_watched(false, TIME, now), "another reload has another canary");
    }

    #[test]
    fn a_worker_that_is_recycled_has_a_canary_if_the_program_has_changed() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.recycle(0, Cause::Memory(1), now);
        restart.next();
        assert!(!restart.is_watched(false, TIME, now));
        assert!(restart.is_watched(true, TIME, now));
        restart.reload(0..1, Cause::Listener, now);
        assert!(restart.is_watched(true, TIME, now), "its turn is no part of the reload");
        assert!(restart.turn(0).is_some_and(|turn| !turn.is_reload));
    }

    #[test]
    fn canaries_may_exit_0_but_for_the_third() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.reload(0..1, Cause::Asked, now);
        restart.next();
        assert!(!restart.canary_again(), "it was not up");
        for _ in 1..CANARIES {
            assert!(restart.is_watched(false, TIME, now) && restart.canary_again());
            assert_eq!(restart.deadline(), None);
        }
        assert!(restart.is_watched(false, TIME, now) && !restart.canary_again());
    }

    #[test]
    fn a_failure_ends_the_reload_and_nothing_else() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.recycle(2, Cause::Memory(1), now);
        restart.reload(0..3, Cause::Asked, now);
        assert_eq!(restart.next().map(|turn| turn.slot), Some(2));
        assert_eq!(restart.fail_reload(), None, "this turn is no part of it");
        assert!(restart.turn(2).is_some() && restart.reloading_since().is_none());
        restart.done();
        assert!(restart.is_over());

        restart.reload(0..3, Cause::Asked, now);
        restart.recycle(1, Cause::Memory(1), now);
        restart.next();
        assert_eq!(restart.fail_reload(), Some(0));
        assert!(restart.is_over(), "worker 1 was in the queue already");

        restart.reload(0..3, Cause::Asked, now);
        restart.next();
        restart.replaced(OLD, None);
        assert_eq!(restart.fail_reload(), None, "the old process is being stopped");
        assert!(!restart.is_over() && !restart.gone(OLD) && restart.is_over());
    }

    #[test]
    fn a_later_reload_takes_the_place_of_one_under_way() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.reload(0..3, Cause::Asked, now);
        restart.next();
        restart.replaced(OLD, None);
        for _ in 0..100 {
            restart.reload(0..3, Cause::Changed, now);
            assert_eq!(restart.abandon(), None);
        }
        assert_eq!((restart.queue.len(), restart.gone(OLD)), (3, false));
        for slot in 0..3 {
            assert_eq!(restart.next().map(|turn| (turn.slot, turn.cause)), Some((slot, Cause::Changed)));
            assert_eq!(restart.done(), slot == 2);
        }
    }

    #[test]
    fn nothing_is_left_of_a_restart_that_is_cancelled() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.reload(0..2, Cause::Asked, now);
        restart.next();
        restart.replaced(OLD, Some(now + PATIENCE));
        restart.cancel();
        assert!(restart.is_over() && restart.deadline().is_none() && restart.next().is_none());
        assert!(!restart.gone(OLD) && restart.reloading_since().is_none());
    }

    #[test]
    fn a_worker_is_recycled_once() {
        let now = Instant::now();
        let mut restart = RollingRestart::default();
        restart.recycle(1, Cause::Memory(1), now);
        restart.recycle(1, Cause::Memory(1), now);
        assert!(restart.next().is_some());
        restart.recycle(1, Cause::Memory(1), now);
        assert!(!restart.done() && restart.is_over());
    }
}
