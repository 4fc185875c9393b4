//! All workers and the processes that are to stop: what happens to them, and what is to be done then.
//!
//! Like its parts (`worker`, `stop`, `rolling_restart`, `restart`, `demand`) it does no I/O and reads no clock. The
//! supervisor reports what happened and when, does what is wanted, and decides nothing. A worker's life reads from top to
//! bottom in `life`.

pub(crate) mod demand;
pub(crate) mod event;
mod life;
pub(crate) mod note;
pub(crate) mod random;
pub(crate) mod reload;
pub(crate) mod restart;
pub(crate) mod rolling_restart;
pub(crate) mod stop;
pub(crate) mod worker;

use std::mem;
use std::time::{Duration, Instant};

use crate::Config;
use crate::fleet::demand::{Demand, Idle, Look, Reported};
pub(crate) use crate::fleet::event::{Action, Event, Usage};
use crate::fleet::note::{Cause, End, Note};
use crate::fleet::random::Random;
pub(crate) use crate::fleet::reload::{LastReload, ReloadResult};
use crate::fleet::restart::{Policy, Restart};
use crate::fleet::rolling_restart::RollingRestart;
pub(crate) use crate::fleet::stop::{Clients, Left};
use crate::fleet::stop::{Stop, StopEvent};
use crate::fleet::worker::{Process, Worker, WorkerEvent, WorkerState};
use crate::sys::Pid;

/// Between two looks at the memory of workers.
const MEMORY_LOOK: Duration = Duration::from_secs(10);

/// From the first start of workers to the first look: a limit below what a program needs is noticed at once.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// The limits of a fleet, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) workers: usize,
    pub(crate) policy: Policy,
    pub(crate) stop_timeout: Option<Duration>,
    /// How long a process that reports nothing has to live to be up; `None`: it depends.
    pub(crate) ready_after: Option<Duration>,
    /// How long the first new process of a reload has to live before others are replaced.
    pub(crate) canary: Duration,
    /// How long a process that is to stop may have clients.
    pub(crate) drain: Duration,
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_rss: Option<u64>,
    pub(crate) on_demand: bool,
    pub(crate) idle: Option<Duration>,
    /// A shell is started, and reports by its exit status that it cannot execute the program.
    pub(crate) shell: bool,
}

pub(crate) struct Fleet {
    rules: Rules,
    random: Random,
    pub(crate) phase: Phase,
    pub(crate) slots: Vec<Slot>,
    pub(crate) stopping: Vec<Stopping>,
    rolling: RollingRestart,
    pub(crate) last_reload: Option<LastReload>,
    demand: Demand,
    next_look: Option<Instant>,
    /// Whether there was one.
    looked: bool,
    /// Whether it was reported that the program is never idle.
    said_restless: bool,
    /// Whether it was reported that clients cannot be seen.
    said_unseen: bool,
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
    /// The last end that was reported.
    said: Option<Note>,
    said_at: Option<Instant>,
    /// How many ends like it were not.
    unsaid: u32,
    /// The last end repeats the one before, and the next start is not reported.
    quiet: bool,
    /// When its process is too old.
    recycle: Option<Instant>,
    /// How much memory is too much for its process.
    max_rss: Option<u64>,
    idle: Idle,
}

