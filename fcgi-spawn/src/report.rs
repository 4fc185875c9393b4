//! What the page about the workers says of a fleet.

use std::time::{Duration, Instant};

use crate::files::page::{LastExit, Row, Word};
use crate::fleet::note::End;
use crate::fleet::worker::{Process, State};
use crate::fleet::{Fleet, Phase};

/// All workers, and the processes that are stopping.
pub(crate) fn rows(fleet: &Fleet, now: Instant) -> Vec<Row> {
    let empty = if fleet.phase == Phase::Serving && fleet.is_on_demand() { Word::Idle } else { Word::Stopped };
    let mut rows = Vec::new();
    for (slot, its) in fleet.slots.iter().enumerate() {
        let (state, next_start) = match its.worker.state {
            State::Empty => (empty, None),
            State::Waiting { until } => (Word::Waiting, Some(until.saturating_duration_since(now))),
            State::Due | State::Launching { .. } | State::Starting { .. } => (Word::Starting, None),
            State::Running(_) => (Word::Running, None),
            State::Replacing { .. } => (Word::Reloading, None),
        };
        let last_exit = its.last_end.as_ref().map(|end| match end {
            End::Process(_, status, _) => LastExit::Status(*status),
            End::NotStarted(_) => LastExit::NotStarted,
        });
        rows.push(row(slot, its.worker.process(), state, its.ends, last_exit, next_start, now));
    }
    for stopping in &fleet.stopping {
        rows.push(row(stopping.slot, Some(stopping.process), Word::Stopping, 0, None, None, now));
    }
    rows
}

fn row(
    slot: usize,
    process: Option<Process>,
    state: Word,
    restarts: u64,
    last_exit: Option<LastExit>,
    next_start: Option<Duration>,
    now: Instant,
) -> Row {
    let age = process.map(|process| now.saturating_duration_since(process.since));
    let pid = process.map(|process| process.pid);
    Row { number: slot + 1, pid, state, age, restarts, last_exit, next_start, rss: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::random::Random;
    use crate::fleet::{Event, Rules};
    use crate::{Address, Config};

    #[test]
    fn a_place_without_a_process_waits_for_work_only_on_demand() {
        for on_demand in [true, false] {
            let mut config = Config::new(Address::Unix("unused".into()), Vec::new());
            config.on_demand = on_demand;
            let (now, mut fleet) = (Instant::now(), Fleet::new(Rules::of(&config), Random::new(0)));
            let words = |fleet: &Fleet| rows(fleet, now).iter().map(|row| row.state).collect::<Vec<_>>();
            assert_eq!(words(&fleet), [Word::Stopped], "before the start");
            fleet.on(Event::Begin, now);
            assert_eq!(words(&fleet), [if on_demand { Word::Idle } else { Word::Starting }]);
            fleet.on(Event::Stop, now);
            assert_eq!(words(&fleet), [Word::Stopped]);
        }
    }
}
