//! A process that is to stop: given time to finish what it serves, asked, given time, killed. Its group is killed with it.
//!
//! ```text
//!     Draining ---> Asked ---------------> Killed ---------------> Unkillable
//!       no client,    |     deadline: Kill   ^  |  refused, deadline  |
//!       deadline: Ask |                      |  |                     |
//!                     |  Ended, parts left   |  |  Ended              |  Ended
//!                     +------------> Orphans-+  |                     |
//!                     |                 |       |                     |
//!                     |  Ended          |       |                     |
//!                     +-----------------+-------+---------------------+--> Gone, Helpers
//! ```
//!
//! The parts that it has left are killed until a look finds none (`OrphansKilled`).
//!
//! What a process has left in its group is its parts, which are stopped in its place, or helpers, which go on until
//! everything stops.

use std::time::{Duration, Instant};

/// Between two looks for processes that a leader left in its group: the kernel does not report their end.
const LOOK: Duration = Duration::from_millis(100);

/// Between two looks for helpers that go on.
const HELPERS_LOOK: Duration = Duration::from_secs(1);

/// Between two looks for clients of processes that are to stop.
pub(super) const CLIENTS_LOOK: Duration = Duration::from_millis(10);

/// From the signal that holds a process to the next look: it takes effect when the process leaves the kernel.
const HOLD: Duration = Duration::from_millis(1);

/// How long it is held at most: a busy machine may take that long to stop its threads.
const LONGEST_HOLD: Duration = Duration::from_millis(100);

/// What is left of the time at the second request to stop.
const HURRY: Duration = Duration::from_secs(1);

/// How long a killed process is waited for.
pub(super) const LAST: Duration = Duration::from_millis(900);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is asked when it has no client, at this time at the latest.
    Draining(Drain),
    /// It was asked to stop, and its group is killed at this time.
    Asked { until: Option<Instant> },
    /// The same, but it has ended: parts of it are left.
    Orphans { until: Instant, look: Instant },
    /// It was killed with its group, and is waited for until then.
    Killed { until: Instant },
    /// Parts of it were killed, perhaps not all: one may have started another meanwhile.
    OrphansKilled { until: Instant, look: Instant },
    /// It could not be killed, or did not end: it is not waited for.
    Unkillable,
    /// It has ended. What it has started may go on, and is looked at lest it gets lost.
    Helpers { look: Instant },
    /// None of its processes is left.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    /// When it is asked in any case.
    ask: Instant,
    look: Instant,
    /// Since when it is held, so that it cannot accept a connection.
    held: Option<Instant>,
    /// How long it has from the moment it is asked.
    time: Option<Duration>,
    /// It is killed by then.
    limit: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopEvent {
    /// What a look for clients found; another one is due after a pause.
    Served { clients: Clients, pause: Duration },
    /// The leader ended and is reaped.
    Ended(Left),
    /// What a look at the group found.
    Looked(Left),
    /// The signal that kills the group was sent, or was `refused`.
    Signalled { refused: bool },
    /// Everything stops, within this time.
    StopAll(Option<Duration>),
    /// A second request to stop.
    Hurry,
    /// Time has passed.
    Tick,
}

/// The clients of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    /// None is connected to it.
    None,
    /// One is, or it is at work.
    Some,
    /// It is not held yet, so that there may be one at any moment.
    NotHeld,
    /// They cannot be seen.
    Unseen,
    /// It has reported that it serves, and answers its clients before it ends.
    ItsOwn,
}

/// What is left in the group of a process that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    /// Processes that execute other programs.
    Helpers,
    /// Processes that serve in its place, perhaps beside helpers.
    Parts,
    /// Processes of which it is not known what they are; all are stopped.
    Unknown,
}

