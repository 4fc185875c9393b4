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

/// How long a process has to report that it is up, if it is to take the place of one that did.
pub(crate) const REPORT: Duration = Duration::from_secs(60);

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
    /// `old` serves while `new` is not up yet, which has shown `proof` by then.
    Replacing { old: Process, new: Process, proof: Proof, until: Instant },
    /// Both are up, and one is to stay.
    Both { old: Process, new: Process },
}

/// What is awaited of a process that is to replace another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It executes the program: it is killed if it has not by then.
    Executed,
    /// It is up when it has lived until then.
    Lives,
    /// It reports that it is up, as the old process did: it is not taken if it has not by then.
    Reports,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) since: Instant,
    /// The version of the program that it executes, as a number.
    pub(crate) version: u32,
    /// It has reported that it is up.
    pub(crate) reports: bool,
}

impl Process {
    /// One that is on its way to the program.
    pub(crate) fn new(pid: Pid, since: Instant, version: u32) -> Self {
        Process { pid, since, version, reports: false }
    }

    /// One that a predecessor has started. Whether the program has changed since is not known.
    pub(crate) fn adopted(pid: Pid, age: Duration, reports: bool, now: Instant) -> Self {
        Process { pid, since: now.checked_sub(age).unwrap_or(now), version: 0, reports }
    }

