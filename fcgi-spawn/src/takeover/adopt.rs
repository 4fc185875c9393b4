//! The two sides of SIGUSR2 in the supervisor: what it leaves behind, and what its successor takes over.
//!
//! The successor must not end, whatever the system refuses it: what it cannot have is missing, reported, and tried again
//! where it is needed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use crate::files::pid_file::PidFile;
use crate::files::status_file::StatusFile;
use crate::fleet::worker::Process;
use crate::handover::{Handover, Running};
use crate::notify::Notify;
use crate::output::{Output, Tag};
use crate::setup::Setup;
use crate::signals::Signals;
use crate::socket::listener::Listener;
use crate::socket::socket_file::SocketFile;
use crate::sys::{self, Pid};
use crate::takeover::upgrade::{Stage, Upgrade};
use crate::{Config, Error, Supervisor};

/// Makes something, in a second try if the first one fails, or reports what is missing from here on.
fn or_without<T>(what: &str, mut make: impl FnMut() -> Result<T, Error>) -> Option<T> {
    let made = make().or_else(|_| make());
    made.inspect_err(|error| log::error!("{error}; going on without {what}")).ok()
}

impl Supervisor {
    /// Takes over from another version of this program, which this process was a moment ago.
    pub(crate) fn adopt(config: &Config, state: &Handover, upgrade: Upgrade) -> Self {
        let now = Instant::now();
        let mut new = Supervisor::bare(Setup::new(config, state.signals), Notify::new(None, now), Some(upgrade), now);
        let stderr = state.log.and_then(sys::take_inherited);
        let open_log = |config: &Config| {
            let given = stderr.as_ref().map(OwnedFd::try_clone).transpose();
            Output::open(config, given.map_err(|error| Error::cannot("duplicate a descriptor", &error))?)
        };
        // The workers' pipes have to be read all the same.
        let stderr_instead = || open_log(&Config { log: None, foreground: true, ..config.clone() }).ok();
        new.output = or_without("the log", || open_log(config)).or_else(stderr_instead);
        let mut running = Vec::new();
        for worker in &state.workers {
            let [stdout, stderr, channel] = worker.pipes.map(|fd| fd.and_then(sys::take_inherited));
            let Some(pid) = Pid::handed_over(worker.pid) else { continue };
            // Only what is our child can be ours to signal; the predecessor has reaped the others.
            if !sys::is_child(pid) {
                new.adopt_helpers(worker.slot, pid, now);
                continue;
            }
            if let Some(output) = &mut new.output {
                output.take_over(Tag { number: worker.slot + 1, pid }, [stdout, stderr]);
            }
            channel.into_iter().for_each(|channel| new.channels.take_over(pid, channel, worker.reports, now));
            let age = sys::monotonic().saturating_sub(worker.started);
            running.push((worker.slot, Process::adopted(pid, age, worker.reports.is_ready, now)));
        }
        new.fleet.adopt(&running, now);
        new.fleet.last_reload.clone_from(&state.reload);
        new.watch =
            new.watch.map(|watch| watch.loaded_before(running.iter().map(|(_, process)| now - process.since).max()));
        let pid_file = |path| or_without("a pid file", || PidFile::adopt(path, state.made[1]));
        new.pid_file = config.pid_file.as_deref().and_then(pid_file);
        new.listener = or_without("a listening socket", || Listener::adopt(config, state));
        if let Some(listener) = &mut new.listener {
            or_without("removing it", || listener.adopt_file(config, state));
        }
        sys::close_inherited_on_exec();
        // No copy: when one is closed the lock is gone.
        let mut lock = state.page_lock.and_then(sys::take_inherited);
        let mut status = |path| or_without("a status file", || StatusFile::adopt(path, state.made[2], &mut lock, now));
        new.status = config.status.as_deref().and_then(&mut status);
        new.plan = or_without("workers", || new.setup.plan());
        new.signals = Signals::expect().ok();
        log::info!("version {} has taken over", env!("CARGO_PKG_VERSION"));
        new.notify.ready();
        // Signals of processes that ended on the way went to the predecessor.
        new.reap();
        new
    }

    /// Makes sure, in a child of the one that is to be replaced, that [`adopt`](Self::adopt) would succeed. Nothing is
    /// changed.
    pub(crate) fn prove(config: &Config, state: &Handover) -> Result<(), Error> {
        let mut listener = Listener::adopt(config, state)?;
        listener.adopt_file(config, state)?;
        // The file is not ours.
        listener.file.into_iter().for_each(SocketFile::keep);
        Setup::new(config, state.signals).plan().map(drop)
    }

    /// Does the next step of an upgrade, if there is one to do.
    pub(crate) fn further_upgrade(&mut self) {
        let Some(mut upgrade) = self.upgrade.take() else { return };
        upgrade.tick(Instant::now());
        if matches!(upgrade.stage, Stage::Wanted | Stage::Proven) && self.fleet.is_settled() {
            self.output.iter_mut().for_each(Output::end_lines);
            upgrade.go_on(&self.survive_exec(true));
            self.survive_exec(false);
        }
        self.upgrade = Some(upgrade);
    }

    /// Has everything that is handed over survive an exec, or not. Returns what the successor needs.
    fn survive_exec(&self, survives: bool) -> Handover {
        let hand_over = |fd: BorrowedFd<'_>| sys::survive_exec(fd, survives);
        let file = self.listener.as_ref().and_then(|listener| listener.file.as_ref());
        let pid_file = self.pid_file.as_ref().map_or(0, PidFile::made);
        let status = self.status.as_ref().map_or(0, StatusFile::made);
        let workers = self.fleet.slots.iter().enumerate().filter_map(|(slot, its)| {
            let process = its.worker.process()?;
            let (channel, reports) = self.channels.end(process.pid).unzip();
            let [stdout, stderr] = self.output.as_ref().map_or([None; 2], |output| output.ends(process.pid));
            let pipes = [stdout, stderr, channel].map(|end| end.map(hand_over));
            let started = sys::monotonic().saturating_sub(process.since.elapsed());
            Some(Running { slot, pid: process.pid.number(), started, pipes, reports: reports.unwrap_or_default() })
        });
        Handover {
            listener: self.listener.as_ref().map(|listener| hand_over(listener.as_fd())),
            socket_file: file.and_then(SocketFile::identity),
            made: [file.map_or(0, SocketFile::made), pid_file, status],
            signals: self.setup.signals(),
            page_lock: self.status.as_ref().and_then(StatusFile::lock).map(hand_over),
            log: self.output.as_ref().and_then(|output| output.log().hand_over(survives)),
            reload: self.fleet.last_reload.clone(),
            workers: workers.chain(self.helpers()).collect(),
        }
    }
}
