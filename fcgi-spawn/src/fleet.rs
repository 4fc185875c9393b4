//! All workers and those on their way out: what happens to any of them, and what is to be done then.
//!
//! Like its parts (`worker`, `leaving`, `renewal`, `restart`, `demand`) it does no I/O and reads no clock. The
//! supervisor tells it what happened and when, does what it answers, and decides nothing.

pub(crate) mod demand;
pub(crate) mod leaving;
pub(crate) mod note;
pub(crate) mod random;
pub(crate) mod renewal;
pub(crate) mod restart;
pub(crate) mod worker;

use std::mem;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::fleet::demand::{Demand, Idle};
use crate::fleet::leaving::Leaving;
use crate::fleet::note::{Again, Cause, End, Note};
use crate::fleet::random::Random;
use crate::fleet::renewal::{Progress, Renewal};
use crate::fleet::restart::{Next, Policy, Restart};
use crate::fleet::worker::{Process, State, Worker};
use crate::sys::Pid;
use crate::takeover::handover::{self, Life};
use crate::{Config, Error};

/// Between two looks at the memory of workers.
const MEMORY_LOOK: Duration = Duration::from_secs(10);

/// From the first start of workers to the first look: a limit below what a program needs is noticed at once.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// After a worker that was to be recycled could not be replaced.
const RECYCLE_AGAIN: Duration = Duration::from_secs(60);

/// What is to be kept to, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) workers: usize,
    pub(crate) policy: Policy,
    pub(crate) stop_timeout: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_rss: Option<u64>,
    pub(crate) on_demand: bool,
    pub(crate) idle: Option<Duration>,
    /// A shell is started, and says by its exit status that it cannot execute the program.
    pub(crate) shell: bool,
}

pub(crate) struct Fleet {
    rules: Rules,
    random: Random,
    pub(crate) phase: Phase,
    pub(crate) slots: Vec<Slot>,
    pub(crate) leaving: Vec<Leaver>,
    renewal: Renewal,
    demand: Demand,
    next_look: Option<Instant>,
    /// Whether there was one.
    looked: bool,
    /// Whether a process had to be killed, or a worker was given up.
    failed: bool,
    actions: Vec<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The first workers are not all up yet.
    First,
    Serving,
    Stopping,
}

/// A worker's place.
pub(crate) struct Slot {
    pub(crate) worker: Worker,
    /// How often a process has ended here.
    pub(crate) ends: u64,
    pub(crate) last_end: Option<End>,
    /// It has been up, or has failed to.
    settled: bool,
    /// What was said of its last end: the same is not said again.
    said: Option<Note>,
    /// The last end went without saying, and so does the next start.
    quiet: bool,
    /// When its process is too old.
    recycle: Option<Instant>,
    /// How much memory is too much for its process.
    max_rss: Option<u64>,
    idle: Idle,
}

/// A process on its way out, and the slot it was in.
pub(crate) struct Leaver {
    pub(crate) slot: usize,
    pub(crate) process: Process,
    pub(crate) state: Leaving,
}

#[derive(Debug)]
pub(crate) enum Event {
    /// Everything is there for the first workers.
    Begin,
    /// A worker executes the program.
    Started {
        slot: usize,
        pid: Pid,
    },
    /// It does not.
    NotStarted {
        slot: usize,
        error: Error,
    },
    /// A process says that it serves.
    Ready(Pid),
    /// A child ended and is reaped; whether processes are left in its group.
    Ended {
        pid: Pid,
        status: ExitStatus,
        others: bool,
    },
    /// Whether processes are left in a group.
    Looked {
        pid: Pid,
        others: bool,
    },
    /// What a process uses.
    Measured {
        pid: Pid,
        usage: Usage,
    },
    /// Whether a connection waits.
    Waiting(bool),
    /// A process has not said for so long that it is well.
    Silent {
        pid: Pid,
        time: Duration,
    },
    Reload(Cause),
    OneMore,
    OneLess,
    Stop,
    Tick,
}

/// What a process uses, as far as somebody wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Memory in bytes.
    pub(crate) rss: u64,
    /// Time of all its group, in ticks of the kernel.
    pub(crate) cpu: u64,
    /// Somebody is connected to it.
    pub(crate) connected: bool,
}

