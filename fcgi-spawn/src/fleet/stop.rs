//! A process that is to stop: asked, given time, killed. Its whole group goes with it.
//!
//! ```text
//!                  deadline: Kill          refused, deadline
//!     Asked ---------------------------> Killed ---------------> Unkillable
//!       |  Ended, others are left          ^  |  Ended                |  Ended
//!       +------------------------> Orphans-+  |                       |
//!       |  Ended                      |       |                       |
//!       +-----------------------------+-------+-----------------------+--> Gone
//!                          none is left
//! ```

use std::time::{Duration, Instant};

/// Between two looks for processes that a leader left in its group: the kernel does not report their end.
const LOOK: Duration = Duration::from_millis(100);

/// What is left of the time at the second request to stop.
const HURRY: Duration = Duration::from_secs(1);

/// How long a killed process is waited for.
pub(super) const LAST: Duration = Duration::from_millis(900);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The group was asked to stop, and is killed at this time.
    Asked { until: Option<Instant> },
    /// The same, but its leader has ended.
    Orphans { until: Instant, look: Instant },
    /// The group was killed; only the leader's end has to be seen, unless it `has_ended`.
    Killed { until: Instant, has_ended: bool },
    /// It could not be killed, or did not end: it is not waited for.
    Unkillable,
    /// None of its processes is left.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopEvent {
    /// The leader ended and is reaped; `others` reports whether there are processes left in the group.
    Ended { others: bool },
    /// What a look at the group found.
    Looked { others: bool },
    /// The signal that kills the group was sent, or was `refused`.
    Signalled { refused: bool },
    /// A second request to stop.
    Hurry,
    /// Time has passed.
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopAction {
    Nothing,
    /// See whether there are processes in the group; `Looked` follows.
    Look,
    /// Kill the group; `Signalled` follows.
    Kill,
    /// Report that it has not ended.
    GiveUp,
}

impl Stop {
    /// Of a process that is being asked to stop; without a time it is never killed.
    pub(crate) fn asked(time: Option<Duration>, now: Instant) -> Self {
        Stop::Asked { until: time.map(|time| now + time) }
    }

    /// Of a process that is being killed.
    pub(crate) fn killed(now: Instant) -> Self {
        Stop::Killed { until: now + LAST, has_ended: false }
    }

    /// Of what a process that ended by itself has left in its group.
    pub(crate) fn orphans(time: Option<Duration>, now: Instant) -> Self {
        match time {
            Some(time) => Stop::Orphans { until: now + time, look: now + LOOK },
            None => Stop::Gone,
        }
    }

    /// Whether a stop of everything has to wait for it.
    pub(crate) fn is_awaited(self) -> bool {
        !matches!(self, Stop::Unkillable | Stop::Gone)
    }

