//! One worker's life, as a table of states and events.
//!
//! ```text
//!                 Start            Started              Ready, deadline
//!     Empty -----------> Waiting ----------> Starting ------------------> Running
//!       ^                   ^                    |                          | ^
//!       |                   +---- Ended ---------+------------ Ended -------+ |
//!       |                                                          Started  | |  Ready, deadline:
//!       +---- Stop, from everywhere                     (after Replace)     v |  the new one stays;
//!                                                                       Proving  Ended: the old one
//! ```
//!
//! The worker does nothing itself: it is told what happened and when, and answers with what is to be done. Whoever
//! does that tells it how it went. A process that is to leave is its worker's no more: see `leaving`.

use std::time::{Duration, Instant};

use crate::fleet::restart::{Next, Restart};
use crate::sys::Pid;

/// How long a process that says nothing has to live to be up.
pub(crate) const PROOF: Duration = Duration::from_millis(250);

/// A place for a process that serves, with or without the process.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) state: State,
    pub(crate) restart: Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No process, and none to come until somebody asks.
    Empty,
    /// No process; one is to start at this time.
    Waiting { until: Instant },
    /// A process executes the program and is not up yet; at this time it is, if it still lives.
    Starting { process: Process, until: Instant },
    /// A process is up.
    Running(Process),
    /// `old` serves while `new` is not up yet.
    Proving { old: Process, new: Process, until: Instant },
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
    /// The program was executed.
    Started(Pid),
    /// It could not be.
    NotStarted,
    /// This process says that it serves.
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
    /// Execute the program; the answer is `Started` or `NotStarted`.
    Start,
    /// The process is up.
    Up,
    /// The new process is up, and this one is to leave.
    Replaced(Process),
    /// The new process failed, and the old one stays.
    Kept,
    /// The old process left by itself; the new one takes its place.
    Succeeded,
    /// There is no process any more; this is next.
    Again(Next),
    /// These are to leave.
    Leave(Process, Option<Process>),
}

impl Worker {
    pub(crate) fn new(restart: Restart) -> Self {
        Worker { state: State::Empty, restart }
    }

    /// Its process, the one that serves if there are two.
    pub(crate) fn process(&self) -> Option<Process> {
        match self.state {
            State::Starting { process, .. } | State::Running(process) | State::Proving { old: process, .. } => {
                Some(process)
            }
            State::Empty | State::Waiting { .. } => None,
        }
    }

    /// The process that is to take over, if there is one.
    pub(crate) fn successor(&self) -> Option<Process> {
        match self.state {
            State::Proving { new, .. } => Some(new),
            State::Empty | State::Waiting { .. } | State::Starting { .. } | State::Running(_) => None,
        }
    }

    pub(crate) fn has(&self, pid: Pid) -> bool {
        self.process().into_iter().chain(self.successor()).any(|process| process.pid == pid)
    }

