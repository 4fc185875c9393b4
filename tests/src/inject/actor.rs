//! What is done to a launcher, and what is expected of it then.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use super::site::{Launched, Site, read, signal, within};
use super::verdict::{Fault, Observed};
use crate::proc;

/// How long a worker may take to be up where it does not matter much.
const A_MOMENT: Duration = Duration::from_secs(1);

/// How many workers there are to be.
const WORKERS: usize = 2;

/// Options of each supervisor: all that it can be told to write, and short pauses.
pub(super) const OPTIONS: [&str; 19] = [
    "--supervise",
    "--status",
    "@page",
    "--log",
    "@log",
    "--restart-delay",
    "100ms",
    "--max-backoff",
    "1s",
    "--min-server-life",
    "20s",
    "--stop-timeout",
    "1s",
    "--heartbeat",
    "60s",
    "--max-age",
    "1000s",
    "--canary",
    "100ms",
];

/// A supervisor, and what is seen of it.
pub(super) struct Actor<'a> {
    pub(super) site: &'a Site,
    pub(super) seen: Observed,
    patience: Duration,
    launched: Launched,
    /// The supervisor, once it is known: in the background it is another process.
    supervisor: Option<u32>,
}

impl<'a> Actor<'a> {
    pub(super) fn start(site: &'a Site, command: &mut Command, patience: Duration) -> io::Result<Self> {
        let launched = site.start(command)?;
        Ok(Actor { site, seen: Observed::default(), patience, launched, supervisor: None })
    }

    pub(super) fn launched(&mut self) -> &mut Launched {
        &mut self.launched
    }

    pub(super) fn supervisor(&self) -> u32 {
        self.supervisor.unwrap_or(self.launched.pid())
    }

    /// Waits until the supervisor in the foreground is up, or refuses to start.
    pub(super) fn comes_up(&mut self) -> bool {
        let (site, supervisor) = (self.site, self.launched.pid());
        let launched = &mut self.launched;
        within(self.patience, || launched.ended().is_some() || pid_in_file(site) == Some(supervisor));
        if let Some(status) = self.launched.ended() {
            self.refused(status);
            return false;
        }
        if pid_in_file(self.site) != Some(supervisor) {
            if let Err(error) = self.site.request(self.patience) {
                self.seen.fault(Fault::Hang, format!("neither up nor ended after {:?}: {error}", self.patience));
                return false;
            }
            self.seen.missed("pid file");
        }
        self.seen.up = Some(now());
        true
    }

    /// Waits until the supervisor in the background is up, or its start is refused.
    pub(super) fn comes_up_in_the_background(&mut self) -> bool {
        let Some(status) = self.launched.ends_within(self.patience) else {
            self.seen.fault(Fault::Hang, format!("the starter has not ended after {:?}", self.patience));
            self.launched.signal(Signal::TERM);
            self.supervisor = self.site.processes().first().copied();
            return false;
        };
        if !status.success() {
            self.refused(status);
            return false;
        }
        let said = read(&self.site.beside("stdout"));
        let said = said.rsplit(' ').next().and_then(|pid| pid.trim().parse().ok());
        self.supervisor = pid_in_file(self.site).or(said);
        match self.supervisor {
            Some(pid) if proc::is_alive(pid) && self.site.processes().contains(&pid) => {
                if pid_in_file(self.site).is_none() || said.is_some_and(|said| said != pid) {
                    self.seen.missed("pid file");
                }
                self.seen.up = Some(now());
                true
            }
            Some(pid) => {
                self.seen.fault(Fault::WrongSuccess, format!("exit status 0, but there is no supervisor {pid}"));
                false
            }
            None => {
                self.seen.fault(Fault::WrongSuccess, "exit status 0, but neither a pid file nor a pid on stdout");
                false
            }
        }
    }

    /// It has ended instead of starting.
    pub(super) fn refused(&mut self, status: ExitStatus) {
        self.seen.refused = true;
        let lines = self.site.lines();
        let reason = lines.first().cloned().unwrap_or_default();
        if status.success() {
            self.seen.fault(Fault::WrongSuccess, format!("exit status 0, but it does not run: {reason}"));
        } else if status.signal().is_some() || lines.iter().any(|line| line.contains("panicked")) {
            self.seen.fault(Fault::Outage, format!("it crashed: {status}: {reason}"));
        }
        let said = read(&self.site.beside("stderr"));
        let log = read(&self.site.log());
        match said.lines().last() {
            None if status.signal().is_none() => {
                self.seen.fault(Fault::SilentLoss, format!("{status} without a reason on stderr"));
            }
            Some(last) if !log.is_empty() => {
                let reason = last.split_once(": ").map_or(last, |(_, reason)| reason);
                if !log.contains(reason) {
                    self.seen.fault(Fault::SilentLoss, format!("not in the log: {reason}"));
                }
            }
            _ => {}
        }
    }

    /// Whether the supervisor is there; if it is not, that is an outage.
    pub(super) fn is_there(&mut self, when: &str) -> bool {
        let pid = self.supervisor();
        let ended = if self.supervisor.is_none() { self.launched.ended() } else { None };
        if ended.is_none() && proc::is_alive(pid) {
            return true;
        }
        let how = ended.map(|status| format!(" ({status})")).unwrap_or_default();
        let last = self.site.lines().last().cloned().unwrap_or_default();
        self.seen.fault(Fault::Outage, format!("the supervisor is gone{how} {when}: {last}"));
        false
    }

