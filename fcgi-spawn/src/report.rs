//! What is reported of a fleet: by the page about the workers, and to systemd.

use std::time::{Duration, Instant};

use crate::Supervisor;
use crate::files::page::{LastExit, Listening, Reload, ReloadWord, Row, Summary, Word};
use crate::fleet::note::End;
use crate::fleet::worker::{Process, WorkerState};
use crate::fleet::{Fleet, LastReload, Phase, ReloadResult};
use crate::process::connections::Busy;
use crate::socket::listener::Listener;
use crate::sys::{self, Pid};

impl Supervisor {
    /// Reports how the workers are, if something may have changed.
    pub(crate) fn report(&mut self) {
        let now = Instant::now();
        self.notify.tick(now);
        match &mut self.status {
            Some(status) => {
                match self.fleet.phase {
                    Phase::Stopping => status.changed_for_all(),
                    _ if self.is_changed => status.changed(),
                    _ => {}
                }
                if !status.is_due(now) {
                    return;
                }
            }
            None if self.is_changed && self.notify.wants_status() => {}
            None => return,
        }
        self.is_changed = false;
        let mut rows = rows(&self.fleet, now);
        let summary = Summary::of(rows.iter().map(|row| row.state));
        let reload = reload(&self.fleet, now);
        self.notify.status(&match (reload.result, &reload.reason) {
            (ReloadWord::Running, _) => format!("{summary}; reloading"),
            (_, Some(reason)) => format!("{summary}; the last reload failed: {reason}"),
            _ => summary.to_string(),
        });
        let listening = self.listener.as_ref().map_or(Listening::Down, Listener::listening);
        let is_gone = listening == Listening::Gone;
        if is_gone && !self.said_gone {
            let address = &self.setup.config().address;
            log::error!(
                "the file of the listening socket {address} is gone, no client finds it: start fcgi-spawn anew"
            );
        }
        self.said_gone = is_gone;
        let busy = if self.status.is_some() { self.busy(now) } else { Busy::default() };
        let Some(status) = &mut self.status else { return };
        status.update(listening, busy, reload, &mut rows, now);
        if self.fleet.phase == Phase::Stopping {
            status.finish();
        }
    }

    /// What clients do. A look costs the more the more processes there are.
    fn busy(&mut self, now: Instant) -> Busy {
        let (busy, next) = self.busy;
        let Some(listener) = self.listener_inode().filter(|_| now >= next) else { return busy };
        let slots = self.fleet.slots.iter().flat_map(|slot| slot.worker.processes());
        let leaders: Vec<Pid> = slots.map(|process| process.pid).collect();
        let busy = Busy::of(listener, &leaders);
        self.busy = (busy, now + (20 * now.elapsed()).max(Duration::from_secs(1)));
        busy
    }
}

/// All workers, and the processes that are stopping.
fn rows(fleet: &Fleet, now: Instant) -> Vec<Row> {
    let mut rows = Vec::new();
    for (slot, its) in fleet.slots.iter().enumerate() {
        let (state, next_start) = match its.worker.state {
            WorkerState::Empty if fleet.phase != Phase::Serving => (Word::Stopped, None),
            WorkerState::Empty if fleet.is_on_demand() && slot < fleet.wanted() => (Word::Idle, None),
            // There were more workers before.
            WorkerState::Empty => continue,
            WorkerState::Waiting { until } => (Word::Waiting, Some(until.saturating_duration_since(now))),
            WorkerState::Due | WorkerState::Launching { .. } | WorkerState::Starting { .. } => (Word::Starting, None),
            WorkerState::Running(_) => (Word::Running, None),
            WorkerState::Replacing { .. } | WorkerState::Both { .. } => (Word::Reloading, None),
        };
        let last_exit = its.last_end.as_ref().map(|end| match end {
            End::Process { status, .. } => LastExit::Status(*status),
            End::NotStarted(_) => LastExit::NotStarted,
        });
        rows.push(row(slot, its.worker.process(), state, its.ends, last_exit, next_start, now));
    }
    for stopping in fleet.stopping.iter().filter(|stopping| !stopping.state.helps()) {
        rows.push(row(stopping.slot, Some(stopping.process), Word::Stopping, 0, None, None, now));
    }
    rows
}

/// How the last reload went.
fn reload(fleet: &Fleet, now: Instant) -> Reload {
    let Some(LastReload { number, result }) = &fleet.last_reload else {
        return Reload { number: 0, result: ReloadWord::None, until: None, reason: None };
    };
    let (result, until, reason) = match result {
        ReloadResult::UnderWay { until } => (ReloadWord::Running, Some(*until), None),
        ReloadResult::Done => (ReloadWord::Done, None, None),
        ReloadResult::Failed(reason) => (ReloadWord::Failed, None, Some(reason.clone())),
    };
    let until = until.map(|until| sys::monotonic() + until.saturating_duration_since(now));
    Reload { number: *number, result, until, reason }
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
    use crate::sys::Pid;
    use crate::{Address, Config};

    fn words(fleet: &Fleet, now: Instant) -> Vec<Word> {
        rows(fleet, now).iter().map(|row| row.state).collect()
    }

    #[test]
    fn a_place_without_a_process_waits_for_work_only_on_demand() {
        let mut config = Config::new(Address::Unix("unused".into()), Vec::new());
        config.on_demand = true;
        let (now, mut fleet) = (Instant::now(), Fleet::new(Rules::of(&config), Random::new(0)));
        assert_eq!(words(&fleet, now), [Word::Stopped], "before the start");
        fleet.on(Event::Begin, now);
        assert_eq!(words(&fleet, now), [Word::Idle]);
        fleet.on(Event::OneMore, now);
        assert_eq!(words(&fleet, now), [Word::Idle, Word::Idle]);
        fleet.on(Event::OneLess, now);
        assert_eq!(words(&fleet, now), [Word::Idle]);
        fleet.on(Event::Stop, now);
        assert_eq!(words(&fleet, now), [Word::Stopped, Word::Stopped]);

        (config.on_demand, config.workers) = (false, 2);
        let mut fleet = Fleet::new(Rules::of(&config), Random::new(0));
        fleet.on(Event::Begin, now);
        for (slot, pid) in [(0, Pid::for_test(1001)), (1, Pid::for_test(1002))] {
            fleet.on(Event::Forked { slot, pid, version: 1 }, now);
            fleet.on(Event::Ready(pid), now);
        }
        fleet.on(Event::OneLess, now);
        assert_eq!(words(&fleet, now), [Word::Running, Word::Stopping]);
    }
}
