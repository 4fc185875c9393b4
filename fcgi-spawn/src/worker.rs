//! One worker's life, as a table of states and events.
//!
//! ```text
//!              Started             Stop               deadline
//!    Waiting ----------> Running ---------> Stopping ----------> Killed
//!     |   ^     Exited      |                   |                   |
//!     |   +-----------------+            Exited |            Exited |
//!     |                Stop                     v                   |
//!     +------------------------------------> Stopped <--------------+
//! ```
//!
//! The worker does nothing itself: it is told what happened and when, and answers with what is to
//! be done. The supervisor does that and tells it how it went.

use std::time::{Duration, Instant};

use crate::restart::Restart;
use crate::sys::Pid;

/// One of the launcher's slots for a process, with or without the process.
#[derive(Debug)]
pub(crate) struct Worker {
    state: State,
    restart: Restart,
    stop_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No process; one is to start at this time.
    Waiting { until: Instant },
    /// A process executes the program.
    Running(Process),
    /// It has been told to end and is killed if it has not at this time.
    Stopping { process: Process, until: Instant },
    /// It has been killed; only its end has to be seen.
    Killed(Process),
    /// No process, and none to come.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The program was executed.
    Started(Pid),
    /// It could not be.
    NotStarted,
    /// The process ended and is reaped.
    Exited,
    /// The launcher is to end.
    Stop,
    /// Time has passed.
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    /// Execute the program; the answer is `Started` or `NotStarted`.
    Start,
    /// Ask this process to end.
    Terminate(Pid),
    /// Do not ask.
    Kill(Pid),
}

impl Worker {
    /// A worker that is to start now.
    pub(crate) fn new(restart: Restart, stop_timeout: Duration, now: Instant) -> Self {
        Worker { state: State::Waiting { until: now }, restart, stop_timeout }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Its process, if it has one.
    pub(crate) fn process(&self) -> Option<Process> {
        match self.state {
            State::Running(process) | State::Stopping { process, .. } | State::Killed(process) => Some(process),
            State::Waiting { .. } | State::Stopped => None,
        }
    }

    /// When it wants the next `Tick`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } | State::Stopping { until, .. } => Some(until),
            State::Running(_) | State::Killed(_) | State::Stopped => None,
        }
    }

    /// The table. An event that cannot happen in a state changes nothing.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Action {
        use Event::{Exited, NotStarted, Started, Stop, Tick};
        use State::{Killed, Running, Stopped, Stopping, Waiting};
        let stay = (self.state, Action::Nothing);

        let (state, action) = match (self.state, event) {
            (Waiting { until }, Tick) if now >= until => (self.state, Action::Start),
            (Waiting { .. }, Tick | Exited) => stay,
            (Waiting { .. }, Started(pid)) => (running(pid, now), Action::Nothing),
            (Waiting { .. }, NotStarted) => (self.wait(now), Action::Nothing),
            (Waiting { .. }, Stop) => (Stopped, Action::Nothing),

            (Running(_), Tick | Started(_) | NotStarted) => stay,
            (Running(_), Exited) => (self.wait(now), Action::Nothing),
            (Running(process), Stop) => (self.stop(process, now), Action::Terminate(process.pid)),

            (Stopping { process, until }, Tick) if now >= until => (Killed(process), Action::Kill(process.pid)),
            // A second Stop must not hurry: web servers and terminals like to say it twice.
            (Stopping { .. }, Tick | Started(_) | NotStarted | Stop) => stay,
            (Stopping { .. }, Exited) => (Stopped, Action::Nothing),

            (Killed(_), Tick | Started(_) | NotStarted | Stop) => stay,
            (Killed(_), Exited) => (Stopped, Action::Nothing),

            (Stopped, Tick | NotStarted | Exited | Stop) => stay,
            // Whoever started it did not know yet that it is over.
            (Stopped, Started(pid)) => (self.stop(Process { pid, since: now }, now), Action::Terminate(pid)),
        };
        self.state = state;
        action
    }

    fn wait(&mut self, now: Instant) -> State {
        State::Waiting { until: self.restart.on_failure(now) }
    }

    fn stop(&self, process: Process, now: Instant) -> State {
        State::Stopping { process, until: now + self.stop_timeout }
    }
}

