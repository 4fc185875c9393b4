//! The life of one worker's process, in the order in which it happens: it is started, comes up, ends, or is stopped.

use std::mem;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::Error;
use crate::fleet::demand::Idle;
use crate::fleet::note::{Again, End, Failure, Note};
use crate::fleet::restart::Next;
use crate::fleet::stop::{CLIENTS_LOOK, Clients, Left, Stop, StopAction, StopEvent};
use crate::fleet::worker::{LAUNCH, Process, REPORT, WorkerAction, WorkerEvent, WorkerState};
use crate::fleet::{Action, Fleet, Phase, ReloadResult, Slot, Stopping, rolling_restart};
use crate::sys::Pid;

/// How long a process that reports nothing has to live to be up, unless that is configured.
pub(super) const UP_AFTER: Duration = Duration::from_millis(250);

/// The same for one that is to take the place of another: programs may need some time to find that they cannot serve.
pub(super) const UP_AFTER_RELOAD: Duration = Duration::from_secs(2);

/// After a worker that was to be recycled could not be replaced.
const RECYCLE_AGAIN: Duration = Duration::from_secs(60);

/// Between two reports of how often a worker has ended in the same way.
const SUM: Duration = Duration::from_secs(300);

/// How long a process has to live at least until a crash loop is over.
const CALM: Duration = Duration::from_secs(30);

impl Fleet {
    /// A process has executed the program.
    pub(super) fn executed(&mut self, pid: Pid, now: Instant) {
        // One that is to stop by now had none of its own when it was looked at.
        self.actions.push(Action::Identify(pid));
        let Some(slot) = self.slot_of(pid) else { return };
        if !self.slots[slot].quiet {
            self.say(Note::Started { slot, pid });
        }
        let is_new = self.rolling.turn(slot).is_some() || self.rolling.reloading_since().is_some();
        let up_after = self.rules.ready_after.unwrap_or(if is_new { UP_AFTER_RELOAD } else { UP_AFTER });
        self.tell(slot, WorkerEvent::Executed { pid, up_after }, None, now);
    }

    /// A process could not execute the program; it is about to end, and killed in case that it is held up.
    pub(super) fn not_executed(&mut self, pid: Pid, shortage: bool, error: Error, now: Instant) {
        let Some(slot) = self.slot_of(pid) else { return };
        self.kill(slot, pid, now);
        self.not_started(slot, WorkerEvent::NotExecuted { shortage }, error, now);
    }

    /// The system refused to start a process for this worker.
    pub(super) fn refused(&mut self, slot: usize, error: Error, now: Instant) {
        self.not_started(slot, WorkerEvent::Refused, error, now);
    }

    fn not_started(&mut self, slot: usize, event: WorkerEvent, error: Error, now: Instant) {
        if self.phase == Phase::First {
            self.slots[slot].worker.on(event, now);
            self.fail(error, now);
            return;
        }
        let end = End::NotStarted(error.to_string());
        self.tell(slot, event, Some(end.clone()), now);
        if event == (WorkerEvent::NotExecuted { shortage: false }) {
            self.reload_failed(slot, end, now);
        }
    }

