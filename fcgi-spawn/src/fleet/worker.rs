//! One worker's life, as a table of states and events.
//!
//! ```text
//!           Start        deadline      Forked          Executed          Ready, deadline
//!     Empty ------> Waiting ------> Due ------> Launching ------> Starting --------------> Running
//!       ^            ^  ^            |             |                 |                      |   ^
//!       |            |  +- Refused --+             |                 |                      |   |
//!       |            +---- Ended, NotExecuted -----+----- Ended -----+------- Ended --------+   |
//!       |                                                                   Forked          |   |  Ready, deadline:
//!       +---- Stop, from everywhere                                 (after Replace)         v   |  the new one stays;
//!                                                                                   Replacing   Ended: the old one
//! ```
//!
//! The worker does nothing itself: it is told what happened and when, and returns what is to be done. The result of that
//! is the next event. A process that is to stop does not belong to its worker any more: see `stop`.

use std::time::{Duration, Instant};

use crate::fleet::restart::{Next, Restart};
use crate::sys::Pid;

/// How long a process that reports nothing has to live to be up.
pub(crate) const UP_AFTER: Duration = Duration::from_millis(250);

/// How long a process may take from the fork to the execution of the program. A process can be held up there by others
/// of its uid.
pub(crate) const LAUNCH: Duration = Duration::from_secs(5);