impl Left {
    fn are_stopped(self) -> bool {
        matches!(self, Left::Parts | Left::Unknown)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopAction {
    Nothing,
    /// See whether it has clients; `Served` follows.
    LookForClients,
    /// Hold it, so that it accepts no connection.
    Hold,
    /// Ask it, or what it has left, to stop.
    Ask,
    /// See what is left in the group; `Looked` follows.
    Look,
    /// Kill the group; `Signalled` follows.
    Kill,
    /// Report that it has not ended.
    GiveUp,
}

impl Stop {
    /// Of a process that is asked when it has no client, or after `drain`, and killed after `time` from then, if any.
    pub(crate) fn draining(drain: Duration, time: Option<Duration>, now: Instant) -> Self {
        Stop::Draining(Drain { ask: now + drain, look: now, held: None, time, limit: None })
    }

    /// Of a process that is being killed.
    pub(crate) fn killed(now: Instant) -> Self {
        Stop::Killed { until: now + LAST }
    }

    fn helpers(now: Instant) -> Self {
        Stop::Helpers { look: now + HELPERS_LOOK }
    }

    /// Of what a process that ended by itself has left in its group.
    pub(crate) fn left(left: Left, time: Option<Duration>, now: Instant) -> Self {
        match (left, time) {
            (Left::Nothing, _) => Stop::Gone,
            (Left::Parts | Left::Unknown, Some(time)) => Stop::Orphans { until: now + time, look: now + LOOK },
            // What is never killed is not waited for.
            (Left::Helpers | Left::Parts | Left::Unknown, _) => Stop::helpers(now),
        }
    }

    /// Whether it is held, so that it accepts no connection.
    pub(crate) fn is_held(self) -> bool {
        matches!(self, Stop::Draining(Drain { held: Some(_), .. }))
    }

    /// Whether it is not asked yet.
    pub(crate) fn drains(self) -> bool {
        matches!(self, Stop::Draining(_))
    }

    /// Whether nothing is left but what helps.
    pub(crate) fn helps(self) -> bool {
        matches!(self, Stop::Helpers { .. })
    }

    /// Whether a stop of everything has to wait for it.
    pub(crate) fn is_awaited(self) -> bool {
        !matches!(self, Stop::Unkillable | Stop::Helpers { .. } | Stop::Gone)
    }

    /// When it wants the next `Tick`.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Stop::Draining(drain) => Some(drain.ask.min(drain.look)),
            Stop::Asked { until } => until,
            Stop::Orphans { until, look } | Stop::OrphansKilled { until, look } => Some(until.min(look)),
            Stop::Killed { until } => Some(until),
            Stop::Helpers { look } => Some(look),
            Stop::Unkillable | Stop::Gone => None,
        }
    }

