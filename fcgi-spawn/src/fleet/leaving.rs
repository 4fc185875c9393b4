//! A process on its way out: asked, given time, killed. Its whole group goes with it.
//!
//! ```text
//!              deadline: Kill
//!     Asked ------------------> Killed -- Ended --> Gone
//!       |  Ended, others are left          deadline: Kill  ^
//!       +------------------------> Orphans ----------------+
//!       |  Ended                      |  none is left      |
//!       +-----------------------------+--------------------+
//! ```

use std::time::{Duration, Instant};

/// Between two looks for processes that a leader left in its group: nobody tells us when they end.
const LOOK: Duration = Duration::from_millis(100);

/// What is left of the time when somebody asks again.
const HURRY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// The group was asked to leave, and is killed at this time.
    Asked { until: Option<Instant> },
    /// The same, but its leader has left.
    Orphans { until: Instant, look: Instant },
    /// The group was killed; only the leader's end has to be seen.
    Killed,
    /// Nobody is left.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The leader ended and is reaped; `others` says whether there are processes left in the group.
    Ended { others: bool },
    /// What a look at the group found.
    Looked { others: bool },
    /// Somebody is in a hurry.
    Hurry,
    /// Time has passed.
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    /// See whether there are processes in the group; the answer is `Looked`.
    Look,
    /// Kill the group.
    Kill,
}

impl Leaving {
    /// Of a process that is being asked to leave; without a time it is never killed.
    pub(crate) fn asked(time: Option<Duration>, now: Instant) -> Self {
        Leaving::Asked { until: time.map(|time| now + time) }
    }

    /// Of what a process that ended by itself has left in its group.
    pub(crate) fn orphans(time: Option<Duration>, now: Instant) -> Self {
        match time {
            Some(time) => Leaving::Orphans { until: now + time, look: now + LOOK },
            None => Leaving::Gone,
        }
    }

    /// When it wants the next `Tick`.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Leaving::Asked { until } => until,
            Leaving::Orphans { until, look } => Some(until.min(look)),
            Leaving::Killed | Leaving::Gone => None,
        }
    }

    /// The table. An event that cannot happen in a state changes nothing.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Action {
        use Event::{Ended, Hurry, Looked, Tick};
        use Leaving::{Asked, Gone, Killed, Orphans};
        let stay = (*self, Action::Nothing);
        let hurried = now + HURRY;

        let (state, action) = match (*self, event) {
            (Asked { until: Some(until) }, Tick) if now >= until => (Killed, Action::Kill),
            (Asked { until: Some(until) }, Ended { others: true }) => {
                (Orphans { until, look: now + LOOK }, Action::Nothing)
            }
            (Asked { .. }, Ended { .. }) => (Gone, Action::Nothing),
            (Asked { until }, Hurry) => {
                (Asked { until: Some(until.map_or(hurried, |until| until.min(hurried))) }, Action::Nothing)
            }
            (Asked { .. }, Looked { .. } | Tick) => stay,

            (Orphans { until, .. }, Tick) if now >= until => (Gone, Action::Kill),
            (Orphans { look, .. }, Tick) if now >= look => (*self, Action::Look),
            (Orphans { until, .. }, Looked { others: true }) => (Orphans { until, look: now + LOOK }, Action::Nothing),
            (Orphans { .. }, Looked { others: false }) => (Gone, Action::Nothing),
            (Orphans { until, look }, Hurry) => (Orphans { until: until.min(hurried), look }, Action::Nothing),
            (Orphans { .. }, Ended { .. } | Tick) => stay,

            (Killed, Ended { .. }) => (Gone, Action::Nothing),
            (Killed, Looked { .. } | Hurry | Tick) => stay,

            (Gone, Ended { .. } | Looked { .. } | Hurry | Tick) => stay,
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
        use Event::{Ended, Hurry, Looked, Tick};
        let now = Instant::now();
        let (soon, later) = (now + HURRY / 2, now + 10 * HURRY);
        let orphans = |until, look| Leaving::Orphans { until, look };
        let asked = |until| Leaving::Asked { until };
        let next = now + LOOK;
        let both = |event: fn(bool) -> Event| [true, false].map(event);
        let mut events = vec![Hurry, Tick];
        events.extend(both(|others| Ended { others }));
        events.extend(both(|others| Looked { others }));

        let check = |state: Leaving, changes: &[(Event, Leaving, Action)]| {
            for event in &events {
                let named = changes.iter().find(|(named, ..)| named == event);
                let want = named.map_or((state, Action::Nothing), |(_, state, action)| (*state, *action));
                let mut leaving = state;
                let action = leaving.on(*event, now);
                assert_eq!((leaving, action), want, "{state:?} and {event:?}");
            }
        };
        let gone = |event| (event, Leaving::Gone, Action::Nothing);

        for until in [later, soon, now] {
            let mut changes = vec![
                (Ended { others: true }, orphans(until, next), Action::Nothing),
                gone(Ended { others: false }),
                (Hurry, asked(Some(until.min(now + HURRY))), Action::Nothing),
            ];
            changes.extend((until == now).then_some((Tick, Leaving::Killed, Action::Kill)));
            check(asked(Some(until)), &changes);

            for look in [next, now] {
                let mut changes = vec![
                    (Looked { others: true }, orphans(until, next), Action::Nothing),
                    gone(Looked { others: false }),
                    (Hurry, orphans(until.min(now + HURRY), look), Action::Nothing),
                ];
                match (until == now, look == now) {
                    (true, _) => changes.push((Tick, Leaving::Gone, Action::Kill)),
                    (false, true) => changes.push((Tick, orphans(until, look), Action::Look)),
                    (false, false) => {}
                }
                check(orphans(until, look), &changes);
            }
        }
        let ended = [Ended { others: true }, Ended { others: false }].map(gone);
        check(Leaving::Killed, &ended);
        check(Leaving::Gone, &[]);
        let mut changes = ended.to_vec();
        changes.push((Hurry, asked(Some(now + HURRY)), Action::Nothing));
        check(asked(None), &changes);
    }

    #[test]
    fn without_a_time_nobody_is_killed_or_waited_for() {
        let now = Instant::now();
        assert_eq!(Leaving::asked(None, now).deadline(), None);
        assert_eq!(Leaving::orphans(None, now), Leaving::Gone);
        assert_eq!(Leaving::asked(Some(HURRY), now).deadline(), Some(now + HURRY));
        assert_eq!(Leaving::orphans(Some(HURRY), now).deadline(), Some(now + LOOK));
    }
}