    /// When it wants the next `Tick`.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Stop::Asked { until } => until,
            Stop::Orphans { until, look } => Some(until.min(look)),
            Stop::Killed { until, .. } => Some(until),
            Stop::Unkillable | Stop::Gone => None,
        }
    }

    /// The table. An event that cannot happen in a state changes nothing.
    pub(crate) fn on(&mut self, event: StopEvent, now: Instant) -> StopAction {
        use Stop::{Asked, Gone, Killed, Orphans, Unkillable};
        use StopEvent::{Ended, Hurry, Looked, Signalled, Tick};
        let stay = (*self, StopAction::Nothing);
        let hurried = now + HURRY;

        let (state, action) = match (*self, event) {
            (Asked { until: Some(until) }, Tick) if now >= until => (Stop::killed(now), StopAction::Kill),
            (Asked { until: Some(until) }, Ended { others: true }) => {
                (Orphans { until, look: now + LOOK }, StopAction::Nothing)
            }
            (Asked { .. }, Ended { .. }) => (Gone, StopAction::Nothing),
            (Asked { until }, Hurry) => {
                (Asked { until: Some(until.map_or(hurried, |until| until.min(hurried))) }, StopAction::Nothing)
            }
            (Asked { .. }, Looked { .. } | Signalled { .. } | Tick) => stay,

            (Orphans { until, .. }, Tick) if now >= until => {
                (Killed { until: now + LAST, has_ended: true }, StopAction::Kill)
            }
            (Orphans { look, .. }, Tick) if now >= look => (*self, StopAction::Look),
            (Orphans { until, .. }, Looked { others: true }) => {
                (Orphans { until, look: now + LOOK }, StopAction::Nothing)
            }
            (Orphans { .. }, Looked { others: false }) => (Gone, StopAction::Nothing),
            (Orphans { until, look }, Hurry) => (Orphans { until: until.min(hurried), look }, StopAction::Nothing),
            (Orphans { .. }, Ended { .. } | Signalled { .. } | Tick) => stay,

            (Killed { until, .. }, Tick) if now >= until => (Unkillable, StopAction::GiveUp),
            (Killed { has_ended: true, .. }, Signalled { .. }) => (Gone, StopAction::Nothing),
            (Killed { .. }, Signalled { refused: true }) => (Unkillable, StopAction::Nothing),
            (Killed { .. } | Unkillable, Ended { .. }) => (Gone, StopAction::Nothing),
            (Killed { .. } | Unkillable, Looked { .. } | Signalled { .. } | Hurry | Tick) => stay,

            (Gone, Ended { .. } | Looked { .. } | Signalled { .. } | Hurry | Tick) => stay,
        };
        *self = state;
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of a state and an event. What is not named here changes nothing.
    #[test]
    fn every_state_and_event() {
        use StopEvent::{Ended, Hurry, Looked, Signalled, Tick};
        let now = Instant::now();
        let (soon, later) = (now + HURRY / 2, now + 10 * HURRY);
        let orphans = |until, look| Stop::Orphans { until, look };
        let asked = |until| Stop::Asked { until };
        let killed = |until, has_ended| Stop::Killed { until, has_ended };
        let next = now + LOOK;
        let both = |event: fn(bool) -> StopEvent| [true, false].map(event);
        let mut events = vec![Hurry, Tick];
        events.extend(both(|refused| Signalled { refused }));
        events.extend(both(|others| Ended { others }));
        events.extend(both(|others| Looked { others }));

        let check = |state: Stop, changes: &[(StopEvent, Stop, StopAction)]| {
            for event in &events {
                let named = changes.iter().find(|(named, ..)| named == event);
                let want = named.map_or((state, StopAction::Nothing), |(_, state, action)| (*state, *action));
                let mut stop = state;
                let action = stop.on(*event, now);
                assert_eq!((stop, action), want, "{state:?} and {event:?}");
            }
        };
        let gone = |event| (event, Stop::Gone, StopAction::Nothing);

        for until in [later, soon, now] {
            let mut changes = vec![
                (Ended { others: true }, orphans(until, next), StopAction::Nothing),
                gone(Ended { others: false }),
                (Hurry, asked(Some(until.min(now + HURRY))), StopAction::Nothing),
            ];
            changes.extend((until == now).then_some((Tick, Stop::killed(now), StopAction::Kill)));
            check(asked(Some(until)), &changes);

            for look in [next, now] {
                let mut changes = vec![
                    (Looked { others: true }, orphans(until, next), StopAction::Nothing),
                    gone(Looked { others: false }),
                    (Hurry, orphans(until.min(now + HURRY), look), StopAction::Nothing),
                ];
                match (until == now, look == now) {
                    (true, _) => changes.push((Tick, killed(now + LAST, true), StopAction::Kill)),
                    (false, true) => changes.push((Tick, orphans(until, look), StopAction::Look)),
                    (false, false) => {}
                }
                check(orphans(until, look), &changes);
            }
        }
        let ended = [Ended { others: true }, Ended { others: false }].map(gone);
        let refused = (Signalled { refused: true }, Stop::Unkillable, StopAction::Nothing);
        let overdue = (Tick, Stop::Unkillable, StopAction::GiveUp);
        check(killed(later, false), &[&ended[..], &[refused]].concat());
        check(killed(now, false), &[&ended[..], &[refused, overdue]].concat());
        let signalled = both(|refused| Signalled { refused }).map(gone);
        check(killed(later, true), &[ended, signalled].concat());
        check(Stop::Unkillable, &ended);
        check(Stop::Gone, &[]);
        let mut changes = ended.to_vec();
        changes.push((Hurry, asked(Some(now + HURRY)), StopAction::Nothing));
        check(asked(None), &changes);
    }

    #[test]
    fn without_a_time_nothing_is_killed_or_waited_for() {
        let now = Instant::now();
        assert_eq!(Stop::asked(None, now).deadline(), None);
        assert_eq!(Stop::orphans(None, now), Stop::Gone);
        assert_eq!(Stop::asked(Some(HURRY), now).deadline(), Some(now + HURRY));
        assert_eq!(Stop::orphans(Some(HURRY), now).deadline(), Some(now + LOOK));
    }
}