    /// The table. An event that cannot happen in a state changes nothing.
    pub(crate) fn on(&mut self, event: StopEvent, now: Instant) -> StopAction {
        use Stop::{Asked, Draining, Gone, Helpers, Killed, Orphans, OrphansKilled, Unkillable};
        use StopEvent::{Ended, Hurry, Looked, Served, Signalled, StopAll, Tick};
        let stay = (*self, StopAction::Nothing);
        let hurried = now + HURRY;
        let (look, helpers) = (now + LOOK, Stop::helpers(now));

        let (state, action) = match (*self, event) {
            (Draining(drain), Tick) if now >= drain.ask => (drain.asked(now), StopAction::Ask),
            (Draining(drain), Tick) if now >= drain.look => {
                // The result of this look, and no other, decides what follows; if there is none, there is another look.
                (Draining(Drain { look: now + 2 * CLIENTS_LOOK, ..drain }), StopAction::LookForClients)
            }
            (Draining(drain), Served { clients, pause }) => drain.served(clients, pause, now),
            (Draining(drain), StopAll(time)) => (Draining(drain.hurried(time, now)), StopAction::Nothing),
            (Draining(drain), Hurry) => {
                let limit = drain.limit.map_or(hurried, |limit| limit.min(hurried));
                (Asked { until: Some(limit) }, StopAction::Ask)
            }
            (Draining(drain), Ended(left)) if left.are_stopped() => {
                (drain.until(now).map_or(helpers, |until| Orphans { until, look }), StopAction::Ask)
            }
            (Draining(_) | Asked { .. }, Ended(Left::Helpers)) => (helpers, StopAction::Nothing),
            (Draining(_) | Asked { .. }, Ended(Left::Nothing)) => (Gone, StopAction::Nothing),
            (Draining(_), Ended(_) | Looked(_) | Signalled { .. } | Tick) => stay,

            (Asked { until: Some(until) }, Tick) if now >= until => (Stop::killed(now), StopAction::Kill),
            (Asked { until: Some(until) }, Ended(_)) => (Orphans { until, look }, StopAction::Ask),
            (Asked { until: None }, Ended(_)) => (helpers, StopAction::Ask),
            (Asked { until }, Hurry) => {
                (Asked { until: Some(until.map_or(hurried, |until| until.min(hurried))) }, StopAction::Ask)
            }
            (Asked { .. }, Served { .. } | Looked(_) | Signalled { .. } | StopAll(_) | Tick) => stay,

            (Orphans { until, .. }, Tick) if now >= until => {
                (OrphansKilled { until: now + LAST, look }, StopAction::Kill)
            }
            (Orphans { until, look: then }, Tick) if now >= then => (Orphans { until, look }, StopAction::Look),
            (Orphans { until, .. }, Looked(left)) => match left {
                Left::Nothing => (Gone, StopAction::Nothing),
                Left::Helpers => (helpers, StopAction::Nothing),
                Left::Parts | Left::Unknown => (Orphans { until, look }, StopAction::Nothing),
            },
            (Orphans { until, look }, Hurry) => (Orphans { until: until.min(hurried), look }, StopAction::Ask),
            // From here on helpers are stopped as well.
            (Orphans { .. }, StopAll(_)) => (*self, StopAction::Ask),
            (Orphans { .. }, Served { .. } | Ended(_) | Signalled { .. } | Tick) => stay,

            (OrphansKilled { until, .. }, Tick) if now >= until => (Unkillable, StopAction::GiveUp),
            (OrphansKilled { until, look: then }, Tick) if now >= then => {
                (OrphansKilled { until, look }, StopAction::Look)
            }
            (OrphansKilled { .. }, Looked(left)) => match left {
                Left::Nothing => (Gone, StopAction::Nothing),
                Left::Helpers => (helpers, StopAction::Nothing),
                Left::Parts | Left::Unknown => (*self, StopAction::Kill),
            },
            (OrphansKilled { .. }, Served { .. } | StopAll(_) | Hurry | Tick | Signalled { refused: false }) => stay,

            (Killed { until }, Tick) if now >= until => (Unkillable, StopAction::GiveUp),
            (Killed { .. } | OrphansKilled { .. }, Signalled { refused: true }) => (Unkillable, StopAction::Nothing),
            (Killed { .. } | OrphansKilled { .. } | Unkillable, Ended(_)) => (Gone, StopAction::Nothing),
            (Killed { .. } | Unkillable, Served { .. } | Looked(_) | Signalled { .. } | StopAll(_) | Hurry | Tick) => {
                stay
            }

            (Helpers { .. }, Looked(Left::Nothing)) => (Gone, StopAction::Nothing),
            (Helpers { look }, Tick) if now >= look => (helpers, StopAction::Look),
            // They may have ended long ago.
            (Helpers { .. }, StopAll(Some(time))) => (Orphans { until: now + time, look: now }, StopAction::Ask),
            (Helpers { .. }, StopAll(None)) => (*self, StopAction::Ask),
            (Helpers { .. }, Served { .. } | Ended(_) | Looked(_) | Signalled { .. } | Hurry | Tick) => stay,

            (Gone, _) => stay,
        };
        *self = state;
        action
    }
}

impl Drain {
    /// It is being asked.
    fn asked(self, now: Instant) -> Stop {
        Stop::Asked { until: self.until(now) }
    }

    /// When it is killed, if it is asked now.
    fn until(self, now: Instant) -> Option<Instant> {
        self.time.map(|time| now + time).into_iter().chain(self.limit).min()
    }

    /// Everything is to stop within this time: half of it is left to those that do not end.
    fn hurried(self, time: Option<Duration>, now: Instant) -> Self {
        let Some(time) = time else { return self };
        Drain { ask: self.ask.min(now + time / 2), limit: Some(now + time), ..self }
    }