#[derive(Debug)]
pub(crate) enum Action {
    /// Start a process; the answer is `Started` or `NotStarted`.
    Start(usize),
    /// Ask a process group to leave.
    Ask(Pid),
    Kill(Pid),
    /// The answer is `Looked`.
    LookAtGroup(Pid),
    /// The answer is `Waiting`.
    LookAtListener,
    /// The answer is `Measured`.
    Measure(Pid),
    Say(Note),
    /// All first workers are up, as far as they can.
    Up,
    /// The first start failed, and everything is stopped.
    Fail(Error),
}

impl Rules {
    pub(crate) fn of(config: &Config) -> Self {
        Rules {
            workers: config.workers.into(),
            policy: Policy {
                min_life: config.min_server_life,
                delay: config.restart_delay,
                patience: config.backoff_after,
                max_delay: config.max_backoff,
                give_up: config.give_up,
            },
            stop_timeout: config.stop_timeout,
            max_age: config.max_age,
            max_rss: config.max_rss,
            on_demand: config.on_demand,
            idle: config.idle,
            shell: matches!(config.program, crate::Program::Shell(_)),
        }
    }
}

impl Fleet {
    pub(crate) fn new(rules: Rules, random: Random) -> Self {
        let mut fleet = Fleet {
            demand: Demand::default(),
            random,
            phase: Phase::First,
            slots: Vec::new(),
            leaving: Vec::new(),
            renewal: Renewal::default(),
            next_look: None,
            looked: false,
            failed: false,
            actions: Vec::new(),
            rules,
        };
        for _ in 0..fleet.rules.workers {
            fleet.add_slot();
        }
        fleet
    }

    /// The fleet that whoever was here before has left.
    pub(crate) fn adopt(rules: Rules, random: Random, state: &handover::State, now: Instant) -> Self {
        let mut fleet = Fleet::new(Rules { workers: state.workers, ..rules }, random);
        fleet.phase = Phase::Serving;
        while fleet.slots.len() < state.slots.len() {
            fleet.add_slot();
        }
        for (at, left) in state.slots.iter().enumerate() {
            let slot = &mut fleet.slots[at];
            slot.ends = left.ends;
            slot.worker.restart.short_lives = left.short_lives;
            slot.worker.restart.quick_exits = left.quick_exits;
            slot.worker.state = match left.life {
                Life::Empty => State::Empty,
                Life::Waiting(pause) => State::Waiting { until: now + pause },
                Life::Process { pid, age, up } => {
                    let since = now.checked_sub(age).unwrap_or(now);
                    match Pid::handed_over(pid).map(|pid| Process { pid, since }) {
                        Some(process) if up => State::Running(process),
                        Some(process) => State::Starting { process, until: now + worker::PROOF },
                        None => State::Waiting { until: now },
                    }
                }
            };
            if matches!(slot.worker.state, State::Running(_)) {
                fleet.is_up(at);
            }
        }
        fleet.plan_look(now);
        fleet
    }

    /// Writes down what there is, for whoever comes after us.
    pub(crate) fn hand_over(&self, state: &mut handover::State, now: Instant) {
        state.workers = self.rules.workers;
        let slot = |slot: &Slot| handover::Slot {
            life: match slot.worker.state {
                State::Empty => Life::Empty,
                State::Waiting { until } => Life::Waiting(until.saturating_duration_since(now)),
                State::Starting { process, .. } | State::Running(process) | State::Proving { old: process, .. } => {
                    let up = !matches!(slot.worker.state, State::Starting { .. });
                    Life::Process { pid: process.pid.number(), age: now - process.since, up }
                }
            },
            short_lives: slot.worker.restart.short_lives,
            quick_exits: slot.worker.restart.quick_exits,
            ends: slot.ends,
        };
        state.slots = self.slots.iter().map(slot).collect();
    }

    fn add_slot(&mut self) {
        let restart = Restart::new(self.rules.policy, Random::new(self.random.number()));
        self.slots.push(Slot {
            worker: Worker::new(restart),
            ends: 0,
            last_end: None,
            settled: false,
            said: None,
            quiet: false,
            recycle: None,
            max_rss: None,
            idle: Idle::default(),
        });
    }

