//! One worker's life, as a table of states and events.
//!
//! ```text
//!           Start        deadline      Forked          Executed          Ready, deadline
//!     Empty ------> Waiting ------> Due ------> Launching ------> Starting --------------> Running
//!       ^            ^  ^            |             |                 |                      |  ^ ^
//!       |            |  +- Refused --+             |                 |                      |  | |
//!       |            +---- Ended, NotExecuted -----+----- Ended -----+------- Ended --------+  | |
//!       |                                                                                   |  | | TakeOver: the new
//!       +---- Stop, from everywhere                              Forked, after Replace      |  | | one stays
//!                                                           +-------------------------------+  | |
//!                                                           v          Ended, Discard:         | |
//!                                                       Replacing ---- one of both stays ------+ |
//!                                                           |  Ready, deadline                   |
//!                                                           +--------------------------------> Both
//! ```
//!
//! The worker does nothing itself: it is told what happened and when, and returns what is to be done. The result of that
//! is the next event. A process that is to stop does not belong to its worker any more: see `stop`.

use std::time::{Duration, Instant};

use crate::fleet::restart::{Next, Restart};
use crate::sys::Pid;

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
    /// Both are up, and one is to stay.
    Both { old: Process, new: Process },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) since: Instant,
    /// The version of the program that it executes, as a number.
    pub(crate) version: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerEvent {
    /// There is to be a process.
    Start,
    /// There is one, on its way to the program.
    Forked { pid: Pid, version: u32 },
    /// It has executed the program. It is up when it reports that, or has lived for this long.
    Executed { pid: Pid, up_after: Duration },
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
    /// Of two processes the new one stays, if it is up.
    TakeOver,
    /// Of two processes the old one stays.
    Discard,
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
    /// The new process is up beside the old one; `TakeOver` or `Discard` follows.
    UpBeside,
    /// The new process has taken over, and this one is to stop.
    Replaced(Process),
    /// The new process ended, or could not be started, and the old one stays.
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
            | WorkerState::Replacing { old: process, .. }
            | WorkerState::Both { old: process, .. } => Some(process),
            WorkerState::Empty | WorkerState::Waiting { .. } | WorkerState::Due => None,
        }
    }

    /// The process that is to take over, if there is one.
    pub(crate) fn successor(&self) -> Option<Process> {
        match self.state {
            WorkerState::Replacing { new, .. } | WorkerState::Both { new, .. } => Some(new),
            WorkerState::Empty
            | WorkerState::Waiting { .. }
            | WorkerState::Due
            | WorkerState::Launching { .. }
            | WorkerState::Starting { .. }
            | WorkerState::Running(_) => None,
        }
    }

    /// All its processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Process> {
        self.process().into_iter().chain(self.successor())
    }

    pub(crate) fn has(&self, pid: Pid) -> bool {
        self.processes().any(|process| process.pid == pid)
    }

    /// Whether this process has been up.
    pub(crate) fn is_up(&self, pid: Pid) -> bool {
        match self.state {
            WorkerState::Running(process) | WorkerState::Replacing { old: process, .. } => process.pid == pid,
            WorkerState::Both { old, new } => old.pid == pid || new.pid == pid,
            _ => false,
        }
    }

    /// Whether this process is on its way to the program.
    pub(crate) fn is_launching(&self, pid: Pid) -> bool {
        match self.state {
            WorkerState::Launching { process, .. } => process.pid == pid,
            WorkerState::Replacing { new, executed: false, .. } => new.pid == pid,
            _ => false,
        }
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
            WorkerState::Empty | WorkerState::Due | WorkerState::Running(_) | WorkerState::Both { .. } => None,
        }
    }

    /// The table. An event that cannot happen in a state changes nothing.
    pub(crate) fn on(&mut self, event: WorkerEvent, now: Instant) -> WorkerAction {
        use WorkerEvent::{
            Discard, Ended, Executed, Forked, NotExecuted, Ready, Refused, Replace, Start, Stop, TakeOver, Tick,
        };
        use WorkerState::{Both, Due, Empty, Launching, Replacing, Running, Starting, Waiting};
        let stay = (self.state, WorkerAction::Nothing);
        let begun = |pid, version| Process { pid, since: now, version };
        let launch = now + LAUNCH;

        let (state, action) = match (self.state, event) {
            (Empty, Start) => (Waiting { until: now }, WorkerAction::Nothing),
            // One is enough, and none is wanted here; a start may have been asked for before a stop.
            (Empty | Launching { .. } | Replacing { .. } | Both { .. }, Forked { pid, version }) => {
                (self.state, WorkerAction::Stop(begun(pid, version), None))
            }
            (
                Empty,
                Executed { .. }
                | NotExecuted { .. }
                | Refused
                | Ready(_)
                | Ended { .. }
                | Replace
                | TakeOver
                | Discard
                | Stop
                | Tick,
            ) => stay,

            (Waiting { until }, Tick) if now >= until => (Due, WorkerAction::Start),
            (Waiting { .. } | Due, Forked { pid, version }) => {
                (Launching { process: begun(pid, version), until: launch }, WorkerAction::Nothing)
            }
            (Waiting { .. } | Due, Refused) => self.refused(now),
            // A reload ends a pause.
            (Waiting { .. }, Replace) => (Waiting { until: now }, WorkerAction::Nothing),
            (Waiting { .. } | Due, Stop) => (Empty, WorkerAction::Nothing),
            (
                Waiting { .. } | Due,
                Start
                | Executed { .. }
                | NotExecuted { .. }
                | Ready(_)
                | Ended { .. }
                | Replace
                | TakeOver
                | Discard
                | Tick,
            ) => stay,

            (Launching { process, .. }, Executed { pid, up_after }) if pid == process.pid => {
                (Starting { process, until: now + up_after }, WorkerAction::Nothing)
            }
            (Launching { .. }, NotExecuted { shortage: false }) => self.ended(now, false, now),
            (Launching { .. }, NotExecuted { shortage: true }) => self.refused(now),
            (Starting { process, until }, Tick) if now >= until => (Running(process), WorkerAction::Up),
            (Launching { process, .. } | Starting { process, .. }, Ready(pid)) if pid == process.pid => {
                (Running(process), WorkerAction::Up)
            }
            (Launching { process, .. } | Starting { process, .. } | Running(process), Ended { pid, success })
                if pid == process.pid =>
            {
                self.ended(process.since, success, now)
            }
            (Starting { process, .. } | Running(process), Forked { pid, version }) => {
                let new = begun(pid, version);
                (Replacing { old: process, new, executed: false, until: launch }, WorkerAction::Nothing)
            }
            (Starting { .. } | Running(_), Refused) => (self.state, WorkerAction::Kept),
            (Starting { .. } | Running(_), Replace) => (self.state, WorkerAction::Start),
            (Launching { process, .. } | Starting { process, .. } | Running(process), Stop) => {
                (Empty, WorkerAction::Stop(process, None))
            }
            // Whether there is to be another is decided when it executes the program.
            (Launching { .. }, Replace | Refused) => stay,
            (Starting { .. } | Running(_), NotExecuted { .. }) => stay,
            (
                Launching { .. } | Starting { .. } | Running(_),
                Start | Executed { .. } | Ready(_) | Ended { .. } | TakeOver | Discard | Tick,
            ) => stay,

            (Replacing { old, new, executed: false, .. }, Executed { pid, up_after }) if pid == new.pid => {
                (Replacing { old, new, executed: true, until: now + up_after }, WorkerAction::Nothing)
            }
            (Replacing { old, new, executed: true, until }, Tick) if now >= until => {
                (Both { old, new }, WorkerAction::UpBeside)
            }
            (Replacing { old, new, .. }, Ready(pid)) if pid == new.pid => (Both { old, new }, WorkerAction::UpBeside),
            (Replacing { old, executed: false, .. }, NotExecuted { .. }) => (Running(old), WorkerAction::Kept),
            (Replacing { old, new, executed, until }, Ended { pid, .. }) if pid == old.pid => {
                let state = match executed {
                    true => Starting { process: new, until },
                    false => Launching { process: new, until },
                };
                (state, WorkerAction::Succeeded)
            }
            (Both { old, new }, Ended { pid, .. }) if pid == old.pid => (Running(new), WorkerAction::Succeeded),
            (Both { old, new }, TakeOver) => (Running(new), WorkerAction::Replaced(old)),
            (Replacing { old, new, .. } | Both { old, new }, Ended { pid, .. }) if pid == new.pid => {
                (Running(old), WorkerAction::Kept)
            }
            (Replacing { old, new, .. } | Both { old, new }, Discard) => (Running(old), WorkerAction::Stop(new, None)),
            (Replacing { old, new, .. } | Both { old, new }, Stop) => (Empty, WorkerAction::Stop(old, Some(new))),
            (
                Replacing { .. } | Both { .. },
                Start
                | Executed { .. }
                | NotExecuted { .. }
                | Refused
                | Ready(_)
                | Ended { .. }
                | Replace
                | TakeOver
                | Tick,
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

    const PROOF: Duration = Duration::from_millis(250);

    fn executed(pid: Pid) -> WorkerEvent {
        WorkerEvent::Executed { pid, up_after: PROOF }
    }

    fn forked(pid: Pid) -> WorkerEvent {
        WorkerEvent::Forked { pid, version: 7 }
    }

    /// All events, with every process they can be about.
    fn events() -> Vec<WorkerEvent> {
        use WorkerEvent::{Discard, Refused, Replace, Start, Stop, TakeOver, Tick};
        let mut events = vec![Start, Refused, Replace, TakeOver, Discard, Stop, Tick];
        events.extend([true, false].map(|shortage| WorkerEvent::NotExecuted { shortage }));
        for pid in [ONE, TWO, OTHER] {
            events.extend([forked(pid), executed(pid), WorkerEvent::Ready(pid)]);
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
        let one = Process { pid: ONE, since: start, version: 1 };
        let two = Process { pid: TWO, since: now, version: 2 };
        let new = |pid| Process { pid, since: now, version: 7 };
        let (launch, proof) = (now + LAUNCH, now + PROOF);
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
        let all_forked = |then: &dyn Fn(Pid) -> (WorkerState, WorkerAction)| {
            pids.map(|pid| {
                let (state, action) = then(pid);
                (forked(pid), state, action)
            })
        };

        let mut changes = vec![(WorkerEvent::Start, at_once, WorkerAction::Nothing)];
        changes.extend(all_forked(&|pid| (WorkerState::Empty, WorkerAction::Stop(new(pid), None))));
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
            changes.extend(all_forked(&|pid| {
                (WorkerState::Launching { process: new(pid), until: launch }, WorkerAction::Nothing)
            }));
            check(state, &changes);
        }

        let mut changes = vec![
            (WorkerEvent::Refused, paused, refused),
            (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Nothing),
        ];
        changes.extend(all_forked(&|pid| {
            (WorkerState::Launching { process: new(pid), until: launch }, WorkerAction::Nothing)
        }));
        check(WorkerState::Due, &changes);

        let up = (WorkerState::Running(one), WorkerAction::Up);
        for until in [later, now] {
            let state = WorkerState::Launching { process: one, until };
            let mut changes = vec![
                (executed(ONE), WorkerState::Starting { process: one, until: proof }, WorkerAction::Nothing),
                (WorkerEvent::Ready(ONE), up.0, up.1),
                (WorkerEvent::NotExecuted { shortage: false }, paused, short),
                (WorkerEvent::NotExecuted { shortage: true }, paused, refused),
                (ended(ONE, true), at_once, recycled),
                (ended(ONE, false), at_once, long),
                (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Stop(one, None)),
            ];
            changes.extend(all_forked(&|pid| (state, WorkerAction::Stop(new(pid), None))));
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
            changes.extend(all_forked(&replacing));
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
        changes.extend(all_forked(&replacing));
        check(state, &changes);

        for (executes, until) in [(false, later), (false, now), (true, later), (true, now)] {
            let state = WorkerState::Replacing { old: one, new: two, executed: executes, until };
            let beside = (WorkerState::Both { old: one, new: two }, WorkerAction::UpBeside);
            let mut changes = vec![
                (WorkerEvent::Ready(TWO), beside.0, beside.1),
                (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Stop(one, Some(two))),
                (WorkerEvent::Discard, WorkerState::Running(one), WorkerAction::Stop(two, None)),
            ];
            let alone = match executes {
                true => WorkerState::Starting { process: two, until },
                false => WorkerState::Launching { process: two, until },
            };
            for success in [true, false] {
                changes.push((ended(ONE, success), alone, WorkerAction::Succeeded));
                changes.push((ended(TWO, success), WorkerState::Running(one), WorkerAction::Kept));
            }
            match executes {
                true if until == now => changes.push((WorkerEvent::Tick, beside.0, beside.1)),
                true => {}
                false => {
                    let state = WorkerState::Replacing { old: one, new: two, executed: true, until: proof };
                    changes.push((executed(TWO), state, WorkerAction::Nothing));
                    for shortage in [true, false] {
                        changes.push((
                            WorkerEvent::NotExecuted { shortage },
                            WorkerState::Running(one),
                            WorkerAction::Kept,
                        ));
                    }
                }
            }
            changes.extend(all_forked(&|pid| (state, WorkerAction::Stop(new(pid), None))));
            check(state, &changes);
            assert_eq!(worker(state, POLICY).late(now), (!executes && until == now).then_some(TWO));
            assert_eq!(
                (worker(state, POLICY).is_launching(TWO), worker(state, POLICY).is_launching(ONE)),
                (!executes, false)
            );
        }

        let state = WorkerState::Both { old: one, new: two };
        let mut changes = vec![
            (WorkerEvent::TakeOver, WorkerState::Running(two), WorkerAction::Replaced(one)),
            (WorkerEvent::Discard, WorkerState::Running(one), WorkerAction::Stop(two, None)),
            (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Stop(one, Some(two))),
        ];
        for success in [true, false] {
            changes.push((ended(ONE, success), WorkerState::Running(two), WorkerAction::Succeeded));
            changes.push((ended(TWO, success), WorkerState::Running(one), WorkerAction::Kept));
        }
        changes.extend(all_forked(&|pid| (state, WorkerAction::Stop(new(pid), None))));
        check(state, &changes);
        assert_eq!((worker(state, POLICY).late(now), worker(state, POLICY).deadline()), (None, None));
    }

    #[test]
    fn one_that_serves_has_been_up() {
        let now = Instant::now();
        let one = Process { pid: ONE, since: now, version: 1 };
        let two = Process { pid: TWO, since: now, version: 1 };
        for (state, up) in [
            (WorkerState::Empty, [false, false]),
            (WorkerState::Launching { process: one, until: now }, [false, false]),
            (WorkerState::Starting { process: one, until: now }, [false, false]),
            (WorkerState::Running(one), [true, false]),
            (WorkerState::Replacing { old: one, new: two, executed: true, until: now }, [true, false]),
            (WorkerState::Both { old: one, new: two }, [true, true]),
        ] {
            let worker = worker(state, POLICY);
            assert_eq!([ONE, TWO].map(|pid| worker.is_up(pid)), up, "{state:?}");
            assert!(!worker.is_up(OTHER) && !worker.is_launching(OTHER), "{state:?}");
            let launching = matches!(state, WorkerState::Launching { .. });
            assert_eq!((worker.is_launching(ONE), worker.is_launching(TWO)), (launching, false), "{state:?}");
        }
    }

    #[test]
    fn who_gives_up_is_empty() {
        let now = Instant::now();
        let policy = Policy { give_up: Some(1), ..POLICY };
        let mut worker = worker(WorkerState::Running(Process { pid: ONE, since: now, version: 1 }), policy);
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
        assert_eq!(worker.on(forked(ONE), now), WorkerAction::Nothing);
        assert_eq!(worker.deadline(), Some(now + LAUNCH));
        assert_eq!(worker.on(executed(ONE), now), WorkerAction::Nothing);
        assert_eq!(worker.deadline(), Some(now + PROOF));
        now += PROOF;
        assert_eq!((worker.on(WorkerEvent::Tick, now), worker.deadline()), (WorkerAction::Up, None));

        now += Duration::from_secs(1);
        worker.on(WorkerEvent::Ended { pid: ONE, success: false }, now);
        assert_eq!(worker.deadline(), Some(now + POLICY.delay));
        assert_eq!(worker.on(WorkerEvent::Tick, now), WorkerAction::Nothing);

        now += POLICY.delay;
        assert_eq!(worker.on(WorkerEvent::Tick, now), WorkerAction::Start);
        worker.on(forked(ONE), now);
        worker.on(executed(ONE), now);
        assert_eq!(worker.on(WorkerEvent::Ready(ONE), now), WorkerAction::Up);
        assert_eq!(worker.on(WorkerEvent::Replace, now), WorkerAction::Start);
        worker.on(forked(TWO), now);
        assert!(worker.has(ONE) && worker.has(TWO));
        assert_eq!(worker.on(WorkerEvent::Ready(TWO), now), WorkerAction::UpBeside);
        let WorkerAction::Replaced(old) = worker.on(WorkerEvent::TakeOver, now) else { panic!("not replaced") };
        assert_eq!(old.pid, ONE);
        let WorkerAction::Stop(process, None) = worker.on(WorkerEvent::Stop, now) else { panic!("it stays") };
        assert_eq!((process.pid, worker.state), (TWO, WorkerState::Empty));
    }
}