    fn served(self, clients: Clients, pause: Duration, now: Instant) -> (Stop, StopAction) {
        match (self.held, clients) {
            (None, Clients::None) => {
                (Stop::Draining(Drain { held: Some(now), look: now + HOLD, ..self }), StopAction::Hold)
            }
            (Some(_), Clients::None) | (_, Clients::Unseen | Clients::ItsOwn) => (self.asked(now), StopAction::Ask),
            (Some(since), Clients::NotHeld) if now < since + LONGEST_HOLD => {
                (Stop::Draining(Drain { look: now + HOLD, ..self }), StopAction::Nothing)
            }
            (_, Clients::Some | Clients::NotHeld) => {
                (Stop::Draining(Drain { held: None, look: now + pause, ..self }), StopAction::Nothing)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Left; 4] = [Left::Nothing, Left::Helpers, Left::Parts, Left::Unknown];
    const PAUSE: Duration = Duration::from_millis(40);

    fn served(clients: Clients) -> StopEvent {
        StopEvent::Served { clients, pause: PAUSE }
    }

    fn events() -> Vec<StopEvent> {
        use StopEvent::{Ended, Hurry, Looked, Signalled, StopAll, Tick};
        let mut events = vec![Hurry, Tick, StopAll(None), StopAll(Some(8 * HURRY))];
        events.extend([true, false].map(|refused| Signalled { refused }));
        events.extend(ALL.map(Ended));
        events.extend(ALL.map(Looked));
        events.extend([Clients::None, Clients::Some, Clients::NotHeld, Clients::Unseen, Clients::ItsOwn].map(served));
        events
    }

    /// What is not named here changes nothing.
    #[track_caller]
    fn check(state: Stop, now: Instant, changes: &[(StopEvent, Stop, StopAction)]) {
        for event in events() {
            let named = changes.iter().find(|(named, ..)| *named == event);
            let want = named.map_or((state, StopAction::Nothing), |(_, state, action)| (*state, *action));
            let mut stop = state;
            let action = stop.on(event, now);
            assert_eq!((stop, action), want, "{state:?} and {event:?}");
        }
    }

    /// Every pair of a state and an event, but for one that drains.
    #[test]
    fn every_state_and_event() {
        use StopEvent::{Ended, Hurry, Looked, Signalled, StopAll, Tick};
        let now = Instant::now();
        let (soon, later) = (now + HURRY / 2, now + 10 * HURRY);
        let orphans = |until, look| Stop::Orphans { until, look };
        let asked = |until| Stop::Asked { until };
        let killed = |until, look| Stop::OrphansKilled { until, look };
        let helpers = Stop::helpers(now);
        let next = now + LOOK;
        let to = |event, state| (event, state, StopAction::Nothing);
        let ask = |event, state| (event, state, StopAction::Ask);

        for until in [later, soon, now] {
            let mut changes = vec![
                ask(Ended(Left::Parts), orphans(until, next)),
                ask(Ended(Left::Unknown), orphans(until, next)),
                to(Ended(Left::Helpers), helpers),
                to(Ended(Left::Nothing), Stop::Gone),
                ask(Hurry, asked(Some(until.min(now + HURRY)))),
            ];
            changes.extend((until == now).then_some((Tick, Stop::killed(now), StopAction::Kill)));
            check(asked(Some(until)), now, &changes);

            for look in [next, now] {
                let mut changes = vec![
                    to(Looked(Left::Parts), orphans(until, next)),
                    to(Looked(Left::Unknown), orphans(until, next)),
                    to(Looked(Left::Helpers), helpers),
                    to(Looked(Left::Nothing), Stop::Gone),
                    ask(Hurry, orphans(until.min(now + HURRY), look)),
                    ask(StopAll(None), orphans(until, look)),
                    ask(StopAll(Some(8 * HURRY)), orphans(until, look)),
                ];
                match (until == now, look == now) {
                    (true, _) => changes.push((Tick, killed(now + LAST, next), StopAction::Kill)),
                    (false, true) => changes.push((Tick, orphans(until, next), StopAction::Look)),
                    (false, false) => {}
                }
                check(orphans(until, look), now, &changes);
            }
        }
        let ended = ALL.map(|left| to(Ended(left), Stop::Gone));
        let refused = to(Signalled { refused: true }, Stop::Unkillable);
        let overdue = (Tick, Stop::Unkillable, StopAction::GiveUp);
        check(Stop::Killed { until: later }, now, &[&ended[..], &[refused]].concat());
        check(Stop::Killed { until: now }, now, &[&ended[..], &[refused, overdue]].concat());
        for (until, look) in [(later, next), (later, now), (now, next), (now, now)] {
            let mut changes = vec![
                refused,
                (Looked(Left::Parts), killed(until, look), StopAction::Kill),
                (Looked(Left::Unknown), killed(until, look), StopAction::Kill),
                to(Looked(Left::Helpers), helpers),
                to(Looked(Left::Nothing), Stop::Gone),
            ];
            match (until == now, look == now) {
                (true, _) => changes.push(overdue),
                (false, true) => changes.push((Tick, killed(until, next), StopAction::Look)),
                (false, false) => {}
            }
            check(killed(until, look), now, &[&ended[..], &changes].concat());
        }
        check(Stop::Unkillable, now, &ended);
        check(Stop::Gone, now, &[]);
        for look in [now, later] {
            let state = Stop::Helpers { look };
            let mut changes = vec![
                to(Looked(Left::Nothing), Stop::Gone),
                ask(StopAll(None), state),
                ask(StopAll(Some(8 * HURRY)), orphans(now + 8 * HURRY, now)),
            ];
            changes.extend((look == now).then_some((Tick, helpers, StopAction::Look)));
            check(state, now, &changes);
        }
        check(
            asked(None),
            now,
            &[
                ask(Ended(Left::Parts), helpers),
                ask(Ended(Left::Unknown), helpers),
                to(Ended(Left::Helpers), helpers),
                to(Ended(Left::Nothing), Stop::Gone),
                ask(Hurry, asked(Some(now + HURRY))),
            ],
        );
    }

    /// The same for one that drains.
    #[test]
    fn every_event_while_draining() {
        use StopEvent::{Ended, Hurry, StopAll, Tick};
        let now = Instant::now();
        let times = [None, Some(2 * HURRY)];
        let limits = [None, Some(now + HURRY / 2), Some(now + 20 * HURRY)];
        let moments = [(now, now + HURRY), (now + HURRY, now), (now + 9 * HURRY, now + 9 * HURRY)];
        let holds = [None, Some(now), Some(now - LONGEST_HOLD)];
        for (time, limit) in times.into_iter().flat_map(|time| limits.map(|limit| (time, limit))) {
            for ((ask, look), held) in moments.into_iter().flat_map(|moment| holds.map(|held| (moment, held))) {
                let drain = Drain { ask, look, held, time, limit };
                let on = Stop::Draining;
                let until = time.map(|time| now + time).into_iter().chain(limit).min();
                let asked = Stop::Asked { until };
                let left = until.map_or(Stop::helpers(now), |until| Stop::Orphans { until, look: now + LOOK });
                let hurried = now + HURRY;
                let stop_all = Drain { ask: ask.min(now + 4 * HURRY), limit: Some(now + 8 * HURRY), ..drain };
                let later = on(Drain { held: None, look: now + PAUSE, ..drain });
                let mut changes = vec![
                    (served(Clients::Some), later, StopAction::Nothing),
                    (served(Clients::Unseen), asked, StopAction::Ask),
                    (served(Clients::ItsOwn), asked, StopAction::Ask),
                    (Ended(Left::Parts), left, StopAction::Ask),
                    (Ended(Left::Unknown), left, StopAction::Ask),
                    (Ended(Left::Helpers), Stop::helpers(now), StopAction::Nothing),
                    (Ended(Left::Nothing), Stop::Gone, StopAction::Nothing),
                    (StopAll(Some(8 * HURRY)), on(stop_all), StopAction::Nothing),
                    (
                        Hurry,
                        Stop::Asked { until: Some(limit.map_or(hurried, |limit| limit.min(hurried))) },
                        StopAction::Ask,
                    ),
                ];
                changes.push(match held {
                    None => {
                        let held = Drain { held: Some(now), look: now + HOLD, ..drain };
                        (served(Clients::None), on(held), StopAction::Hold)
                    }
                    Some(_) => (served(Clients::None), asked, StopAction::Ask),
                });
                changes.push(match held {
                    Some(since) if since == now => {
                        (served(Clients::NotHeld), on(Drain { look: now + HOLD, ..drain }), StopAction::Nothing)
                    }
                    _ => (served(Clients::NotHeld), later, StopAction::Nothing),
                });
                if ask <= now {
                    changes.push((Tick, asked, StopAction::Ask));
                } else if look <= now {
                    let looked = Drain { look: now + 2 * CLIENTS_LOOK, ..drain };
                    changes.push((Tick, on(looked), StopAction::LookForClients));
                }
                check(on(drain), now, &changes);
                assert_eq!((on(drain).deadline(), on(drain).is_held()), (Some(ask.min(look)), held.is_some()));
            }
        }
    }

    #[test]
    fn without_a_time_nothing_is_killed_or_waited_for() {
        let now = Instant::now();
        let orphans = Stop::Orphans { until: now + HURRY, look: now + LOOK };
        for left in [Left::Parts, Left::Unknown] {
            assert_eq!(Stop::left(left, None, now), Stop::helpers(now));
            assert_eq!(Stop::left(left, Some(HURRY), now), orphans);
        }
        for time in [None, Some(HURRY)] {
            assert_eq!(Stop::left(Left::Helpers, time, now), Stop::helpers(now));
            assert_eq!(Stop::left(Left::Nothing, time, now), Stop::Gone);
        }
        assert_eq!(orphans.deadline(), Some(now + LOOK));
        let states =
            [Stop::helpers(now), Stop::Unkillable, Stop::Gone, Stop::killed(now), Stop::draining(HURRY, None, now)];
        assert_eq!(states.map(Stop::is_awaited), [false, false, false, true, true]);
    }
}