/// A place for a process that serves, with or without the process.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) state: WorkerState,
    pub(crate) restart: Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerState {
    /// No process, and none is to be started.
    Empty,
    /// No process; one is to start at this time.
    Waiting { until: Instant },
    /// No process; one is being started.
    Due,
    /// A process is on its way to the program, and is killed if it is not there by then.
    Launching { process: Process, until: Instant },
    /// A process executes the program and is not up yet; at this time it is, if it still lives.
    Starting { process: Process, until: Instant },
    /// A process is up.
    Running(Process),
    /// `old` serves while `new` is not up yet; until it has executed the program, `until` is as in `Launching`.
    Replacing { old: Process, new: Process, executed: bool, until: Instant },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerEvent {
    /// There is to be a process.
    Start,
    /// There is one, on its way to the program.
    Forked(Pid),
    /// It has executed the program.
    Executed(Pid),
    /// The process on its way could not execute the program, and does not belong here any more. With a `shortage` of
    /// the system the program is not at fault.
    NotExecuted { shortage: bool },
    /// The system refused to start a process.
    Refused,
    /// This process reports that it serves.
    Ready(Pid),
    /// This process ended and is reaped.
    Ended { pid: Pid, success: bool },
    /// A new process is to take the place of the old one.
    Replace,
    /// There is to be no process.
    Stop,
    /// Time has passed.
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerAction {
    Nothing,
    /// Start a process; `Forked` or `Refused` follows.
    Start,
    /// The process is up.
    Up,
    /// The new process is up, and this one is to stop.
    Replaced(Process),
    /// The new process failed, and the old one stays.
    Kept,
    /// The old process ended by itself; the new one takes its place.
    Succeeded,
    /// There is no process any more; this is next.
    Again(Next),
    /// These are to stop.
    Stop(Process, Option<Process>),
}

impl Worker {
    pub(crate) fn new(restart: Restart) -> Self {
        Worker { state: WorkerState::Empty, restart }
    }

    /// Its process, the one that serves if there are two.
    pub(crate) fn process(&self) -> Option<Process> {
        match self.state {
            WorkerState::Launching { process, .. }
            | WorkerState::Starting { process, .. }
            | WorkerState::Running(process)
            | WorkerState::Replacing { old: process, .. } => Some(process),
            WorkerState::Empty | WorkerState::Waiting { .. } | WorkerState::Due => None,
        }
    }

    /// The process that is to take over, if there is one.
    pub(crate) fn successor(&self) -> Option<Process> {
        match self.state {
            WorkerState::Replacing { new, .. } => Some(new),
            WorkerState::Empty
            | WorkerState::Waiting { .. }
            | WorkerState::Due
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Running(_) => None,
        }
    }

    pub(crate) fn has(&self, pid: Pid) -> bool {
        self.process().into_iter().chain(self.successor()).any(|process| process.pid == pid)
    }

    /// The process that has not executed the program in time.
    pub(crate) fn late(&self, now: Instant) -> Option<Pid> {
        match self.state {
            WorkerState::Launching { process, until } => (now >= until).then_some(process.pid),
            WorkerState::Replacing { new, executed: false, until, .. } => (now >= until).then_some(new.pid),
            _ => None,
        }
    }

    /// When it wants the next `Tick`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            WorkerState::Waiting { until }
            | WorkerState::Launching { until, .. }
            | WorkerState::Starting { until, .. }
            | WorkerState::Replacing { until, .. } => Some(until),
            WorkerState::Empty | WorkerState::Due | WorkerState::Running(_) => None,
        }
    }

    /// The table. An event that cannot happen in a state changes nothing.
    pub(crate) fn on(&mut self, event: WorkerEvent, now: Instant) -> WorkerAction {
        use WorkerEvent::{Ended, Executed, Forked, NotExecuted, Ready, Refused, Replace, Start, Stop, Tick};
        use WorkerState::{Due, Empty, Launching, Replacing, Running, Starting, Waiting};
        let stay = (self.state, WorkerAction::Nothing);
        let begun = |pid| Process { pid, since: now };
        let (launch, proof) = (now + LAUNCH, now + UP_AFTER);

        let (state, action) = match (self.state, event) {
            (Empty, Start) => (Waiting { until: now }, WorkerAction::Nothing),
            (Empty, Forked(pid)) => (Empty, WorkerAction::Stop(begun(pid), None)),
            (Empty, Executed(_) | NotExecuted { .. } | Refused | Ready(_) | Ended { .. } | Replace | Stop | Tick) => {
                stay
            }

            (Waiting { until }, Tick) if now >= until => (Due, WorkerAction::Start),
            // A start may have been asked for before a stop.
            (Waiting { .. } | Due, Forked(pid)) => {
                (Launching { process: begun(pid), until: launch }, WorkerAction::Nothing)
            }
            (Waiting { .. } | Due, Refused) => self.refused(now),
            // A reload ends a pause.
            (Waiting { .. }, Replace) => (Waiting { until: now }, WorkerAction::Nothing),
            (Waiting { .. } | Due, Stop) => (Empty, WorkerAction::Nothing),
            (Waiting { .. }, Start | Executed(_) | NotExecuted { .. } | Ready(_) | Ended { .. } | Tick) => stay,
            (Due, Start | Executed(_) | NotExecuted { .. } | Ready(_) | Ended { .. } | Replace | Tick) => stay,

            (Launching { process, .. }, Executed(pid)) if pid == process.pid => {
                (Starting { process, until: proof }, WorkerAction::Nothing)
            }
            (Launching { process, .. }, Ready(pid)) if pid == process.pid => (Running(process), WorkerAction::Up),
            (Launching { .. }, NotExecuted { shortage: false }) => self.ended(now, false, now),
            (Launching { .. }, NotExecuted { shortage: true }) => self.refused(now),
            (Starting { process, until }, Tick) if now >= until => (Running(process), WorkerAction::Up),
            (Starting { process, .. }, Ready(pid)) if pid == process.pid => (Running(process), WorkerAction::Up),
            (Launching { process, .. } | Starting { process, .. } | Running(process), Ended { pid, success })
                if pid == process.pid =>
            {
                self.ended(process.since, success, now)
            }
            // One is enough.
            (Launching { .. } | Replacing { .. }, Forked(pid)) => (self.state, WorkerAction::Stop(begun(pid), None)),
            (Starting { process, .. } | Running(process), Forked(pid)) => {
                (Replacing { old: process, new: begun(pid), executed: false, until: launch }, WorkerAction::Nothing)
            }
            (Starting { .. } | Running(_), Refused) => (self.state, WorkerAction::Kept),
            (Starting { .. } | Running(_), Replace) => (self.state, WorkerAction::Start),
            (Launching { process, .. } | Starting { process, .. } | Running(process), Stop) => {
                (Empty, WorkerAction::Stop(process, None))
            }
            // Whether there is to be another is decided when it executes the program.
            (Launching { .. }, Replace | Refused) => stay,
            (Starting { .. } | Running(_), NotExecuted { .. }) => stay,
            (Launching { .. } | Starting { .. } | Running(_), Start | Executed(_) | Ready(_) | Ended { .. } | Tick) => {
                stay
            }

            (Replacing { old, new, executed: false, .. }, Executed(pid)) if pid == new.pid => {
                (Replacing { old, new, executed: true, until: proof }, WorkerAction::Nothing)
            }
            (Replacing { old, new, executed: true, until }, Tick) if now >= until => {
                (Running(new), WorkerAction::Replaced(old))
            }
            (Replacing { old, new, .. }, Ready(pid)) if pid == new.pid => (Running(new), WorkerAction::Replaced(old)),
            (Replacing { old, executed: false, .. }, NotExecuted { .. }) => (Running(old), WorkerAction::Kept),
            (Replacing { old, new, .. }, Ended { pid, .. }) if pid == new.pid => (Running(old), WorkerAction::Kept),
            (Replacing { old, new, executed, until }, Ended { pid, .. }) if pid == old.pid => {
                let state = match executed {
                    true => Starting { process: new, until },
                    false => Launching { process: new, until },
                };
                (state, WorkerAction::Succeeded)
            }
            (Replacing { old, new, .. }, Stop) => (Empty, WorkerAction::Stop(old, Some(new))),
            (
                Replacing { .. },
                Start | Executed(_) | NotExecuted { .. } | Refused | Ready(_) | Ended { .. } | Replace | Tick,
            ) => stay,
        };
        self.state = state;
        action
    }

    fn refused(&mut self, now: Instant) -> (WorkerState, WorkerAction) {
        let next = self.restart.on_refusal(now);
        let until = if let Next::At(until, _) = next { until } else { now };
        (WorkerState::Waiting { until }, WorkerAction::Again(next))
    }

    fn ended(&mut self, started: Instant, success: bool, now: Instant) -> (WorkerState, WorkerAction) {
        let next = match success {
            true => self.restart.on_exit_0(started, now),
            false => self.restart.on_failure(started, now),
        };
        let state = match next {
            Next::At(until, _) => WorkerState::Waiting { until },
            Next::GiveUp(_) => WorkerState::Empty,
        };
        (state, WorkerAction::Again(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::random::Random;
    use crate::fleet::restart::{Policy, Why};

    const POLICY: Policy = Policy {
        min_life: Duration::from_secs(30),
        delay: Duration::from_secs(5),
        patience: Some(3),
        max_delay: None,
        give_up: None,
    };
    const ONE: Pid = Pid::for_test(1001);
    const TWO: Pid = Pid::for_test(1002);
    const OTHER: Pid = Pid::for_test(1003);

    fn worker(state: WorkerState, policy: Policy) -> Worker {
        Worker { state, restart: Restart::new(policy, Random::new(0)) }
    }

    /// All events, with every process they can be about.
    fn events() -> Vec<WorkerEvent> {
        let mut events =
            vec![WorkerEvent::Start, WorkerEvent::Refused, WorkerEvent::Replace, WorkerEvent::Stop, WorkerEvent::Tick];
        events.extend([true, false].map(|shortage| WorkerEvent::NotExecuted { shortage }));
        for pid in [ONE, TWO, OTHER] {
            events.extend([WorkerEvent::Forked(pid), WorkerEvent::Executed(pid), WorkerEvent::Ready(pid)]);
            events.extend([true, false].map(|success| WorkerEvent::Ended { pid, success }));
        }
        events
    }

    /// Every pair of a state and an event. What is not named here changes nothing.
    #[test]
    fn every_state_and_event() {
        let start = Instant::now();
        let now = start + Duration::from_secs(100);
        let later = now + Duration::from_secs(1);
        let one = Process { pid: ONE, since: start };
        let two = Process { pid: TWO, since: now };
        let new = |pid| Process { pid, since: now };
        let (launch, proof) = (now + LAUNCH, now + UP_AFTER);
        let long = WorkerAction::Again(Next::At(now, Why::LongLife));
        let short = WorkerAction::Again(Next::At(now + POLICY.delay, Why::EarlyExits(1)));
        let refused = WorkerAction::Again(Next::At(now + POLICY.delay, Why::Refused));
        let recycled = WorkerAction::Again(Next::At(now, Why::Recycled));
        let at_once = WorkerState::Waiting { until: now };
        let paused = WorkerState::Waiting { until: now + POLICY.delay };
        let ended = |pid, success| WorkerEvent::Ended { pid, success };
        let pids = [ONE, TWO, OTHER];

        let check = |state: WorkerState, changes: &[(WorkerEvent, WorkerState, WorkerAction)]| {
            for event in events() {
                let named = changes.iter().find(|(named, ..)| *named == event);
                let want = named.map_or((state, WorkerAction::Nothing), |(_, state, action)| (*state, *action));
                let mut worker = worker(state, POLICY);
                let action = worker.on(event, now);
                assert_eq!((worker.state, action), want, "{state:?} and {event:?}");
            }
        };
        let forked = |then: &dyn Fn(Pid) -> (WorkerState, WorkerAction)| {
            pids.map(|pid| {
                let (state, action) = then(pid);
                (WorkerEvent::Forked(pid), state, action)
            })
        };

        let mut changes = vec![(WorkerEvent::Start, at_once, WorkerAction::Nothing)];
        changes.extend(forked(&|pid| (WorkerState::Empty, WorkerAction::Stop(new(pid), None))));
        check(WorkerState::Empty, &changes);

        for (state, due) in
            [(WorkerState::Waiting { until: later }, false), (WorkerState::Waiting { until: now }, true)]
        {
            let mut changes = vec![
                (WorkerEvent::Refused, paused, refused),
                (WorkerEvent::Replace, at_once, WorkerAction::Nothing),
                (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Nothing),
            ];
            changes.extend(due.then_some((WorkerEvent::Tick, WorkerState::Due, WorkerAction::Start)));
            changes.extend(forked(&|pid| {
                (WorkerState::Launching { process: new(pid), until: launch }, WorkerAction::Nothing)
            }));
            check(state, &changes);
        }

        let mut changes = vec![
            (WorkerEvent::Refused, paused, refused),
            (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Nothing),
        ];
        changes.extend(forked(&|pid| {
            (WorkerState::Launching { process: new(pid), until: launch }, WorkerAction::Nothing)
        }));
        check(WorkerState::Due, &changes);

        let up = (WorkerState::Running(one), WorkerAction::Up);
        for until in [later, now] {
            let state = WorkerState::Launching { process: one, until };
            let mut changes = vec![
                (
                    WorkerEvent::Executed(ONE),
                    WorkerState::Starting { process: one, until: proof },
                    WorkerAction::Nothing,
                ),
                (WorkerEvent::Ready(ONE), up.0, up.1),
                (WorkerEvent::NotExecuted { shortage: false }, paused, short),
                (WorkerEvent::NotExecuted { shortage: true }, paused, refused),
                (ended(ONE, true), at_once, recycled),
                (ended(ONE, false), at_once, long),
                (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Stop(one, None)),
            ];
            changes.extend(forked(&|pid| (state, WorkerAction::Stop(new(pid), None))));
            check(state, &changes);
            assert_eq!(worker(state, POLICY).late(now), (until == now).then_some(ONE));
        }

        let replacing = |pid| {
            (WorkerState::Replacing { old: one, new: new(pid), executed: false, until: launch }, WorkerAction::Nothing)
        };
        for (until, due) in [(later, false), (now, true)] {
            let state = WorkerState::Starting { process: one, until };
            let mut changes = vec![
                (WorkerEvent::Ready(ONE), up.0, up.1),
                (ended(ONE, true), at_once, recycled),
                (ended(ONE, false), at_once, long),
                (WorkerEvent::Refused, state, WorkerAction::Kept),
                (WorkerEvent::Replace, state, WorkerAction::Start),
                (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Stop(one, None)),
            ];
            changes.extend(due.then_some((WorkerEvent::Tick, up.0, up.1)));
            changes.extend(forked(&replacing));
            check(state, &changes);
            assert_eq!(worker(state, POLICY).late(now), None);
        }

        let state = WorkerState::Running(one);
        let mut changes = vec![
            (ended(ONE, true), at_once, recycled),
            (ended(ONE, false), at_once, long),
            (WorkerEvent::Refused, state, WorkerAction::Kept),
            (WorkerEvent::Replace, state, WorkerAction::Start),
            (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Stop(one, None)),
        ];
        changes.extend(forked(&replacing));
        check(state, &changes);

        for (executed, until) in [(false, later), (false, now), (true, later), (true, now)] {
            let state = WorkerState::Replacing { old: one, new: two, executed, until };
            let replaced = (WorkerState::Running(two), WorkerAction::Replaced(one));
            let mut changes = vec![
                (WorkerEvent::Ready(TWO), replaced.0, replaced.1),
                (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Stop(one, Some(two))),
            ];
            let alone = match executed {
                true => WorkerState::Starting { process: two, until },
                false => WorkerState::Launching { process: two, until },
            };
            for success in [true, false] {
                changes.push((ended(ONE, success), alone, WorkerAction::Succeeded));
                changes.push((ended(TWO, success), WorkerState::Running(one), WorkerAction::Kept));
            }
            match executed {
                true if until == now => changes.push((WorkerEvent::Tick, replaced.0, replaced.1)),
                true => {}
                false => {
                    let state = WorkerState::Replacing { old: one, new: two, executed: true, until: proof };
                    changes.push((WorkerEvent::Executed(TWO), state, WorkerAction::Nothing));
                    for shortage in [true, false] {
                        changes.push((
                            WorkerEvent::NotExecuted { shortage },
                            WorkerState::Running(one),
                            WorkerAction::Kept,
                        ));
                    }
                }
            }
            changes.extend(forked(&|pid| (state, WorkerAction::Stop(new(pid), None))));
            check(state, &changes);
            assert_eq!(worker(state, POLICY).late(now), (!executed && until == now).then_some(TWO));
        }
    }

    #[test]
    fn who_gives_up_is_empty() {
        let now = Instant::now();
        let policy = Policy { give_up: Some(1), ..POLICY };
        let mut worker = worker(WorkerState::Running(Process { pid: ONE, since: now }), policy);
        assert_eq!(
            worker.on(WorkerEvent::Ended { pid: ONE, success: false }, now),
            WorkerAction::Again(Next::GiveUp(1))
        );
        assert_eq!((worker.state, worker.deadline()), (WorkerState::Empty, None));
    }

    #[test]
    fn a_whole_life() {
        let mut now = Instant::now();
        let mut worker = worker(WorkerState::Empty, POLICY);
        assert_eq!((worker.on(WorkerEvent::Start, now), worker.deadline()), (WorkerAction::Nothing, Some(now)));
        assert_eq!(worker.on(WorkerEvent::Tick, now), WorkerAction::Start);
        assert_eq!(worker.on(WorkerEvent::Forked(ONE), now), WorkerAction::Nothing);
        assert_eq!(worker.deadline(), Some(now + LAUNCH));
        assert_eq!(worker.on(WorkerEvent::Executed(ONE), now), WorkerAction::Nothing);
        assert_eq!(worker.deadline(), Some(now + UP_AFTER));
        now += UP_AFTER;
        assert_eq!((worker.on(WorkerEvent::Tick, now), worker.deadline()), (WorkerAction::Up, None));

        now += Duration::from_secs(1);
        worker.on(WorkerEvent::Ended { pid: ONE, success: false }, now);
        assert_eq!(worker.deadline(), Some(now + POLICY.delay));
        assert_eq!(worker.on(WorkerEvent::Tick, now), WorkerAction::Nothing);

        now += POLICY.delay;
        assert_eq!(worker.on(WorkerEvent::Tick, now), WorkerAction::Start);
        worker.on(WorkerEvent::Forked(ONE), now);
        worker.on(WorkerEvent::Executed(ONE), now);
        assert_eq!(worker.on(WorkerEvent::Ready(ONE), now), WorkerAction::Up);
        assert_eq!(worker.on(WorkerEvent::Replace, now), WorkerAction::Start);
        worker.on(WorkerEvent::Forked(TWO), now);
        assert!(worker.has(ONE) && worker.has(TWO));
        let WorkerAction::Replaced(old) = worker.on(WorkerEvent::Ready(TWO), now) else { panic!("not replaced") };
        assert_eq!(old.pid, ONE);
        let WorkerAction::Stop(process, None) = worker.on(WorkerEvent::Stop, now) else { panic!("it stays") };
        assert_eq!((process.pid, worker.state), (TWO, WorkerState::Empty));
    }
}