    fn reported(self) -> Self {
        Process { reports: true, ..self }
    }
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
            WorkerState::Replacing { new, proof: Proof::Executed, .. } => new.pid == pid,
            _ => false,
        }
    }

    /// The process that has not executed the program in time.
    pub(crate) fn late(&self, now: Instant) -> Option<Pid> {
        match self.state {
            WorkerState::Launching { process, until } => (now >= until).then_some(process.pid),
            WorkerState::Replacing { new, proof: Proof::Executed, until, .. } => (now >= until).then_some(new.pid),
            _ => None,
        }
    }

    /// The process that has not reported in time that it is up.
    pub(crate) fn silent(&self, now: Instant) -> Option<Pid> {
        match self.state {
            WorkerState::Replacing { new, proof: Proof::Reports, until, .. } => (now >= until).then_some(new.pid),
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
        let begun = |pid, version| Process::new(pid, now, version);
        let launch = now + LAUNCH;

        let (state, action) = match (self.state, event) {
            (Empty, Start) => (Waiting { until: now }, WorkerAction::Nothing),
            // One is enough, and none is wanted here; a start may have been asked for before a stop.
            (Empty | Launching { .. } | Starting { .. } | Replacing { .. } | Both { .. }, Forked { pid, version }) => {
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
                (Running(process.reported()), WorkerAction::Up)
            }
            // It was up before, since it had lived for long enough.
            (Running(process), Ready(pid)) if pid == process.pid => {
                (Running(process.reported()), WorkerAction::Nothing)
            }
            (Launching { process, .. } | Starting { process, .. } | Running(process), Ended { pid, success })
                if pid == process.pid =>
            {
                self.ended(process.since, success, now)
            }
            (Running(old), Forked { pid, version }) => {
                let new = begun(pid, version);
                (Replacing { old, new, proof: Proof::Executed, until: launch }, WorkerAction::Nothing)
            }
            (Running(_), Refused) => (self.state, WorkerAction::Kept),
            (Running(_), Replace) => (self.state, WorkerAction::Start),
            (Launching { process, .. } | Starting { process, .. } | Running(process), Stop) => {
                (Empty, WorkerAction::Stop(process, None))
            }
            // Whether there is to be another is decided when it is up or has ended.
            (Launching { .. } | Starting { .. }, Replace | Refused) => stay,
            (Starting { .. } | Running(_), NotExecuted { .. }) => stay,
            (
                Launching { .. } | Starting { .. } | Running(_),
                Start | Executed { .. } | Ready(_) | Ended { .. } | TakeOver | Discard | Tick,
            ) => stay,

            (Replacing { old, new, proof: Proof::Executed, .. }, Executed { pid, up_after }) if pid == new.pid => {
                let (proof, time) =
                    if old.reports { (Proof::Reports, REPORT.max(up_after)) } else { (Proof::Lives, up_after) };
                (Replacing { old, new, proof, until: now + time }, WorkerAction::Nothing)
            }
            (Replacing { old, new, proof: Proof::Lives, until }, Tick) if now >= until => {
                (Both { old, new }, WorkerAction::UpBeside)
            }
            (Replacing { old, new, .. }, Ready(pid)) if pid == new.pid => {
                (Both { old, new: new.reported() }, WorkerAction::UpBeside)
            }
            (Both { old, new }, Ready(pid)) if pid == new.pid => {
                (Both { old, new: new.reported() }, WorkerAction::Nothing)
            }
            (Replacing { old, new, proof, until }, Ready(pid)) if pid == old.pid => {
                (Replacing { old: old.reported(), new, proof, until }, WorkerAction::Nothing)
            }
            (Both { old, new }, Ready(pid)) if pid == old.pid => {
                (Both { old: old.reported(), new }, WorkerAction::Nothing)
            }
            (Replacing { old, proof: Proof::Executed, .. }, NotExecuted { .. }) => (Running(old), WorkerAction::Kept),
            (Replacing { old, new, proof, until }, Ended { pid, .. }) if pid == old.pid => {
                let state = match proof {
                    Proof::Executed => Launching { process: new, until },
                    Proof::Lives | Proof::Reports => Starting { process: new, until },
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

    const LIFE: Duration = Duration::from_millis(250);

    fn executed(pid: Pid) -> WorkerEvent {
        WorkerEvent::Executed { pid, up_after: LIFE }
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
        let one = Process::new(ONE, start, 1);
        let two = Process::new(TWO, now, 2);
        let new = |pid| Process::new(pid, now, 7);
        let (launch, lived) = (now + LAUNCH, now + LIFE);
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

        let (up, ready) = (WorkerState::Running(one), WorkerState::Running(one.reported()));
        for until in [later, now] {
            let state = WorkerState::Launching { process: one, until };
            let mut changes = vec![
                (executed(ONE), WorkerState::Starting { process: one, until: lived }, WorkerAction::Nothing),
                (WorkerEvent::Ready(ONE), ready, WorkerAction::Up),
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
            let proof = Proof::Executed;
            (WorkerState::Replacing { old: one, new: new(pid), proof, until: launch }, WorkerAction::Nothing)
        };
        for (until, due) in [(later, false), (now, true)] {
            let state = WorkerState::Starting { process: one, until };
            let mut changes = vec![
                (WorkerEvent::Ready(ONE), ready, WorkerAction::Up),
                (ended(ONE, true), at_once, recycled),
                (ended(ONE, false), at_once, long),
                (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Stop(one, None)),
            ];
            changes.extend(due.then_some((WorkerEvent::Tick, up, WorkerAction::Up)));
            changes.extend(all_forked(&|pid| (state, WorkerAction::Stop(new(pid), None))));
            check(state, &changes);
            assert_eq!(worker(state, POLICY).late(now), None);
        }

        let state = WorkerState::Running(one);
        let mut changes = vec![
            (ended(ONE, true), at_once, recycled),
            (ended(ONE, false), at_once, long),
            (WorkerEvent::Ready(ONE), ready, WorkerAction::Nothing),
            (WorkerEvent::Refused, state, WorkerAction::Kept),
            (WorkerEvent::Replace, state, WorkerAction::Start),
            (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Stop(one, None)),
        ];
        changes.extend(all_forked(&replacing));
        check(state, &changes);

        let proofs = [Proof::Executed, Proof::Lives, Proof::Reports];
        for (proof, until) in proofs.into_iter().flat_map(|proof| [(proof, later), (proof, now)]) {
            let (state, due) = (WorkerState::Replacing { old: one, new: two, proof, until }, until == now);
            let beside = |new| (WorkerState::Both { old: one, new }, WorkerAction::UpBeside);
            let reported = WorkerState::Replacing { old: one.reported(), new: two, proof, until };
            let mut changes = vec![
                (WorkerEvent::Ready(TWO), beside(two.reported()).0, beside(two).1),
                (WorkerEvent::Ready(ONE), reported, WorkerAction::Nothing),
                (WorkerEvent::Stop, WorkerState::Empty, WorkerAction::Stop(one, Some(two))),
                (WorkerEvent::Discard, WorkerState::Running(one), WorkerAction::Stop(two, None)),
            ];
            let alone = match proof {
                Proof::Executed => WorkerState::Launching { process: two, until },
                Proof::Lives | Proof::Reports => WorkerState::Starting { process: two, until },
            };
            for success in [true, false] {
                changes.push((ended(ONE, success), alone, WorkerAction::Succeeded));
                changes.push((ended(TWO, success), WorkerState::Running(one), WorkerAction::Kept));
            }
            match proof {
                Proof::Lives => changes.extend(due.then_some((WorkerEvent::Tick, beside(two).0, beside(two).1))),
                Proof::Reports => {}
                Proof::Executed => {
                    let state = WorkerState::Replacing { old: one, new: two, proof: Proof::Lives, until: now + LIFE };
                    changes.push((executed(TWO), state, WorkerAction::Nothing));
                    let (state, kept) = (WorkerState::Running(one), WorkerAction::Kept);
                    changes.extend([true, false].map(|shortage| (WorkerEvent::NotExecuted { shortage }, state, kept)));
                }
            }
            changes.extend(all_forked(&|pid| (state, WorkerAction::Stop(new(pid), None))));
            check(state, &changes);
            let worker = worker(state, POLICY);
            assert_eq!(worker.late(now), (proof == Proof::Executed && due).then_some(TWO));
            assert_eq!(worker.silent(now), (proof == Proof::Reports && due).then_some(TWO));
            assert_eq!((worker.is_launching(TWO), worker.is_launching(ONE)), (proof == Proof::Executed, false));
        }

        // What takes the place of a process that has reported has to report.
        let replacing = |proof, until| WorkerState::Replacing { old: one.reported(), new: two, proof, until };
        let mut replacement = worker(replacing(Proof::Executed, launch), POLICY);
        assert_eq!(replacement.on(executed(TWO), now), WorkerAction::Nothing);
        assert_eq!(replacement.state, replacing(Proof::Reports, now + REPORT));

        let state = WorkerState::Both { old: one, new: two };
        let mut changes = vec![
            (WorkerEvent::Ready(ONE), WorkerState::Both { old: one.reported(), new: two }, WorkerAction::Nothing),
            (WorkerEvent::Ready(TWO), WorkerState::Both { old: one, new: two.reported() }, WorkerAction::Nothing),
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
        let one = Process::new(ONE, now, 1);
        let two = Process::new(TWO, now, 1);
        for (state, up) in [
            (WorkerState::Empty, [false, false]),
            (WorkerState::Launching { process: one, until: now }, [false, false]),
            (WorkerState::Starting { process: one, until: now }, [false, false]),
            (WorkerState::Running(one), [true, false]),
            (WorkerState::Replacing { old: one, new: two, proof: Proof::Lives, until: now }, [true, false]),
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
        let mut worker = worker(WorkerState::Running(Process::new(ONE, now, 1)), policy);
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
        assert_eq!(worker.deadline(), Some(now + LIFE));
        now += LIFE;
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