    pub(crate) fn is_on_demand(&self) -> bool {
        self.rules.on_demand
    }

    /// Whether all is stopped and gone.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Stopping && self.leaving.is_empty()
    }

    /// Whether nobody is about to take somebody's place, and nobody on his way out.
    pub(crate) fn is_settled(&self) -> bool {
        self.phase == Phase::Serving && self.renewal.is_over() && self.leaving.is_empty()
    }

    /// 0, or 1 if something had to be killed or was given up.
    pub(crate) fn exit_status(&self) -> u8 {
        self.failed.into()
    }

    /// Whether to watch the listening socket for connections that wait.
    pub(crate) fn watches_listener(&self) -> bool {
        self.rules.on_demand
            && self.phase == Phase::Serving
            && self.demand.is_watching()
            && self.active() < self.rules.workers
    }

    /// How many processes serve or are to.
    fn active(&self) -> usize {
        self.slots.iter().filter(|slot| slot.worker.state != State::Empty).count()
    }

    /// When it wants the next `Tick`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let workers = self.slots.iter().filter_map(|slot| slot.worker.deadline());
        let leaving = self.leaving.iter().filter_map(|leaver| leaver.state.deadline());
        let recycle = self.slots.iter().filter_map(|slot| slot.recycle);
        let others = [self.next_look, self.demand.deadline()];
        workers.chain(leaving).chain(recycle).chain(others.into_iter().flatten()).min()
    }

    /// Tells it what happened; the answer is what to do, in this order.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Begin => self.begin(now),
            Event::Started { slot, pid } => self.started(slot, pid, now),
            Event::NotStarted { slot, error } => self.not_started(slot, error, now),
            Event::Ready(pid) => {
                if let Some(slot) = self.slot_of(pid) {
                    self.tell(slot, worker::Event::Ready(pid), None, now);
                }
            }
            Event::Ended { pid, status, others } => self.ended(pid, status, others, now),
            Event::Looked { pid, others } => self.tell_leaver(pid, leaving::Event::Looked { others }, now),
            Event::Measured { pid, usage } => self.measured(pid, usage, now),
            Event::Silent { pid, time } => self.silent(pid, time, now),
            Event::Waiting(waiting) => self.waiting(waiting, now),
            Event::Reload(cause) => self.reload(cause, now),
            Event::OneMore => self.one_more(now),
            Event::OneLess => self.one_less(now),
            Event::Stop => self.stop(now),
            Event::Tick => self.tick(now),
        }
        self.forget_gone();
        self.renew(now);
        self.plan_look(now);
        mem::take(&mut self.actions)
    }

    fn begin(&mut self, now: Instant) {
        if !self.rules.on_demand {
            self.tell_all(worker::Event::Start, now);
            self.tell_all(worker::Event::Tick, now);
        }
        self.settle();
    }

    /// The first start is over when each worker has been up or has failed to, since one that always fails is never up.
    fn settle(&mut self) {
        let awaited = |slot: &Slot| !slot.settled && slot.worker.state != State::Empty;
        if self.phase == Phase::First && !self.slots.iter().any(awaited) {
            self.phase = Phase::Serving;
            self.actions.push(Action::Up);
        }
    }

    fn slot_of(&self, pid: Pid) -> Option<usize> {
        self.slots.iter().position(|slot| slot.worker.has(pid))
    }

    fn started(&mut self, slot: usize, pid: Pid, now: Instant) {
        if !self.slots[slot].quiet {
            self.say(Note::Started { slot, pid });
        }
        self.tell(slot, worker::Event::Started(pid), None, now);
    }

    fn not_started(&mut self, slot: usize, error: Error, now: Instant) {
        if self.phase == Phase::First {
            self.fail(error, now);
            return;
        }
        let end = End::NotStarted(error.to_string());
        self.tell(slot, worker::Event::NotStarted, Some(end), now);
    }

    fn fail(&mut self, error: Error, now: Instant) {
        self.actions.push(Action::Fail(error));
        self.stop(now);
    }

    fn ended(&mut self, pid: Pid, status: ExitStatus, others: bool, now: Instant) {
        let Some(slot) = self.slot_of(pid) else {
            // As process 1 of a container we are also given orphans that never were ours.
            self.tell_leaver(pid, leaving::Event::Ended { others }, now);
            return;
        };
        let worker = &self.slots[slot].worker;
        let processes = worker.process().into_iter().chain(worker.successor());
        let since = processes.filter(|process| process.pid == pid).map(|process| process.since).next().unwrap_or(now);
        let end = End::Process(pid, status, now - since);
        if others {
            self.say(Note::Orphans { slot, pid });
            self.actions.push(Action::Ask(pid));
            let state = Leaving::orphans(self.rules.stop_timeout, now);
            self.leaving.push(Leaver { slot, process: Process { pid, since }, state });
        }
        let event = worker::Event::Ended { pid, success: status.success() };
        let cannot_execute = self.rules.shell && matches!(status.code(), Some(126 | 127));
        if self.phase == Phase::First && cannot_execute {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            let error = Error::new(format!("worker {}{end}: the shell cannot execute the program", slot + 1));
            self.slots[slot].worker.on(event, now);
            self.fail(error.with_exit_status(code.unwrap_or(Error::SET_UP)), now);
            return;
        }
        self.slots[slot].ends += 1;
        self.tell(slot, event, Some(end), now);
    }

    fn reload(&mut self, cause: Cause, now: Instant) {
        if self.phase == Phase::Stopping {
            return;
        }
        self.say(Note::Reloading(cause));
        let busy: Vec<_> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].worker.state != State::Empty).collect();
        if busy.is_empty() {
            self.say(Note::Reloaded);
        }
        self.renewal.reload(busy.into_iter(), cause, now);
    }

    /// Begins the next turn of a renewal when it is time.
    fn renew(&mut self, now: Instant) {
        while let Some(turn) = self.renewal.next() {
            let worker = &self.slots[turn.slot].worker;
            let is_new = worker.process().is_some_and(|process| process.since >= turn.asked);
            if worker.state == State::Empty || is_new {
                let progress = self.renewal.done();
                self.report(progress);
            } else {
                self.tell(turn.slot, worker::Event::Replace, None, now);
                self.tell(turn.slot, worker::Event::Tick, None, now);
            }
        }
    }

    fn report(&mut self, progress: Progress) {
        match progress {
            Progress::More => {}
            Progress::Complete => self.say(Note::Reloaded),
            Progress::Failed => self.say(Note::ReloadFailed),
        }
    }

    fn one_more(&mut self, now: Instant) {
        if self.rules.workers == Config::MAX_WORKERS.into() {
            return self.say(Note::NoOther(self.rules.workers));
        }
        self.rules.workers += 1;
        if self.slots.len() < self.rules.workers {
            self.add_slot();
        }
        self.say(Note::Workers(self.rules.workers));
        if !self.rules.on_demand {
            self.start_one(now);
        }
    }

    fn start_one(&mut self, now: Instant) {
        if let Some(slot) = self.slots.iter().position(|slot| slot.worker.state == State::Empty) {
            self.tell(slot, worker::Event::Start, None, now);
            self.tell(slot, worker::Event::Tick, None, now);
        }
    }

    fn one_less(&mut self, now: Instant) {
        if self.rules.workers == 1 {
            return self.say(Note::NoOther(1));
        }
        self.rules.workers -= 1;
        self.say(Note::Workers(self.rules.workers));
        if self.active() > self.rules.workers {
            let last = self.slots.iter().rposition(|slot| slot.worker.state != State::Empty);
            self.stop_one(last.unwrap_or_default(), now);
        }
    }

    fn stop_one(&mut self, slot: usize, now: Instant) {
        self.tell(slot, worker::Event::Stop, None, now);
        self.slots[slot].recycle = None;
        if self.renewal.proving(slot).is_some() {
            let progress = self.renewal.done();
            self.report(progress);
        }
    }

    fn stop(&mut self, now: Instant) {
        if self.phase == Phase::Stopping {
            let pids: Vec<_> = self.leaving.iter().map(|leaver| leaver.process.pid).collect();
            for pid in pids {
                self.actions.push(Action::Ask(pid));
                self.tell_leaver(pid, leaving::Event::Hurry, now);
            }
            return;
        }
        self.phase = Phase::Stopping;
        self.renewal.cancel();
        (0..self.slots.len()).for_each(|slot| self.stop_one(slot, now));
    }

    fn tick(&mut self, now: Instant) {
        self.tell_all(worker::Event::Tick, now);
        for pid in self.leaving.iter().map(|leaver| leaver.process.pid).collect::<Vec<_>>() {
            self.tell_leaver(pid, leaving::Event::Tick, now);
        }
        for slot in 0..self.slots.len() {
            if self.slots[slot].recycle.is_some_and(|then| now >= then) {
                self.slots[slot].recycle = None;
                if let Some(process) = self.slots[slot].worker.process() {
                    self.renewal.recycle(slot, Cause::Age(now - process.since), now);
                }
            }
        }
        if self.next_look.is_some_and(|then| now >= then) {
            self.next_look = None;
            self.looked = true;
            let up = |slot: &Slot| match slot.worker.state {
                State::Running(process) => Some(Action::Measure(process.pid)),
                _ => None,
            };
            self.actions.extend(self.slots.iter().filter_map(up));
        }
        if self.demand.is_due(now) {
            self.actions.push(Action::LookAtListener);
        }
    }

    /// Workers are looked at from time to time while there are any, and somebody wants to know.
    fn plan_look(&mut self, now: Instant) {
        let memory = self.rules.max_rss.map(|_| MEMORY_LOOK);
        let idle = self.rules.idle.filter(|_| self.rules.on_demand).map(Idle::interval);
        let up = |slot: &Slot| matches!(slot.worker.state, State::Running(_));
        let wanted = self.phase == Phase::Serving && self.slots.iter().any(up);
        let interval = memory.into_iter().chain(idle).min().filter(|_| wanted);
        let next = |interval: Duration| now + if self.looked { interval } else { interval.min(FIRST_LOOK) };
        self.next_look = interval.map(|interval| self.next_look.unwrap_or(next(interval)));
    }

    fn measured(&mut self, pid: Pid, usage: Usage, now: Instant) {
        let Some(slot) = self.slot_of(pid).filter(|_| self.phase == Phase::Serving) else { return };
        if self.slots[slot].max_rss.is_some_and(|most| usage.rss > most) {
            self.renewal.recycle(slot, Cause::Memory(usage.rss), now);
        }
        let Some(time) = self.rules.idle.filter(|_| self.rules.on_demand) else { return };
        if self.slots[slot].idle.look(usage, time, now) && self.renewal.proving(slot).is_none() {
            self.say(Note::Idle { slot, pid });
            self.stop_one(slot, now);
        }
    }

    fn silent(&mut self, pid: Pid, time: Duration, now: Instant) {
        if let Some(slot) = self.slot_of(pid).filter(|_| self.phase == Phase::Serving) {
            self.say(Note::Silent { slot, pid, time });
            self.renewal.recycle(slot, Cause::Silent(time), now);
        }
    }

    fn waiting(&mut self, waiting: bool, now: Instant) {
        let active = self.active();
        if self.demand.look(waiting, active > 0, now) && active < self.rules.workers && self.phase == Phase::Serving {
            self.say(Note::Demand);
            self.start_one(now);
        }
    }

    fn tell_all(&mut self, event: worker::Event, now: Instant) {
        (0..self.slots.len()).for_each(|slot| self.tell(slot, event, None, now));
    }

    /// Tells a worker what happened, and sees to what follows for the others. `end` is how its process ended.
    fn tell(&mut self, slot: usize, event: worker::Event, end: Option<End>, now: Instant) {
        use worker::Action::{Again as Next_, Kept, Leave, Nothing, Replaced, Start, Succeeded, Up};
        let action = self.slots[slot].worker.on(event, now);
        let turn = self.renewal.proving(slot);
        match action {
            Nothing => {}
            Start => self.actions.push(Action::Start(slot)),
            Up => {
                self.is_up(slot);
                if turn.is_some() {
                    let progress = self.renewal.done();
                    self.report(progress);
                }
            }
            Replaced(old) => {
                self.is_up(slot);
                if let (Some(turn), Some(new)) = (turn, self.slots[slot].worker.process()) {
                    self.say(Note::Replaced { slot, old: old.pid, new: new.pid, cause: turn.cause });
                    self.renewal.replaced(old.pid);
                }
                self.leave(slot, old, now);
            }
            Kept => {
                if let (Some(turn), Some(end)) = (turn, end) {
                    self.say(Note::Kept { slot, end, cause: turn.cause });
                    self.not_renewed(slot, now);
                }
            }
            Succeeded => {
                if let Some(end) = end {
                    self.say(Note::Succeeded { slot, end });
                }
            }
            Next_(next) => {
                if let Some(end) = end {
                    self.again(slot, end, next, now);
                }
                if turn.is_some() {
                    self.not_renewed(slot, now);
                }
            }
            Leave(process, other) => {
                self.leave(slot, process, now);
                if let Some(other) = other {
                    self.leave(slot, other, now);
                }
            }
        }
        self.settle();
    }

    fn is_up(&mut self, slot: usize) {
        let less = 1.0 - self.random.fraction() / 10.0;
        let slot = &mut self.slots[slot];
        slot.settled = true;
        slot.idle = Idle::default();
        slot.max_rss = self.rules.max_rss.map(|most| (most as f64 * less) as u64);
        let since = slot.worker.process().map(|process| process.since);
        slot.recycle = self.rules.max_age.zip(since).map(|(age, since)| since + age.mul_f64(less));
    }

    fn not_renewed(&mut self, slot: usize, now: Instant) {
        let progress = self.renewal.failed();
        self.report(progress);
        if progress != Progress::Failed {
            self.slots[slot].recycle = Some(now + RECYCLE_AGAIN);
        }
    }

    /// A worker is without a process.
    fn again(&mut self, slot: usize, end: End, next: Next, now: Instant) {
        self.slots[slot].settled = true;
        self.slots[slot].recycle = None;
        self.slots[slot].last_end = Some(end.clone());
        match next {
            Next::At(then, why) => {
                let next = Again { pause: then - now, why, min_life: self.rules.policy.min_life };
                let note = Note::Ended { slot, end, next };
                let state = &mut self.slots[slot];
                state.quiet = state.said.as_ref().is_some_and(|said| note.repeats(said));
                if !state.quiet {
                    state.said = Some(note.clone());
                    self.say(note);
                }
            }
            Next::GiveUp(short_lives) => {
                self.say(Note::GaveUp { slot, end, short_lives });
                self.failed = true;
                self.stop(now);
            }
        }
    }

    /// A process is to leave.
    fn leave(&mut self, slot: usize, process: Process, now: Instant) {
        self.actions.push(Action::Ask(process.pid));
        let mut state = Leaving::asked(self.rules.stop_timeout, now);
        // It may be told so while it has no time at all.
        let action = state.on(leaving::Event::Tick, now);
        self.leaving.push(Leaver { slot, process, state });
        self.act_on_leaver(slot, process.pid, action);
    }

    fn tell_leaver(&mut self, pid: Pid, event: leaving::Event, now: Instant) {
        let Some(leaver) = self.leaving.iter_mut().find(|leaver| leaver.process.pid == pid) else { return };
        let (slot, action) = (leaver.slot, leaver.state.on(event, now));
        self.act_on_leaver(slot, pid, action);
    }

    fn act_on_leaver(&mut self, slot: usize, pid: Pid, action: leaving::Action) {
        match action {
            leaving::Action::Nothing => {}
            leaving::Action::Look => self.actions.push(Action::LookAtGroup(pid)),
            leaving::Action::Kill => {
                self.failed |= self.phase == Phase::Stopping;
                self.say(Note::Killed { slot, pid });
                self.actions.push(Action::Kill(pid));
            }
        }
    }

    fn forget_gone(&mut self) {
        for pid in self.leaving.iter().filter(|leaver| leaver.state == Leaving::Gone).map(|leaver| leaver.process.pid) {
            let progress = self.renewal.gone(pid);
            match progress {
                Progress::Complete => self.actions.push(Action::Say(Note::Reloaded)),
                Progress::More | Progress::Failed => {}
            }
        }
        self.leaving.retain(|leaver| leaver.state != Leaving::Gone);
    }

    fn say(&mut self, note: Note) {
        self.actions.push(Action::Say(note));
    }
}

#[cfg(test)]
mod tests;
