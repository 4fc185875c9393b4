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
pub(crate) const PROOF: Duration = Duration::from_millis(250);

/// How long a process may take from the fork to the execution of the program. A process can be held up there by others
/// of its uid.
pub(crate) const LAUNCH: Duration = Duration::from_secs(5);

/// A place for a process that serves, with or without the process.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) state: State,
    pub(crate) restart: Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
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
pub(crate) enum Event {
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
pub(crate) enum Action {
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
        Worker { state: State::Empty, restart }
    }

    /// Its process, the one that serves if there are two.
    pub(crate) fn process(&self) -> Option<Process> {
        match self.state {
            State::Launching { process, .. }
            | State::Starting { process, .. }
            | State::Running(process)
            | State::Replacing { old: process, .. } => Some(process),
            State::Empty | State::Waiting { .. } | State::Due => None,
        }
    }

    /// The process that is to take over, if there is one.
    pub(crate) fn successor(&self) -> Option<Process> {
        match self.state {
            State::Replacing { new, .. } => Some(new),
            State::Empty
            | State::Waiting { .. }
            | State::Due
            | State::Launching { .. }
            | State::Starting { .. }
            | State::Running(_) => None,
        }
    }

    pub(crate) fn has(&self, pid: Pid) -> bool {
        self.process().into_iter().chain(self.successor()).any(|process| process.pid == pid)
    }

    /// The process that has not executed the program in time.
    pub(crate) fn late(&self, now: Instant) -> Option<Pid> {
        match self.state {
            State::Launching { process, until } => (now >= until).then_some(process.pid),
            State::Replacing { new, executed: false, until, .. } => (now >= until).then_some(new.pid),
            _ => None,
        }
    }