    pub(super) fn answers(&mut self, when: &str) -> bool {
        match self.site.request(self.patience) {
            Ok(()) => true,
            Err(error) => {
                if self.is_there(when) {
                    self.seen.fault(Fault::Outage, format!("no answer {when}: {error}"));
                }
                false
            }
        }
    }

    pub(super) fn workers(&self) -> Vec<u32> {
        self.site.workers_of(self.supervisor())
    }

    /// Waits until there are as many workers as there should be, none of them one of `others`.
    pub(super) fn has_workers(&mut self, when: &str, others: &[u32]) -> bool {
        let full = |found: &[u32]| found.len() == WORKERS && !others.iter().any(|pid| found.contains(pid));
        if within(self.patience, || full(&self.workers())) {
            return true;
        }
        if self.is_there(when) {
            let found = self.workers();
            let old = found.iter().filter(|pid| others.contains(pid)).count();
            self.seen.fault(Fault::Outage, format!("{} workers instead of {WORKERS} {when}, {old} old", found.len()));
        }
        false
    }

    /// Kills a worker.
    pub(super) fn kill_worker(&mut self) -> Option<u32> {
        let worker = self.workers().first().copied();
        worker.into_iter().for_each(|pid| signal(pid, Signal::KILL));
        worker
    }

    /// A worker is killed; there has to be another one.
    pub(super) fn replaces_worker(&mut self) -> bool {
        let killed: Vec<u32> = self.kill_worker().into_iter().collect();
        self.has_workers("after a worker was killed", &killed)
    }

    /// SIGHUP: all workers are new ones, unless it is reported why not.
    pub(super) fn reloads(&mut self) -> bool {
        let before = self.workers();
        self.signal(Signal::HUP);
        let is_new = || {
            let found = self.workers();
            found.len() == WORKERS && !found.iter().any(|pid| before.contains(pid))
        };
        if !within(self.patience, is_new) {
            self.seen.missed("reload");
        }
        self.is_there("after a reload")
    }

    /// SIGUSR1: there is a new log, unless it is reported why not.
    pub(super) fn reopens_log(&mut self) -> bool {
        let _ = fs::rename(self.site.log(), self.site.run("log.1"));
        self.signal(Signal::USR1);
        if !within(self.patience, || self.site.log().exists()) {
            self.seen.missed("a new log");
        }
        self.is_there("after its log was to be opened again")
    }

    /// SIGTTIN and SIGTTOU: a worker more, and a worker less.
    pub(super) fn counts(&mut self) -> bool {
        for (step, count) in [(Signal::TTIN, WORKERS + 1), (Signal::TTOU, WORKERS)] {
            self.signal(step);
            if !within(self.patience, || self.workers().len() == count) {
                self.seen.missed(format!("{count} workers after {step:?}"));
            }
            // One that is not up yet may end without a line.
            within(A_MOMENT, || read(&self.site.page()).matches(" running ").count() == count);
        }
        self.is_there("after more and less workers")
    }

    /// The page has each worker.
    pub(super) fn has_page(&mut self) {
        let is_true = || {
            let page = read(&self.site.page());
            let workers = self.workers();
            let is_up = |pid: &u32| page.contains(&format!(" {pid} running "));
            !workers.is_empty() && workers.iter().all(is_up)
        };
        if !within(self.patience, is_true) {
            self.seen.missed("the workers in the page");
        }
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        match self.supervisor {
            Some(pid) if self.site.processes().contains(&pid) => self::signal(pid, signal),
            Some(_) => {}
            None => self.launched.signal(signal),
        }
    }

    /// Ends what was not refused.
    pub(super) fn stops_unless_refused(&mut self) {
        if !self.seen.refused && self.launched.ended().is_none_or(|_| self.supervisor.is_some()) {
            self.stops();
        }
    }

    /// SIGTERM: it ends on time.
    pub(super) fn stops(&mut self) {
        self.signal(Signal::TERM);
        match self.supervisor {
            Some(pid) => {
                if !within(self.patience, || !proc::is_alive(pid)) {
                    self.seen.fault(Fault::Hang, format!("a stop takes longer than {:?}", self.patience));
                }
            }
            None => match self.launched.ends_within(self.patience) {
                Some(status) if status.success() => {}
                Some(status) => match status.signal() {
                    Some(_) => self.seen.fault(Fault::Outage, format!("it crashed at the stop: {status}")),
                    None => self.seen.missed(format!("exit status 0 after a stop, but {status}")),
                },
                None => self.seen.fault(Fault::Hang, format!("a stop takes longer than {:?}", self.patience)),
            },
        }
    }

    /// Nothing is left, and no line is lost.
    pub(super) fn ends(mut self) -> Observed {
        self.leaves_no_process();
        let left = self.site.left();
        if !left.is_empty() && !self.hangs() {
            self.seen.fault(Fault::Litter, left.join(" "));
        }
        self.seen.keep(self.site.lines());
        self.seen
    }

    /// It still runs, so everything is still there.
    fn hangs(&self) -> bool {
        self.seen.faults.iter().any(|(fault, _)| *fault == Fault::Hang)
    }

    pub(super) fn leaves_no_process(&mut self) {
        if !self.hangs() && !within(self.patience, || self.site.processes().is_empty()) {
            let names = self.site.processes().into_iter().map(|pid| {
                let state = proc::status(pid, "State").concat();
                format!("{} {state}", proc::name(pid).unwrap_or_default())
            });
            self.seen.fault(Fault::LeftProcess, names.collect::<Vec<_>>().join(", "));
        }
    }
}

fn pid_in_file(site: &Site) -> Option<u32> {
    read(&site.pid_file()).trim().parse().ok()
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
