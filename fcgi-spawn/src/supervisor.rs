//! The process that keeps the workers running: one thread around one `poll`. What happens next is
//! decided in `worker`; here it is done, and said.

use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, ExitStatus};
use std::time::Instant;

use crate::child::Plan;
use crate::duration::Human;
use crate::error::Reason;
use crate::identity::Identity;
use crate::listener::Listener;
use crate::pid_file::PidFile;
use crate::restart::Restart;
use crate::signals::{self, Signals};
use crate::sys::{self, CallerSignals};
use crate::worker::{Action, Event, State, Worker};
use crate::{Config, Error, privileges};

/// The listening socket, the workers behind it, and what keeps them running.
///
/// There is one in a process, and the process has one thread. The socket stays open as long as it
/// lives: while workers are away, clients wait. If the process is killed the workers get SIGTERM.
pub struct Supervisor {
    listener: Listener,
    pid_file: Option<PidFile>,
    plan: Plan,
    workers: Vec<Worker>,
    signals: Signals,
    /// Whether a worker did not end when it was asked to.
    killed: bool,
}

impl Supervisor {
    /// Binds the socket, starts the workers, and writes the pid file when all execute the program.
    ///
    /// # Errors
    ///
    /// The first thing that went wrong; what was made before it is undone, workers included.
    pub fn start(config: &Config) -> Result<Self, Error> {
        let caller = CallerSignals::look();
        let pid_file = config.pid_file.as_deref().map(|path| PidFile::new(path, config.mkdir)).transpose()?;
        let identity = Identity::of_workers(config)?;
        let owner = Identity::of_socket(config, &identity)?;
        // Also what a look-up may have left open.
        sys::close_inherited_on_exec();
        let signals =
            Signals::install().map_err(|error| Error::new(format!("cannot handle signals: {}", Reason(&error))))?;
        let plan = Plan::supervised(config, privileges::of_workers(config, identity)?, caller)?;
        let listener = Listener::bind(config, owner)?;

        let now = Instant::now();
        let worker = || Worker::new(Restart::fixed(config.restart_delay), config.stop_timeout, now);
        let workers = (0..config.workers).map(|_| worker()).collect();
        let mut supervisor = Supervisor { listener, pid_file, plan, workers, signals, killed: false };

        match supervisor.bring_up() {
            Ok(()) => {
                log::info!("listening on {}", config.address);
                Ok(supervisor)
            }
            Err(error) => {
                supervisor.stop();
                supervisor.run()?;
                Err(error)
            }
        }
    }

    /// Keeps the workers running until SIGTERM or SIGINT, then stops them: SIGTERM to each process
    /// group, SIGKILL to those still there after [`Config::stop_timeout`].
    ///
    /// Returns the exit status: 0, or 1 if something had to be killed.
    ///
    /// # Errors
    ///
    /// Only if the kernel refuses to wait.
    pub fn run(mut self) -> Result<u8, Error> {
        loop {
            // Before reaping: a child that ends in between rings again.
            for signal in self.signals.take() {
                if signal != libc::SIGCHLD {
                    log::info!("{}: stopping", signals::name(signal));
                    self.stop();
                }
            }
            self.reap();
            self.tell_all(Event::Tick);
            if self.workers.iter().all(|worker| worker.state() == State::Stopped) {
                return Ok(self.killed.into());
            }
            self.wait()?;
        }
    }

    /// The first start, at which a program that cannot be executed ends everything.
    fn bring_up(&mut self) -> Result<(), Error> {
        for slot in 0..self.workers.len() {
            self.start_worker(slot)?;
        }
        match &mut self.pid_file {
            Some(pid_file) => pid_file.write(&process::id().to_string()),
            None => Ok(()),
        }
    }

    fn stop(&mut self) {
        self.tell_all(Event::Stop);
    }

    fn tell_all(&mut self, event: Event) {
        let now = Instant::now();
        for slot in 0..self.workers.len() {
            self.tell(slot, event, now);
        }
    }

    /// Tells a worker what happened and does what is to be done then.
    fn tell(&mut self, slot: usize, event: Event, now: Instant) {
        let number = slot + 1;
        match self.workers[slot].on(event, now) {
            Action::Nothing => {}
            Action::Start => self.start_again(slot),
            Action::Terminate(pid) => sys::signal_group(pid, libc::SIGTERM),
            Action::Kill(pid) => {
                log::warn!("worker {number} (pid {pid}) does not stop, killed");
                sys::signal_group(pid, libc::SIGKILL);
                self.killed = true;
            }
        }
    }

    fn start_again(&mut self, slot: usize) {
        if let Err(error) = self.start_worker(slot) {
            let now = Instant::now();
            self.tell(slot, Event::NotStarted, now);
            log::warn!("worker {}: {error}{}", slot + 1, self.next(slot, now));
        }
    }

    fn start_worker(&mut self, slot: usize) -> Result<(), Error> {
        let pid = self.plan.start(self.listener.as_fd())?;
        log::info!("worker {} (pid {pid}) started", slot + 1);
        self.tell(slot, Event::Started(pid), Instant::now());
        Ok(())
    }

    /// Takes note of every child that ended.
    fn reap(&mut self) {
        while let Some((pid, status)) = sys::reap() {
            let now = Instant::now();
            let found = self.workers.iter().enumerate().find_map(|(slot, worker)| {
                let process = worker.process().filter(|process| process.pid == pid)?;
                Some((slot, process))
            });
            // As process 1 of a container we are also given orphans that never were ours.
            let Some((slot, process)) = found else { continue };

            self.tell(slot, Event::Exited, now);
            let (number, how, life) = (slot + 1, Ended(status), Human(now - process.since));
            let next = self.next(slot, now);
            log::info!("worker {number} (pid {pid}) {how} after {life}{next}");
        }
    }

    /// What is next for a worker that does not run, as the end of a log line.
    fn next(&self, slot: usize, now: Instant) -> String {
        match self.workers[slot].state() {
            State::Waiting { until } => format!(", restart in {}", Human(until - now)),
            State::Running(_) | State::Stopping { .. } | State::Killed(_) | State::Stopped => String::new(),
        }
    }

    /// Sleeps until a signal arrives or the first worker wants to be told the time.
    fn wait(&self) -> Result<(), Error> {
        let deadline = self.workers.iter().filter_map(Worker::deadline).min();
        let timeout = deadline.map(|then| then.saturating_duration_since(Instant::now()));
        sys::wait_readable(self.signals.as_fd(), timeout)
            .map_err(|error| Error::new(format!("cannot wait for events: {}", Reason(&error))))
    }
}

/// How a process ended, as a verb.
struct Ended(ExitStatus);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "exited {code}"),
            (None, Some(signal)) => write!(f, "was killed by {}", signals::name(signal)),
            (None, None) => write!(f, "ended: {}", self.0),
        }
    }
}