    /// When it wants the next `Tick`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until }
            | State::Launching { until, .. }
            | State::Starting { until, .. }
            | State::Replacing { until, .. } => Some(until),
            State::Empty | State::Due | State::Running(_) => None,
        }
    }

    /// The table. An event that cannot happen in a state changes nothing.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Action {
        use Event::{Ended, Executed, Forked, NotExecuted, Ready, Refused, Replace, Start, Stop, Tick};
        use State::{Due, Empty, Launching, Replacing, Running, Starting, Waiting};
        let stay = (self.state, Action::Nothing);
        let begun = |pid| Process { pid, since: now };
        let (launch, proof) = (now + LAUNCH, now + PROOF);

        let (state, action) = match (self.state, event) {
            (Empty, Start) => (Waiting { until: now }, Action::Nothing),
            (Empty, Forked(pid)) => (Empty, Action::Stop(begun(pid), None)),
            (Empty, Executed(_) | NotExecuted { .. } | Refused | Ready(_) | Ended { .. } | Replace | Stop | Tick) => {
                stay
            }

            (Waiting { until }, Tick) if now >= until => (Due, Action::Start),
            // A start may have been asked for before a stop.
            (Waiting { .. } | Due, Forked(pid)) => (Launching { process: begun(pid), until: launch }, Action::Nothing),
            (Waiting { .. } | Due, Refused) => self.refused(now),
            // A reload ends a pause.
            (Waiting { .. }, Replace) => (Waiting { until: now }, Action::Nothing),
            (Waiting { .. } | Due, Stop) => (Empty, Action::Nothing),
            (Waiting { .. }, Start | Executed(_) | NotExecuted { .. } | Ready(_) | Ended { .. } | Tick) => stay,
            (Due, Start | Executed(_) | NotExecuted { .. } | Ready(_) | Ended { .. } | Replace | Tick) => stay,

            (Launching { process, .. }, Executed(pid)) if pid == process.pid => {
                (Starting { process, until: proof }, Action::Nothing)
            }
            (Launching { process, .. }, Ready(pid)) if pid == process.pid => (Running(process), Action::Up),
            (Launching { .. }, NotExecuted { shortage: false }) => self.ended(now, false, now),
            (Launching { .. }, NotExecuted { shortage: true }) => self.refused(now),
            (Starting { process, until }, Tick) if now >= until => (Running(process), Action::Up),
            (Starting { process, .. }, Ready(pid)) if pid == process.pid => (Running(process), Action::Up),
            (Launching { process, .. } | Starting { process, .. } | Running(process), Ended { pid, success })
                if pid == process.pid =>
            {
                self.ended(process.since, success, now)
            }
            // One is enough.
            (Launching { .. } | Replacing { .. }, Forked(pid)) => (self.state, Action::Stop(begun(pid), None)),
            (Starting { process, .. } | Running(process), Forked(pid)) => {
                (Replacing { old: process, new: begun(pid), executed: false, until: launch }, Action::Nothing)
            }
            (Starting { .. } | Running(_), Refused) => (self.state, Action::Kept),
            (Starting { .. } | Running(_), Replace) => (self.state, Action::Start),
            (Launching { process, .. } | Starting { process, .. } | Running(process), Stop) => {
                (Empty, Action::Stop(process, None))
            }
            // Whether there is to be another is decided when it executes the program.
            (Launching { .. }, Replace | Refused) => stay,
            (Starting { .. } | Running(_), NotExecuted { .. }) => stay,
            (Launching { .. } | Starting { .. } | Running(_), Start | Executed(_) | Ready(_) | Ended { .. } | Tick) => {
                stay
            }

            (Replacing { old, new, executed: false, .. }, Executed(pid)) if pid == new.pid => {
                (Replacing { old, new, executed: true, until: proof }, Action::Nothing)
            }
            (Replacing { old, new, executed: true, until }, Tick) if now >= until => {
                (Running(new), Action::Replaced(old))
            }
            (Replacing { old, new, .. }, Ready(pid)) if pid == new.pid => (Running(new), Action::Replaced(old)),
            (Replacing { old, executed: false, .. }, NotExecuted { .. }) => (Running(old), Action::Kept),
            (Replacing { old, new, .. }, Ended { pid, .. }) if pid == new.pid => (Running(old), Action::Kept),
            (Replacing { old, new, executed, until }, Ended { pid, .. }) if pid == old.pid => {
                let state = match executed {
                    true => Starting { process: new, until },
                    false => Launching { process: new, until },
                };
                (state, Action::Succeeded)
            }
            (Replacing { old, new, .. }, Stop) => (Empty, Action::Stop(old, Some(new))),
            (
                Replacing { .. },
                Start | Executed(_) | NotExecuted { .. } | Refused | Ready(_) | Ended { .. } | Replace | Tick,
            ) => stay,
        };
        self.state = state;
        action
    }

    fn refused(&mut self, now: Instant) -> (State, Action) {
        let next = self.restart.on_refusal(now);
        let until = if let Next::At(until, _) = next { until } else { now };
        (State::Waiting { until }, Action::Again(next))
    }

    fn ended(&mut self, started: Instant, success: bool, now: Instant) -> (State, Action) {
        let next = match success {
            true => self.restart.on_exit_0(started, now),
            false => self.restart.on_failure(started, now),
        };
        let state = match next {
            Next::At(until, _) => State::Waiting { until },
            Next::GiveUp(_) => State::Empty,
        };
        (state, Action::Again(next))
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

    fn worker(state: State, policy: Policy) -> Worker {
        Worker { state, restart: Restart::new(policy, Random::new(0)) }
    }

    /// All events, with every process they can be about.
    fn events() -> Vec<Event> {
        let mut events = vec![Event::Start, Event::Refused, Event::Replace, Event::Stop, Event::Tick];
        events.extend([true, false].map(|shortage| Event::NotExecuted { shortage }));
        for pid in [ONE, TWO, OTHER] {
            events.extend([Event::Forked(pid), Event::Executed(pid), Event::Ready(pid)]);
            events.extend([true, false].map(|success| Event::Ended { pid, success }));
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
        let (launch, proof) = (now + LAUNCH, now + PROOF);
        let long = Action::Again(Next::At(now, Why::LongLife));
        let short = Action::Again(Next::At(now + POLICY.delay, Why::EarlyExits(1)));
        let refused = Action::Again(Next::At(now + POLICY.delay, Why::Refused));
        let recycled = Action::Again(Next::At(now, Why::Recycled));
        let at_once = State::Waiting { until: now };
        let paused = State::Waiting { until: now + POLICY.delay };
        let ended = |pid, success| Event::Ended { pid, success };
        let pids = [ONE, TWO, OTHER];

        let check = |state: State, changes: &[(Event, State, Action)]| {
            for event in events() {
                let named = changes.iter().find(|(named, ..)| *named == event);
                let want = named.map_or((state, Action::Nothing), |(_, state, action)| (*state, *action));
                let mut worker = worker(state, POLICY);
                let action = worker.on(event, now);
                assert_eq!((worker.state, action), want, "{state:?} and {event:?}");
            }
        };
        let forked = |then: &dyn Fn(Pid) -> (State, Action)| {
            pids.map(|pid| {
                let (state, action) = then(pid);
                (Event::Forked(pid), state, action)
            })
        };

        let mut changes = vec![(Event::Start, at_once, Action::Nothing)];
        changes.extend(forked(&|pid| (State::Empty, Action::Stop(new(pid), None))));
        check(State::Empty, &changes);

        for (state, due) in [(State::Waiting { until: later }, false), (State::Waiting { until: now }, true)] {
            let mut changes = vec![
                (Event::Refused, paused, refused),
                (Event::Replace, at_once, Action::Nothing),
                (Event::Stop, State::Empty, Action::Nothing),
            ];
            changes.extend(due.then_some((Event::Tick, State::Due, Action::Start)));
            changes.extend(forked(&|pid| (State::Launching { process: new(pid), until: launch }, Action::Nothing)));
            check(state, &changes);
        }

        let mut changes = vec![(Event::Refused, paused, refused), (Event::Stop, State::Empty, Action::Nothing)];
        changes.extend(forked(&|pid| (State::Launching { process: new(pid), until: launch }, Action::Nothing)));
        check(State::Due, &changes);

        let up = (State::Running(one), Action::Up);
        for until in [later, now] {
            let state = State::Launching { process: one, until };
            let mut changes = vec![
                (Event::Executed(ONE), State::Starting { process: one, until: proof }, Action::Nothing),
                (Event::Ready(ONE), up.0, up.1),
                (Event::NotExecuted { shortage: false }, paused, short),
                (Event::NotExecuted { shortage: true }, paused, refused),
                (ended(ONE, true), at_once, recycled),
                (ended(ONE, false), at_once, long),
                (Event::Stop, State::Empty, Action::Stop(one, None)),
            ];
            changes.extend(forked(&|pid| (state, Action::Stop(new(pid), None))));
            check(state, &changes);
            assert_eq!(worker(state, POLICY).late(now), (until == now).then_some(ONE));
        }

        let replacing =
            |pid| (State::Replacing { old: one, new: new(pid), executed: false, until: launch }, Action::Nothing);
        for (until, due) in [(later, false), (now, true)] {
            let state = State::Starting { process: one, until };
            let mut changes = vec![
                (Event::Ready(ONE), up.0, up.1),
                (ended(ONE, true), at_once, recycled),
                (ended(ONE, false), at_once, long),
                (Event::Refused, state, Action::Kept),
                (Event::Replace, state, Action::Start),
                (Event::Stop, State::Empty, Action::Stop(one, None)),
            ];
            changes.extend(due.then_some((Event::Tick, up.0, up.1)));
            changes.extend(forked(&replacing));
            check(state, &changes);
            assert_eq!(worker(state, POLICY).late(now), None);
        }

        let state = State::Running(one);
        let mut changes = vec![
            (ended(ONE, true), at_once, recycled),
            (ended(ONE, false), at_once, long),
            (Event::Refused, state, Action::Kept),
            (Event::Replace, state, Action::Start),
            (Event::Stop, State::Empty, Action::Stop(one, None)),
        ];
        changes.extend(forked(&replacing));
        check(state, &changes);

        for (executed, until) in [(false, later), (false, now), (true, later), (true, now)] {
            let state = State::Replacing { old: one, new: two, executed, until };
            let replaced = (State::Running(two), Action::Replaced(one));
            let mut changes = vec![
                (Event::Ready(TWO), replaced.0, replaced.1),
                (Event::Stop, State::Empty, Action::Stop(one, Some(two))),
            ];
            let alone = match executed {
                true => State::Starting { process: two, until },
                false => State::Launching { process: two, until },
            };
            for success in [true, false] {
                changes.push((ended(ONE, success), alone, Action::Succeeded));
                changes.push((ended(TWO, success), State::Running(one), Action::Kept));
            }
            match executed {
                true if until == now => changes.push((Event::Tick, replaced.0, replaced.1)),
                true => {}
                false => {
                    let state = State::Replacing { old: one, new: two, executed: true, until: proof };
                    changes.push((Event::Executed(TWO), state, Action::Nothing));
                    for shortage in [true, false] {
                        changes.push((Event::NotExecuted { shortage }, State::Running(one), Action::Kept));
                    }
                }
            }
            changes.extend(forked(&|pid| (state, Action::Stop(new(pid), None))));
            check(state, &changes);
            assert_eq!(worker(state, POLICY).late(now), (!executed && until == now).then_some(TWO));
        }
    }

    #[test]
    fn who_gives_up_is_empty() {
        let now = Instant::now();
        let policy = Policy { give_up: Some(1), ..POLICY };
        let mut worker = worker(State::Running(Process { pid: ONE, since: now }), policy);
        assert_eq!(worker.on(Event::Ended { pid: ONE, success: false }, now), Action::Again(Next::GiveUp(1)));
        assert_eq!((worker.state, worker.deadline()), (State::Empty, None));
    }

    #[test]
    fn a_whole_life() {
        let mut now = Instant::now();
        let mut worker = worker(State::Empty, POLICY);
        assert_eq!((worker.on(Event::Start, now), worker.deadline()), (Action::Nothing, Some(now)));
        assert_eq!(worker.on(Event::Tick, now), Action::Start);
        assert_eq!(worker.on(Event::Forked(ONE), now), Action::Nothing);
        assert_eq!(worker.deadline(), Some(now + LAUNCH));
        assert_eq!(worker.on(Event::Executed(ONE), now), Action::Nothing);
        assert_eq!(worker.deadline(), Some(now + PROOF));
        now += PROOF;
        assert_eq!((worker.on(Event::Tick, now), worker.deadline()), (Action::Up, None));

        now += Duration::from_secs(1);
        worker.on(Event::Ended { pid: ONE, success: false }, now);
        assert_eq!(worker.deadline(), Some(now + POLICY.delay));
        assert_eq!(worker.on(Event::Tick, now), Action::Nothing);

        now += POLICY.delay;
        assert_eq!(worker.on(Event::Tick, now), Action::Start);
        worker.on(Event::Forked(ONE), now);
        worker.on(Event::Executed(ONE), now);
        assert_eq!(worker.on(Event::Ready(ONE), now), Action::Up);
        assert_eq!(worker.on(Event::Replace, now), Action::Start);
        worker.on(Event::Forked(TWO), now);
        assert!(worker.has(ONE) && worker.has(TWO));
        let Action::Replaced(old) = worker.on(Event::Ready(TWO), now) else { panic!("not replaced") };
        assert_eq!(old.pid, ONE);
        let Action::Stop(process, None) = worker.on(Event::Stop, now) else { panic!("it stays") };
        assert_eq!((process.pid, worker.state), (TWO, State::Empty));
    }
}