    /// Processes that do not arrive at the program: others of their uid may hold them up.
    pub(super) fn give_up_late_launches(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            if let Some(pid) = self.slots[slot].worker.late(now) {
                let time = LAUNCH.as_secs();
                let why = format!("pid {pid} did not execute the program within {time}s, and is killed");
                self.not_executed(pid, false, Error::new(why), now);
            }
        }
    }

    /// Processes that do not report that they are up, as those did that they are to replace.
    pub(super) fn give_up_silent(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            if let Some(pid) = self.slots[slot].worker.silent(now) {
                let time = REPORT.max(self.rules.ready_after.unwrap_or_default()).as_secs();
                let why = format!("pid {pid} has not reported within {time}s that it is up, as its predecessor had");
                self.tell(slot, WorkerEvent::Discard, None, now);
                self.not_replaced(slot, End::NotStarted(why), now);
            }
        }
    }

    /// The first start failed.
    fn fail(&mut self, error: Error, now: Instant) {
        self.actions.push(Action::Fail(error));
        self.stop(now);
    }

    /// The first start is over when each worker has been up or has failed to, since one that always fails is never up.
    pub(super) fn settle(&mut self) {
        let awaited = |slot: &Slot| !slot.settled && slot.worker.state != WorkerState::Empty;
        if self.phase == Phase::First && !self.slots.iter().any(awaited) {
            self.phase = Phase::Serving;
            self.actions.push(Action::Up);
            let up = self.slots.iter().filter(|slot| matches!(slot.worker.state, WorkerState::Running(_))).count();
            self.say(match self.rules.on_demand {
                true => Note::ReadyOnDemand,
                false => Note::Ready { up, of: self.rules.workers },
            });
        }
    }

    pub(super) fn is_up(&mut self, slot: usize) {
        let less = 1.0 - self.random.fraction() / 10.0;
        let slot = &mut self.slots[slot];
        slot.settled = true;
        slot.idle = Idle::default();
        // A shell has executed it by now.
        self.actions.extend(slot.worker.process().map(|process| Action::Identify(process.pid)));
        slot.max_rss = self.rules.max_rss.map(|most| (most as f64 * less) as u64);
        let since = slot.worker.process().map(|process| process.since);
        slot.recycle = self.rules.max_age.zip(since).map(|(age, since)| since + age.mul_f64(less));
    }

    /// A child was reaped.
    pub(super) fn ended(&mut self, pid: Pid, status: ExitStatus, left: Left, said: Option<String>, now: Instant) {
        let Some(slot) = self.slot_of(pid) else {
            // As process 1 of a container we are also given orphans that never were ours.
            if let Some(slot) = self.stopping.iter().find(|stopping| stopping.process.pid == pid).map(|its| its.slot) {
                self.has_left(slot, pid, left);
            }
            self.tell_stopping(pid, StopEvent::Ended(left), now);
            return;
        };
        let worker = &self.slots[slot].worker;
        let was_up = worker.is_up(pid);
        if worker.is_launching(pid) && !self.slots[slot].quiet {
            // It has ended so soon that it was not seen to execute the program.
            self.say(Note::Started { slot, pid });
        }
        let worker = &self.slots[slot].worker;
        let unknown = Process::new(pid, now, 0);
        let process = worker.processes().find(|process| process.pid == pid).unwrap_or(unknown);
        let end = End::Process { pid, status, life: now - process.since, said };
        if left != Left::Nothing {
            self.has_left(slot, pid, left);
            if left != Left::Helpers {
                self.actions.push(Action::Ask(pid));
            }
            let state = Stop::left(left, self.rules.stop_timeout, now);
            self.stopping.push(Stopping { slot, process, state, reported: false });
        }
        let event = WorkerEvent::Ended { pid, success: status.success() };
        let cannot_execute = self.rules.shell && matches!(status.code(), Some(126 | 127));
        if self.phase == Phase::First && cannot_execute {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            let error = Error::new(format!("worker {}{end}: the shell cannot execute the program", slot + 1));
            self.slots[slot].worker.on(event, now);
            self.fail(error.with_exit_status(code.unwrap_or(Error::SET_UP)), now);
            return;
        }
        self.slots[slot].ends += 1;
        self.slots[slot].last_end = Some(end.clone());
        let is_new = self.rolling.reloading_since().is_some_and(|asked| process.since >= asked);
        self.tell(slot, event, Some(end.clone()), now);
        if is_new && !(was_up && status.success()) {
            self.reload_failed(slot, end, now);
        }
    }

    /// What is left in a group, as far as it is to be stopped: in the end that is all.
    pub(super) fn to_stop(&self, left: Left) -> Left {
        match left {
            Left::Helpers if self.phase == Phase::Stopping => Left::Parts,
            _ => left,
        }
    }

    /// A process that ended has left others in its group.
    fn has_left(&mut self, slot: usize, pid: Pid, left: Left) {
        if left == Left::Nothing || self.phase == Phase::Stopping {
            return;
        }
        if !self.slots[slot].quiet {
            self.say(Note::Left { slot, pid, left });
        }
        // Of what others have left some may have ended; it is not followed otherwise.
        let helpers = self.stopping.iter().filter(|stopping| stopping.state.helps());
        self.actions.extend(helpers.map(|stopping| Action::LookAtGroup(stopping.process.pid)));
    }

    pub(super) fn tell_all(&mut self, event: WorkerEvent, now: Instant) {
        (0..self.slots.len()).for_each(|slot| self.tell(slot, event, None, now));
    }

    /// Passes on what happened to a worker, and does what follows from it for the others. `end` is how its process ended.
    pub(super) fn tell(&mut self, slot: usize, event: WorkerEvent, end: Option<End>, now: Instant) {
        let action = self.slots[slot].worker.on(event, now);
        match action {
            WorkerAction::Nothing => {}
            WorkerAction::Start => self.actions.push(Action::Start(slot)),
            WorkerAction::Up => {
                self.is_up(slot);
                self.new_is_up(slot, now);
            }
            WorkerAction::UpBeside => self.new_is_up(slot, now),
            WorkerAction::Replaced(old) => {
                self.is_up(slot);
                if let (Some(turn), Some(new)) = (self.rolling.turn(slot), self.slots[slot].worker.process()) {
                    self.say(Note::Replaced { slot, old: old.pid, new: new.pid, cause: turn.cause });
                    let patience = rolling_restart::PATIENCE + self.rules.drain;
                    self.rolling.replaced(old.pid, self.rules.stop_timeout.is_none().then_some(now + patience));
                }
                self.stop_process(slot, old, now);
            }
            WorkerAction::Kept => {
                if let Some(end) = end {
                    self.not_replaced(slot, end, now);
                }
            }
            WorkerAction::Succeeded => {
                if let Some(end) = end {
                    self.say(Note::Succeeded { slot, end });
                }
                if let WorkerState::Running(_) = self.slots[slot].worker.state {
                    self.is_up(slot);
                }
            }
            WorkerAction::Again(next) => {
                if let Some(end) = end {
                    self.again(slot, end.clone(), next, now);
                    self.not_replaced(slot, end, now);
                }
            }
            WorkerAction::Stop(process, other) => {
                self.stop_process(slot, process, now);
                if let Some(other) = other {
                    self.stop_process(slot, other, now);
                }
            }
        }
        self.settle();
    }

    /// A new process is up, perhaps beside an old one.
    pub(super) fn new_is_up(&mut self, slot: usize, now: Instant) {
        let worker = &self.slots[slot].worker;
        let (Some(first), second) = (worker.process(), worker.successor()) else { return };
        let is_changed = second.is_some_and(|new| new.version != first.version);
        let is_turn = self.rolling.turn(slot).is_some();
        if is_turn && self.rolling.is_watched(is_changed, self.rules.canary, now) {
            let (old, new) = (second.map(|_| first.pid), second.unwrap_or(first).pid);
            self.say(Note::Watched { slot, old, new, time: self.rules.canary });
        } else {
            self.take_over(slot, now);
        }
    }

    /// A new process that is up may take the place of the old one, if there is one.
    pub(super) fn take_over(&mut self, slot: usize, now: Instant) {
        if self.slots[slot].worker.successor().is_some() {
            self.rolling.proven();
            self.tell(slot, WorkerEvent::TakeOver, None, now);
        } else if self.rolling.turn(slot).is_some() {
            self.rolling.proven();
            let is_complete = self.rolling.done();
            self.report(is_complete);
        }
    }

    /// A process ended, or was not started, which may have been one that was to take over.
    fn not_replaced(&mut self, slot: usize, end: End, now: Instant) {
        let Some(turn) = self.rolling.turn(slot) else { return };
        if matches!(&end, End::Process { status, .. } if status.success()) && self.rolling.canary_again() {
            self.say(Note::WatchedAgain { slot, end });
            if self.slots[slot].worker.process().is_some() {
                self.tell(slot, WorkerEvent::Replace, None, now);
            }
        } else if turn.is_reload {
            self.reload_failed(slot, end, now);
        } else {
            self.rolling.abandon();
            self.say(Note::Kept { slot, end, cause: turn.cause });
            self.slots[slot].recycle = Some(now + RECYCLE_AGAIN);
        }
    }

    /// What is not replaced yet stays as it is.
    fn reload_failed(&mut self, slot: usize, end: End, now: Instant) {
        if self.rolling.reloading_since().is_none() {
            return;
        }
        if let Some(other) = self.rolling.fail_reload() {
            self.tell(other, WorkerEvent::Discard, None, now);
        }
        let why = Failure { slot, end: &end }.to_string();
        self.reload_ended(ReloadResult::Failed(why));
        self.say(Note::ReloadFailed { slot, end });
    }

    /// A worker is without a process.
    fn again(&mut self, slot: usize, end: End, next: Next, now: Instant) {
        self.slots[slot].settled = true;
        self.slots[slot].recycle = None;
        self.slots[slot].last_end = Some(end.clone());
        match next {
            Next::At(then, why) => {
                let next = Again { pause: then - now, why, min_life: self.rules.policy.min_life };
                self.say_end(slot, Note::Ended { slot, end, next }, now);
            }
            Next::GiveUp(early_exits) => {
                self.say_end(slot, Note::GaveUp { slot, end, early_exits }, now);
                self.failed = true;
                self.stop(now);
            }
        }
    }

    /// Reports the end of a process, with its start if that was not: of a crash loop the first two, and from time to time how
    /// many there have been.
    fn say_end(&mut self, slot: usize, note: Note, now: Instant) {
        let state = &mut self.slots[slot];
        let is_same = state.said.as_ref().is_some_and(|said| note.repeats(said));
        let was_quiet = mem::replace(&mut state.quiet, is_same);
        let is_loop = is_same && was_quiet;
        state.unsaid += u32::from(is_loop);
        if !is_loop || state.said_at.is_some_and(|then| now - then >= SUM) {
            self.say_unsaid(slot, now);
        }
        if !is_loop {
            let state = &mut self.slots[slot];
            (state.said, state.said_at) = (Some(note.clone()), Some(now));
            if let (true, Note::Ended { end, .. } | Note::GaveUp { end, .. }) = (was_quiet, &note) {
                if let End::Process { pid, .. } = end {
                    self.say(Note::Started { slot, pid: *pid });
                }
            }
            self.say(note);
        }
    }

    /// Reports how many ends there have been like the last one that was reported.
    fn say_unsaid(&mut self, slot: usize, now: Instant) {
        let state = &mut self.slots[slot];
        let time = state.said_at.map_or(Duration::ZERO, |then| now - then);
        let count = mem::take(&mut state.unsaid);
        if count > 0 {
            state.said_at = Some(now);
            self.say(Note::Same { slot, count, time });
        }
    }

    /// When a process that was started in a crash loop has lived for so long that it is none any more.
    pub(super) fn calm(&self, slot: &Slot) -> Option<Instant> {
        match slot.worker.state {
            WorkerState::Running(process) if slot.quiet => Some(process.since + self.rules.policy.min_life.max(CALM)),
            _ => None,
        }
    }

    /// A crash loop is over, or is to be: what was not reported of it is. Later ends are reported as the first ones were.
    pub(super) fn end_loop(&mut self, slot: usize, now: Instant) {
        self.say_unsaid(slot, now);
        let state = &mut self.slots[slot];
        state.said = None;
        if let (true, Some(process)) = (mem::take(&mut state.quiet), state.worker.process()) {
            if !state.worker.is_launching(process.pid) {
                self.say(Note::Started { slot, pid: process.pid });
            }
        }
    }

    /// There is to be no process in this slot.
    pub(super) fn stop_one(&mut self, slot: usize, now: Instant) {
        self.end_loop(slot, now);
        self.tell(slot, WorkerEvent::Stop, None, now);
        self.slots[slot].recycle = None;
        if self.rolling.turn(slot).is_some() {
            let is_complete = self.rolling.done();
            self.report(is_complete);
        }
    }

    /// A process is to stop.
    fn stop_process(&mut self, slot: usize, process: Process, now: Instant) {
        // It may execute another program by now.
        self.actions.push(Action::Identify(process.pid));
        let (drain, time) = (self.rules.drain, self.rules.stop_timeout);
        let state = Stop::draining(drain, time, now);
        self.stopping.push(Stopping { slot, process, state, reported: false });
        if self.phase == Phase::Stopping {
            self.tell_stopping(process.pid, StopEvent::StopAll(time), now);
        }
        self.tell_stopping(process.pid, StopEvent::Tick, now);
    }

    /// A process that never was a worker is to end at once.
    fn kill(&mut self, slot: usize, pid: Pid, now: Instant) {
        self.actions.push(Action::Kill(pid));
        let process = Process::new(pid, now, 0);
        self.stopping.push(Stopping { slot, process, state: Stop::killed(now), reported: true });
    }

    pub(super) fn tell_all_stopping(&mut self, event: StopEvent, now: Instant) {
        for pid in self.stopping.iter().map(|stopping| stopping.process.pid).collect::<Vec<_>>() {
            self.tell_stopping(pid, event, now);
        }
    }

    pub(super) fn tell_stopping(&mut self, pid: Pid, event: StopEvent, now: Instant) {
        let Some(stopping) = self.stopping.iter_mut().find(|stopping| stopping.process.pid == pid) else { return };
        let (slot, was_held, was_draining) = (stopping.slot, stopping.state.is_held(), stopping.state.drains());
        let action = stopping.state.on(event, now);
        let is_released = was_held && !stopping.state.is_held() && stopping.state != Stop::Gone;
        match action {
            StopAction::Nothing => {}
            StopAction::LookForClients => self.actions.push(Action::LookForClients(pid)),
            StopAction::Hold => self.actions.push(Action::Hold(pid)),
            StopAction::Ask => {
                if was_draining && event == StopEvent::Tick && !self.rules.drain.is_zero() {
                    self.say(Note::NotDrained { slot, pid });
                }
                self.actions.push(Action::Ask(pid));
            }
            StopAction::Look => self.actions.push(Action::LookAtGroup(pid)),
            StopAction::Kill => self.actions.push(Action::Kill(pid)),
            StopAction::GiveUp => self.say(Note::Unkillable { slot, pid }),
        }
        if is_released {
            self.actions.push(Action::Release(pid));
        }
        if action == StopAction::Ask {
            // The time may be zero.
            self.tell_stopping(pid, StopEvent::Tick, now);
        }
    }

    /// What was found out about the clients of a process that is to stop.
    pub(super) fn served(&mut self, pid: Pid, clients: Clients, cost: Duration, now: Instant) {
        if clients == Clients::Unseen && !mem::replace(&mut self.said_unseen, true) {
            self.say(Note::ClientsUnseen);
        }
        let draining = self.stopping.iter().filter(|stopping| stopping.state.drains()).count();
        // Many take turns, and what costs much is done seldom.
        let pause = CLIENTS_LOOK.max(10 * cost).saturating_mul(u32::try_from(draining).unwrap_or(u32::MAX));
        self.tell_stopping(pid, StopEvent::Served { clients, pause }, now);
    }

    /// A process group was killed, or may not be killed by us.
    pub(super) fn signalled(&mut self, pid: Pid, refused: Option<String>, now: Instant) {
        let Some(stopping) = self.stopping.iter_mut().find(|stopping| stopping.process.pid == pid) else { return };
        let (slot, reported) = (stopping.slot, mem::replace(&mut stopping.reported, true));
        self.tell_stopping(pid, StopEvent::Signalled { refused: refused.is_some() }, now);
        self.failed |= self.phase == Phase::Stopping && !reported;
        match refused {
            Some(error) => self.say(Note::NotKilled { slot, pid, error }),
            None if !reported => self.say(Note::Killed { slot, pid }),
            None => {}
        }
    }

    /// Goes on when processes are gone or are not waited for any longer.
    pub(super) fn forget_gone(&mut self) {
        let over = self.stopping.iter().filter(|stopping| !stopping.state.is_awaited());
        for pid in over.map(|stopping| stopping.process.pid).collect::<Vec<_>>() {
            let is_complete = self.rolling.gone(pid);
            self.report(is_complete);
        }
        self.stopping.retain(|stopping| stopping.state != Stop::Gone);
    }
}