/// A process that is to stop, and the slot it was in.
pub(crate) struct Stopping {
    pub(crate) slot: usize,
    pub(crate) process: Process,
    pub(crate) state: Stop,
    /// Why it is killed has been reported.
    reported: bool,
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
            ready_after: config.ready_after,
            canary: config.canary,
            drain: config.drain,
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
            stopping: Vec::new(),
            rolling: RollingRestart::default(),
            last_reload: None,
            next_look: None,
            looked: false,
            said_restless: false,
            said_unseen: false,
            failed: false,
            actions: Vec::new(),
            rules,
        };
        for _ in 0..fleet.rules.workers {
            fleet.add_slot();
        }
        fleet
    }

    /// Takes over from a supervisor that was replaced: these processes run, each in its slot. The other slots are as after a
    /// start.
    pub(crate) fn adopt(&mut self, running: &[(usize, Process)], now: Instant) {
        self.phase = Phase::Serving;
        for (slot, process) in running {
            while self.slots.len() <= *slot {
                self.add_slot();
            }
            self.slots[*slot].worker.state = WorkerState::Running(*process);
            self.is_up(*slot);
        }
        // SIGTTIN may have raised their number.
        self.rules.workers = self.rules.workers.max(running.len());
        if !self.rules.on_demand {
            while self.active() < self.rules.workers {
                self.start_one(now);
            }
        }
        self.plan_look(now);
    }

    /// The same for what a worker of this slot has left, which goes on until all is stopped.
    pub(crate) fn adopt_helpers(&mut self, slot: usize, leader: Pid, now: Instant) {
        let process = Process::new(leader, now, 0);
        let state = Stop::left(Left::Helpers, None, now);
        self.stopping.push(Stopping { slot, process, state, reported: false });
    }

    /// What goes on until all is stopped: by the leaders that have left it, with their slots.
    pub(crate) fn helpers(&self) -> impl Iterator<Item = (usize, Pid)> {
        let helpers = self.stopping.iter().filter(|stopping| stopping.state.helps());
        helpers.map(|stopping| (stopping.slot, stopping.process.pid))
    }

    fn add_slot(&mut self) {
        let restart = Restart::new(self.rules.policy, Random::new(self.random.number()));
        self.slots.push(Slot {
            worker: Worker::new(restart),
            ends: 0,
            last_end: None,
            settled: false,
            said: None,
            said_at: None,
            unsaid: 0,
            quiet: false,
            recycle: None,
            max_rss: None,
            idle: Idle::default(),
        });
    }

    pub(crate) fn is_on_demand(&self) -> bool {
        self.rules.on_demand
    }

    /// How many workers there are to be, or may be on demand.
    pub(crate) fn wanted(&self) -> usize {
        self.rules.workers
    }

    /// Whether all has stopped, but for what cannot be killed.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Stopping && !self.stopping.iter().any(|stopping| stopping.state.is_awaited())
    }

    /// Whether no process is about to replace another, and none is being started or stopped.
    pub(crate) fn is_settled(&self) -> bool {
        let is_changing =
            |slot: &Slot| matches!(slot.worker.state, WorkerState::Launching { .. } | WorkerState::Starting { .. });
        self.phase == Phase::Serving
            && self.rolling.is_over()
            && !self.stopping.iter().any(|stopping| stopping.state.is_awaited())
            && !self.slots.iter().any(is_changing)
    }

    /// Whether a process that is to stop is not asked yet.
    pub(crate) fn drains(&self) -> bool {
        self.stopping.iter().any(|stopping| stopping.state.drains())
    }

    /// 0, or 1 if a process had to be killed or a worker was given up.
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
        self.slots.iter().filter(|slot| slot.worker.state != WorkerState::Empty).count()
    }

    /// When it wants the next `Tick`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let workers = self.slots.iter().filter_map(|slot| slot.worker.deadline());
        let stopping = self.stopping.iter().filter_map(|stopping| stopping.state.deadline());
        let recycle = self.slots.iter().filter_map(|slot| slot.recycle);
        let calm = self.slots.iter().filter_map(|slot| self.calm(slot));
        let others = [self.next_look, self.demand.deadline(), self.rolling.deadline()];
        workers.chain(stopping).chain(recycle).chain(calm).chain(others.into_iter().flatten()).min()
    }

    /// Takes note of what happened, and returns what is to be done, in this order.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Begin => self.begin(now),
            Event::Forked { slot, pid, version } => {
                // Its number was free: what had that group is gone.
                self.stopping.retain(|stopping| stopping.process.pid != pid || !stopping.state.helps());
                self.tell(slot, WorkerEvent::Forked { pid, version }, None, now);
            }
            Event::Executed(pid) => self.executed(pid, now),
            Event::NotExecuted { pid, error, is_shortage } => {
                self.not_executed(pid, is_shortage, error, now);
            }
            Event::Refused { slot, error } => self.refused(slot, error, now),
            Event::Ready(pid) => {
                if let Some(slot) = self.slot_of(pid) {
                    self.tell(slot, WorkerEvent::Ready(pid), None, now);
                }
            }
            Event::Ended { pid, status, left, said } => self.ended(pid, status, self.to_stop(left), said, now),
            Event::Looked { pid, left } => self.tell_stopping(pid, StopEvent::Looked(self.to_stop(left)), now),
            Event::Served { pid, clients, cost } => self.served(pid, clients, cost, now),
            Event::Signalled { pid, refused } => self.signalled(pid, refused, now),
            Event::Vanished(pid) => self.tell_stopping(pid, StopEvent::Ended(Left::Nothing), now),
            Event::Measured { pid, usage, reported } => self.measured(pid, usage, reported, now),
            Event::Overdue { pid, time } => self.overdue(pid, time, now),
            Event::Waiting(waiting) => self.waiting(waiting, now),
            Event::Reload(cause) => self.reload(Note::Reloading(cause), cause, now),
            Event::FileChanged(path) => self.reload(Note::FileChanged(path), Cause::Changed, now),
            Event::OneMore => self.one_more(now),
            Event::OneLess => self.one_less(now),
            Event::Stop => self.stop(now),
            Event::Tick => self.tick(now),
        }
        self.forget_gone();
        self.roll(now);
        self.plan_look(now);
        mem::take(&mut self.actions)
    }

    fn begin(&mut self, now: Instant) {
        if !self.rules.on_demand {
            self.tell_all(WorkerEvent::Start, now);
            self.tell_all(WorkerEvent::Tick, now);
        }
        self.settle();
    }

    /// Whether it is a worker's process, or one that is to stop.
    pub(crate) fn knows(&self, pid: Pid) -> bool {
        self.slot_of(pid).is_some() || self.stopping.iter().any(|stopping| stopping.process.pid == pid)
    }

    fn slot_of(&self, pid: Pid) -> Option<usize> {
        self.slots.iter().position(|slot| slot.worker.has(pid))
    }

    fn one_more(&mut self, now: Instant) {
        if self.phase == Phase::Stopping {
            return;
        }
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
        if let Some(slot) = self.slots.iter().position(|slot| slot.worker.state == WorkerState::Empty) {
            self.tell(slot, WorkerEvent::Start, None, now);
            self.tell(slot, WorkerEvent::Tick, None, now);
        }
    }

    fn one_less(&mut self, now: Instant) {
        if self.phase == Phase::Stopping {
            return;
        }
        if self.rules.workers == 1 {
            return self.say(Note::NoOther(1));
        }
        self.rules.workers -= 1;
        self.say(Note::Workers(self.rules.workers));
        if self.active() > self.rules.workers {
            let last = self.slots.iter().rposition(|slot| slot.worker.state != WorkerState::Empty);
            self.stop_one(last.unwrap_or_default(), now);
        }
    }

    /// The first request stops all workers; another one gives them less time.
    fn stop(&mut self, now: Instant) {
        if self.phase == Phase::Stopping {
            return self.tell_all_stopping(StopEvent::Hurry, now);
        }
        self.phase = Phase::Stopping;
        self.rolling.cancel();
        self.tell_all_stopping(StopEvent::StopAll(self.rules.stop_timeout), now);
        (0..self.slots.len()).for_each(|slot| self.stop_one(slot, now));
    }

    fn tick(&mut self, now: Instant) {
        self.give_up_late_launches(now);
        self.give_up_silent(now);
        // What is written after a fork costs a copy: the others are not touched.
        let is_due = |fleet: &Self, slot: usize| fleet.slots[slot].worker.deadline().is_some_and(|then| now >= then);
        for slot in 0..self.slots.len() {
            if is_due(self, slot) {
                self.tell(slot, WorkerEvent::Tick, None, now);
            }
        }
        self.tell_all_stopping(StopEvent::Tick, now);
        if let Some(slot) = self.rolling.has_lived(now) {
            self.take_over(slot, now);
        }
        let is_complete = self.rolling.tick(now);
        self.report(is_complete);
        for slot in 0..self.slots.len() {
            if self.calm(&self.slots[slot]).is_some_and(|then| now >= then) {
                self.end_loop(slot, now);
            }
            if self.slots[slot].recycle.is_some_and(|then| now >= then) {
                self.slots[slot].recycle = None;
                if let Some(process) = self.slots[slot].worker.process() {
                    self.rolling.recycle(slot, Cause::Age(now - process.since), now);
                }
            }
        }
        if self.next_look.is_some_and(|then| now >= then) {
            self.next_look = None;
            self.looked = true;
            let up = |slot: &Slot| match slot.worker.state {
                WorkerState::Running(process) => Some(Action::Measure(process.pid)),
                _ => None,
            };
            self.actions.extend(self.slots.iter().filter_map(up));
        }
        if self.demand.is_due(now) {
            self.actions.push(Action::LookAtListener);
        }
    }

    /// Workers are measured from time to time while there are any, and there is a limit for them.
    fn plan_look(&mut self, now: Instant) {
        let memory = self.rules.max_rss.map(|_| MEMORY_LOOK);
        let idle = self.rules.idle.filter(|_| self.rules.on_demand).map(Idle::interval);
        let up = |slot: &Slot| matches!(slot.worker.state, WorkerState::Running(_));
        let wanted = self.phase == Phase::Serving && self.slots.iter().any(up);
        let interval = memory.into_iter().chain(idle).min().filter(|_| wanted);
        let next = |interval: Duration| now + if self.looked { interval } else { interval.min(FIRST_LOOK) };
        self.next_look = interval.map(|interval| self.next_look.unwrap_or(next(interval)));
    }

    fn measured(&mut self, pid: Pid, usage: Usage, reported: Reported, now: Instant) {
        let Some(slot) = self.slot_of(pid).filter(|_| self.phase == Phase::Serving) else { return };
        if self.slots[slot].max_rss.is_some_and(|most| usage.rss > most) {
            self.rolling.recycle(slot, Cause::Memory(usage.rss), now);
        }
        let Some(time) = self.rules.idle.filter(|_| self.rules.on_demand) else { return };
        match self.slots[slot].idle.look(usage, reported, time, now) {
            Look::Idle if self.rolling.turn(slot).is_none() => {
                self.say(Note::Idle { slot, pid });
                self.stop_one(slot, now);
            }
            // Every worker executes the same program.
            Look::Restless if !mem::replace(&mut self.said_restless, true) => {
                self.say(Note::Restless { slot, pid, time });
            }
            Look::Busy | Look::Idle | Look::Restless => {}
        }
    }

    fn overdue(&mut self, pid: Pid, time: Duration, now: Instant) {
        if let Some(slot) = self.slot_of(pid).filter(|_| self.phase == Phase::Serving) {
            if self.rolling.recycle(slot, Cause::Overdue(time), now) {
                self.say(Note::Overdue { slot, pid, time });
            }
        }
    }

    fn waiting(&mut self, waiting: bool, now: Instant) {
        let active = self.active();
        if self.demand.look(waiting, active > 0, now) && active < self.rules.workers && self.phase == Phase::Serving {
            self.say(Note::Demand);
            self.start_one(now);
        }
    }

    fn say(&mut self, note: Note) {
        self.actions.push(Action::Say(note));
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