    /// When it wants the next `Tick`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } | State::Starting { until, .. } | State::Proving { until, .. } => Some(until),
            State::Empty | State::Running(_) => None,
        }
    }

    /// The table. An event that cannot happen in a state changes nothing.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Action {
        use Event::{Ended, NotStarted, Ready, Replace, Start, Started, Stop, Tick};
        use State::{Empty, Proving, Running, Starting, Waiting};
        let stay = (self.state, Action::Nothing);
        let begun = |pid| Process { pid, since: now };
        let proof = now + PROOF;

        let (state, action) = match (self.state, event) {
            (Empty, Start) => (Waiting { until: now }, Action::Nothing),
            // Whoever started it did not know yet that it is over.
            (Empty, Started(pid)) => (Empty, Action::Leave(begun(pid), None)),
            (Empty, NotStarted | Ready(_) | Ended { .. } | Replace | Stop | Tick) => stay,

            (Waiting { until }, Tick) if now >= until => (self.state, Action::Start),
            (Waiting { .. }, Started(pid)) => (Starting { process: begun(pid), until: proof }, Action::Nothing),
            (Waiting { .. }, NotStarted) => self.ended(now, false, now),
            // Whoever wants a new one does not want to wait.
            (Waiting { .. }, Replace) => (Waiting { until: now }, Action::Nothing),
            (Waiting { .. }, Stop) => (Empty, Action::Nothing),
            (Waiting { .. }, Start | Ready(_) | Ended { .. } | Tick) => stay,

            (Starting { process, until }, Tick) if now >= until => (Running(process), Action::Up),
            (Starting { process, .. }, Ready(pid)) if pid == process.pid => (Running(process), Action::Up),
            (Starting { process, .. }, Ended { pid, success }) if pid == process.pid => {
                self.ended(process.since, success, now)
            }
            (Starting { process, .. } | Running(process), Started(pid)) => {
                (Proving { old: process, new: begun(pid), until: proof }, Action::Nothing)
            }
            (Starting { .. } | Running(_), NotStarted) => (self.state, Action::Kept),
            (Starting { .. } | Running(_), Replace) => (self.state, Action::Start),
            (Starting { process, .. } | Running(process), Stop) => (Empty, Action::Leave(process, None)),
            (Starting { .. }, Start | Ready(_) | Ended { .. } | Tick) => stay,

            (Running(process), Ended { pid, success }) if pid == process.pid => self.ended(process.since, success, now),
            (Running(_), Start | Ready(_) | Ended { .. } | Tick) => stay,

            (Proving { old, new, until }, Tick) if now >= until => (Running(new), Action::Replaced(old)),
            (Proving { old, new, .. }, Ready(pid)) if pid == new.pid => (Running(new), Action::Replaced(old)),
            (Proving { old, new, .. }, Ended { pid, .. }) if pid == new.pid => (Running(old), Action::Kept),
            (Proving { old, new, until }, Ended { pid, .. }) if pid == old.pid => {
                (Starting { process: new, until }, Action::Succeeded)
            }
            (Proving { old, new, .. }, Stop) => (Empty, Action::Leave(old, Some(new))),
            (Proving { .. }, Start | Started(_) | NotStarted | Ready(_) | Ended { .. } | Replace | Tick) => stay,
        };
        self.state = state;
        action
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
        let mut events = vec![Event::Start, Event::NotStarted, Event::Replace, Event::Stop, Event::Tick];
        for pid in [ONE, TWO, OTHER] {
            events.extend([Event::Started(pid), Event::Ready(pid)]);
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
        let proof = now + PROOF;
        let long = Action::Again(Next::At(now, Why::LongLife));
        let short = Action::Again(Next::At(now + POLICY.delay, Why::ShortLives(1)));
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
        let started = |then: &dyn Fn(Pid) -> (State, Action)| {
            pids.map(|pid| {
                let (state, action) = then(pid);
                (Event::Started(pid), state, action)
            })
        };

        let mut changes = vec![(Event::Start, at_once, Action::Nothing)];
        changes.extend(started(&|pid| (State::Empty, Action::Leave(new(pid), None))));
        check(State::Empty, &changes);

        for (state, due) in [(State::Waiting { until: later }, false), (State::Waiting { until: now }, true)] {
            let mut changes = vec![
                (Event::NotStarted, paused, short),
                (Event::Replace, at_once, Action::Nothing),
                (Event::Stop, State::Empty, Action::Nothing),
            ];
            changes.extend(due.then_some((Event::Tick, state, Action::Start)));
            changes.extend(started(&|pid| (State::Starting { process: new(pid), until: proof }, Action::Nothing)));
            check(state, &changes);
        }

        let proving = |pid| (State::Proving { old: one, new: new(pid), until: proof }, Action::Nothing);
        for (until, due) in [(later, false), (now, true)] {
            let state = State::Starting { process: one, until };
            let up = (State::Running(one), Action::Up);
            let mut changes = vec![
                (Event::Ready(ONE), up.0, up.1),
                (ended(ONE, true), at_once, recycled),
                (ended(ONE, false), at_once, long),
                (Event::NotStarted, state, Action::Kept),
                (Event::Replace, state, Action::Start),
                (Event::Stop, State::Empty, Action::Leave(one, None)),
            ];
            changes.extend(due.then_some((Event::Tick, up.0, up.1)));
            changes.extend(started(&proving));
            check(state, &changes);
        }

        let state = State::Running(one);
        let mut changes = vec![
            (ended(ONE, true), at_once, recycled),
            (ended(ONE, false), at_once, long),
            (Event::NotStarted, state, Action::Kept),
            (Event::Replace, state, Action::Start),
            (Event::Stop, State::Empty, Action::Leave(one, None)),
        ];
        changes.extend(started(&proving));
        check(state, &changes);

        for (until, due) in [(later, false), (now, true)] {
            let state = State::Proving { old: one, new: two, until };
            let replaced = (State::Running(two), Action::Replaced(one));
            let mut changes = vec![
                (Event::Ready(TWO), replaced.0, replaced.1),
                (Event::Stop, State::Empty, Action::Leave(one, Some(two))),
            ];
            for success in [true, false] {
                changes.push((ended(ONE, success), State::Starting { process: two, until }, Action::Succeeded));
                changes.push((ended(TWO, success), State::Running(one), Action::Kept));
            }
            changes.extend(due.then_some((Event::Tick, replaced.0, replaced.1)));
            check(state, &changes);
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
        assert_eq!(worker.on(Event::Started(ONE), now), Action::Nothing);
        assert_eq!(worker.deadline(), Some(now + PROOF));
        now += PROOF;
        assert_eq!((worker.on(Event::Tick, now), worker.deadline()), (Action::Up, None));

        now += Duration::from_secs(1);
        worker.on(Event::Ended { pid: ONE, success: false }, now);
        assert_eq!(worker.deadline(), Some(now + POLICY.delay));
        assert_eq!(worker.on(Event::Tick, now), Action::Nothing);

        now += POLICY.delay;
        assert_eq!(worker.on(Event::Tick, now), Action::Start);
        worker.on(Event::Started(ONE), now);
        assert_eq!(worker.on(Event::Ready(ONE), now), Action::Up);
        assert_eq!(worker.on(Event::Replace, now), Action::Start);
        worker.on(Event::Started(TWO), now);
        assert!(worker.has(ONE) && worker.has(TWO));
        let Action::Replaced(old) = worker.on(Event::Ready(TWO), now) else { panic!("not replaced") };
        assert_eq!(old.pid, ONE);
        let Action::Leave(process, None) = worker.on(Event::Stop, now) else { panic!("it stays") };
        assert_eq!((process.pid, worker.state), (TWO, State::Empty));
    }
}