fn running(pid: Pid, since: Instant) -> State {
    State::Running(Process { pid, since })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(5);
    const GRACE: Duration = Duration::from_secs(10);
    const ONE: Pid = Pid::for_test(1001);
    const TWO: Pid = Pid::for_test(1002);

    /// What becomes of a worker in `state` when `event` happens at `now`.
    #[track_caller]
    fn check(state: State, event: Event, now: Instant, want: (State, Action)) {
        let restart = Restart::fixed(DELAY);
        let mut worker = Worker { state, restart, stop_timeout: GRACE };
        let action = worker.on(event, now);
        assert_eq!((worker.state, action), want, "{state:?} and {event:?}");
    }

    #[test]
    fn every_state_and_event() {
        let start = Instant::now();
        let now = start + Duration::from_secs(100);
        let later = now + Duration::from_secs(1);
        let process = Process { pid: ONE, since: start };
        let other = Process { pid: TWO, since: now };
        let nothing = |state| (state, Action::Nothing);

        let waiting = State::Waiting { until: later };
        let due = State::Waiting { until: now };
        let again = State::Waiting { until: now + DELAY };
        let running = State::Running(process);
        let stopping = State::Stopping { process, until: later };
        let overdue = State::Stopping { process, until: now };
        let killed = State::Killed(process);
        let stopped = State::Stopped;
        let told = |process| State::Stopping { process, until: now + GRACE };

        check(waiting, Event::Tick, now, nothing(waiting));
        check(waiting, Event::Started(TWO), now, nothing(State::Running(other)));
        check(waiting, Event::NotStarted, now, nothing(again));
        check(waiting, Event::Exited, now, nothing(waiting));
        check(waiting, Event::Stop, now, nothing(stopped));

        check(due, Event::Tick, now, (due, Action::Start));
        check(due, Event::Started(TWO), now, nothing(State::Running(other)));
        check(due, Event::NotStarted, now, nothing(again));
        check(due, Event::Exited, now, nothing(due));
        check(due, Event::Stop, now, nothing(stopped));

        check(running, Event::Tick, now, nothing(running));
        check(running, Event::Started(TWO), now, nothing(running));
        check(running, Event::NotStarted, now, nothing(running));
        check(running, Event::Exited, now, nothing(again));
        check(running, Event::Stop, now, (told(process), Action::Terminate(ONE)));

        check(stopping, Event::Tick, now, nothing(stopping));
        check(stopping, Event::Started(TWO), now, nothing(stopping));
        check(stopping, Event::NotStarted, now, nothing(stopping));
        check(stopping, Event::Exited, now, nothing(stopped));
        check(stopping, Event::Stop, now, nothing(stopping));

        check(overdue, Event::Tick, now, (killed, Action::Kill(ONE)));
        check(overdue, Event::Started(TWO), now, nothing(overdue));
        check(overdue, Event::NotStarted, now, nothing(overdue));
        check(overdue, Event::Exited, now, nothing(stopped));
        check(overdue, Event::Stop, now, nothing(overdue));

        check(killed, Event::Tick, now, nothing(killed));
        check(killed, Event::Started(TWO), now, nothing(killed));
        check(killed, Event::NotStarted, now, nothing(killed));
        check(killed, Event::Exited, now, nothing(stopped));
        check(killed, Event::Stop, now, nothing(killed));

        check(stopped, Event::Tick, now, nothing(stopped));
        check(stopped, Event::Started(TWO), now, (told(other), Action::Terminate(TWO)));
        check(stopped, Event::NotStarted, now, nothing(stopped));
        check(stopped, Event::Exited, now, nothing(stopped));
        check(stopped, Event::Stop, now, nothing(stopped));
    }

    #[test]
    fn a_whole_life() {
        let mut now = Instant::now();
        let mut worker = Worker::new(Restart::fixed(DELAY), GRACE, now);
        assert_eq!(worker.deadline(), Some(now));
        assert_eq!(worker.on(Event::Tick, now), Action::Start);
        assert_eq!(worker.on(Event::Started(ONE), now), Action::Nothing);
        assert_eq!(worker.deadline(), None);

        now += Duration::from_secs(1);
        worker.on(Event::Exited, now);
        assert_eq!(worker.deadline(), Some(now + DELAY));
        assert_eq!(worker.on(Event::Tick, now), Action::Nothing);

        now += DELAY;
        assert_eq!(worker.on(Event::Tick, now), Action::Start);
        worker.on(Event::Started(TWO), now);
        assert_eq!(worker.on(Event::Stop, now), Action::Terminate(TWO));
        assert_eq!(worker.deadline(), Some(now + GRACE));

        now += GRACE;
        assert_eq!(worker.on(Event::Tick, now), Action::Kill(TWO));
        assert_eq!(worker.deadline(), None);
        worker.on(Event::Exited, now);
        assert_eq!(worker.state(), State::Stopped);
    }
}
