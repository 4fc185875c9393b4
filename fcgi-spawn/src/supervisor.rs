//! The process that keeps the workers running: one thread around one `poll`. What happens next is decided in `fleet`;
//! here it is done, and logged.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{mem, process};

use crate::files::pid_file::PidFile;
use crate::files::status_file::StatusFile;
use crate::fleet::demand::Reported;
use crate::fleet::note::{Cause, Note};
use crate::fleet::random::Random;
use crate::fleet::{Action, Event, Fleet, Phase, Rules};
use crate::notify::Notify;
use crate::output::{self, Output, Pipes, Tag};
use crate::poll::Poll;
use crate::process::channel::{self, Channels, Heartbeat};
use crate::process::clients::Places;
use crate::process::connections::{Busy, Connections};
use crate::process::orphans::Orphans;
use crate::process::usage;
use crate::process::watch::{Versions, Watch};
use crate::setup::Setup;
use crate::signals::{self, Signals};
use crate::socket::inherited::Given;
use crate::socket::listener::Listener;
use crate::sys::{self, CallerSignals, Launch, Pid, Progress};
use crate::takeover::upgrade::Upgrade;
use crate::{Config, Error};

/// The listening socket, the workers behind it, and what keeps them running.
///
/// There is one in a process, and the process has one thread. The socket stays open as long as it
/// lives: while workers are away, clients wait. If the process is killed the workers get the stop signal.
pub struct Supervisor {
    /// In front of those that made the directory it may be in, and remove that again.
    pub(crate) status: Option<StatusFile>,
    /// How to make what is missing of the next ones.
    pub(crate) setup: Setup,
    pub(crate) listener: Option<Listener>,
    pub(crate) plan: Option<crate::process::child::Plan>,
    pub(crate) pid_file: Option<PidFile>,
    pub(crate) fleet: Fleet,
    /// Processes on their way to the program.
    pub(crate) launches: Vec<Launch>,
    pub(crate) signals: Option<Signals>,
    pub(crate) output: Option<Output>,
    pub(crate) channels: Channels,
    pub(crate) notify: Notify,
    pub(crate) watch: Option<Watch>,
    versions: Versions,
    /// Until then a listening socket that was shut down is left alone: workers may do it again and again.
    pub(crate) listener_pause: Option<Instant>,
    /// A stop has begun: workers go on until those that have connected are served, at most until then.
    pub(crate) closing: Option<Instant>,
    /// What clients did at the last look, and when there may be another.
    pub(crate) busy: (Busy, Instant),
    /// Something may have changed since the last report.
    pub(crate) is_changed: bool,
    /// It was reported where it listens.
    said_listening: bool,
    /// It was reported that the socket's file is gone.
    pub(crate) said_gone: bool,
    /// Why the first start failed.
    pub(crate) failure: Option<Error>,
    pub(crate) upgrade: Option<Upgrade>,
    /// What workers execute, and what those that ended have left in their groups.
    pub(crate) orphans: Orphans,
    /// Processes that a signal has stopped for a moment, and where they waited before.
    pub(crate) held: Vec<(Pid, Places)>,
    /// There may be more children that ended.
    has_more_ended: bool,
    /// How long looks for clients have taken in this turn.
    pub(crate) looked: Duration,
}

/// What wakes the supervisor up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Signals,
    /// A worker has written something: one of many, or this one.
    Outputs,
    Output(output::Id),
    /// The log has room again.
    Log,
    /// A worker has something to report: one of many, or this one.
    Channels,
    Channel(Pid),
    /// A connection waits.
    Listener,
    /// A worker has shut down the listening socket.
    ListenerDown,
    /// A process has executed the program, or has failed to.
    Launch(Pid),
}

/// How long to wait before what was refused by the system is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How many children that ended are looked at in a turn: a worker can have us inherit as many as it likes.
const REAPED: usize = 64;

impl Supervisor {
    /// Binds the socket, starts the workers, and writes the pid file when all are up: those that report it have done
    /// so, the others execute the program and have lived for 250 ms or failed to.
    ///
    /// It also returns when it was told to stop meanwhile; [`run`](Self::run) has nothing to do then but to stop.
    ///
    /// # Errors
    ///
    /// The first thing that went wrong; what was made before it is undone, workers included.
    pub fn start(config: &Config) -> Result<Self, Error> {
        Supervisor::start_with(config, Given::take(config)?, None)
    }

    /// With an `upgrade` SIGUSR2 replaces this program.
    pub(crate) fn start_with(config: &Config, given: Given, upgrade: Option<Upgrade>) -> Result<Self, Error> {
        let caller = CallerSignals::look();
        // First, so that every error is in it.
        let output = Some(Output::open(config, given.log)?);
        let setup = Setup::new(config, caller.bits());
        // Look-ups may take long: a signal ends them, and there is nothing to remove yet.
        let owner = setup.owner()?;
        // Also what a look-up may have left open.
        sys::close_inherited_on_exec();
        let signals = Signals::expect().map_err(|error| Error::cannot("handle signals", &error))?;
        let pid_file = config.pid_file.as_deref().map(|path| PidFile::new(path, config.mkdir)).transpose()?;
        let plan = setup.plan()?;
        let listener = match given.listener {
            Some(socket) => Listener::given(socket),
            None => Listener::bind(config, owner)?,
        };
        let now = Instant::now();
        let status = config.status.as_deref().map(|path| StatusFile::new(path, config.mkdir, now)).transpose()?;
        let mut supervisor = Supervisor {
            status,
            listener: Some(listener),
            plan: Some(plan),
            pid_file,
            signals: Some(signals),
            output,
            ..Supervisor::bare(setup, Notify::new(given.ready, now), upgrade, now)
        };
        supervisor.said_listening = false;
        supervisor.tell(Event::Begin);
        while supervisor.fleet.phase == Phase::First {
            supervisor.turn();
        }
        if supervisor.failure.is_some() {
            supervisor.work();
        }
        match supervisor.failure.take() {
            Some(error) => Err(error),
            None => Ok(supervisor),
        }
    }

    /// One that has nothing but its rules yet.
    pub(crate) fn bare(setup: Setup, notify: Notify, upgrade: Option<Upgrade>, now: Instant) -> Self {
        let config = setup.config();
        sys::allow_descriptors();
        Supervisor {
            status: None,
            listener: None,
            plan: None,
            pid_file: None,
            fleet: Fleet::new(Rules::of(config), Random::of_this_process()),
            launches: Vec::new(),
            signals: None,
            output: None,
            channels: Channels::new(config.heartbeat),
            notify,
            watch: Watch::of(config, now),
            versions: Versions::of(config),
            listener_pause: None,
            closing: None,
            busy: (Busy::default(), now),
            is_changed: true,
            said_listening: true,
            said_gone: false,
            failure: None,
            upgrade,
            orphans: Orphans::default(),
            held: Vec::new(),
            has_more_ended: false,
            looked: Duration::ZERO,
            setup,
        }
    }

    /// Whether it is up, and was not told to stop.
    pub fn is_up(&self) -> bool {
        self.fleet.phase == Phase::Serving
    }

    /// Keeps the workers running until SIGTERM, SIGINT or SIGQUIT, then stops them: [`Config::stop_signal`] to each worker,
    /// SIGKILL to the groups of those still there after [`Config::stop_timeout`].
    ///
    /// Returns the exit status: 0, or 1 if something had to be killed, or if a worker failed
    /// [`Config::give_up`] times in a row.
    ///
    /// # Errors
    ///
    /// The pid file could not be written.
    pub fn run(mut self) -> Result<u8, Error> {
        self.work();
        match self.failure.take() {
            Some(error) => Err(error),
            None => Ok(self.fleet.exit_status()),
        }
    }

    /// Works until everything is stopped.
    fn work(&mut self) {
        while !self.fleet.is_over() {
            self.turn();
        }
        if self.failure.is_none() {
            log::info!("stopped");
        }
        if let Some(output) = &self.output {
            output.log().finish();
        }
    }

    /// Sleeps, and does what there is to do then.
    fn turn(&mut self) {
        self.looked = Duration::ZERO;
        for source in self.wait() {
            match source {
                Source::Signals => self.take_signals(),
                Source::Listener => self.tell(Event::Waiting(true)),
                Source::ListenerDown => self.bind_anew(),
                Source::Launch(pid) => self.follow_launch(pid),
                Source::Channels => self.channels.ready().into_iter().for_each(|pid| self.read_channel(pid)),
                Source::Channel(pid) => self.read_channel(pid),
                Source::Outputs => self.output.iter_mut().for_each(Output::read_ready),
                Source::Output(stream) => self.output.iter_mut().for_each(|output| output.read(stream)),
                Source::Log => self.output.iter().for_each(|output| output.log().flush_ready()),
            }
        }
        if self.has_more_ended {
            self.reap();
        }
        self.output.iter().for_each(|output| output.log().flush());
        if let Some(path) = self.watch.as_mut().and_then(|watch| watch.look(Instant::now())) {
            self.tell(Event::FileChanged(path));
        }
        self.close_further();
        self.tell(Event::Tick);
        for pid in self.channels.overdue(Instant::now()) {
            let time = self.channels.limit().unwrap_or_default();
            self.tell(Event::Overdue { pid, time });
        }
        self.report();
        self.further_upgrade();
    }

    /// Sleeps until there is something to do, and returns what. A refusal of the kernel is reported, and tried again.
    fn wait(&mut self) -> Vec<Source> {
        if self.signals.is_none() {
            // They are blocked, so none is lost meanwhile.
            self.signals = Signals::expect().ok();
        }
        let now = Instant::now();
        let full_log = self.output.as_ref().and_then(|output| output.log().waits_for());
        let mut poll = Poll::new();
        match &self.signals {
            Some(signals) => poll.readable(signals, Source::Signals),
            None => poll.until(Some(now + RETRY)),
        }
        self.launches.iter().for_each(|launch| poll.readable(launch, Source::Launch(launch.pid)));
        if let Some(output) = &self.output {
            output.begin_turn();
            output.set().into_iter().for_each(|set| poll.readable(set, Source::Outputs));
            output.not_in_set().for_each(|(id, pipe)| poll.readable(pipe, Source::Output(id)));
        }
        self.channels.set().into_iter().for_each(|set| poll.readable(set, Source::Channels));
        self.channels.not_in_set(now).for_each(|(pid, channel)| poll.readable(channel, Source::Channel(pid)));
        poll.until(self.channels.deadline(now));
        poll.until(self.output.as_ref().and_then(|output| output.log().deadline()));
        poll.until(self.notify.deadline());
        poll.until(self.status.as_ref().and_then(StatusFile::deadline));
        if let Some(log) = &full_log {
            poll.writable(log, Source::Log);
        }
        if let Some(listener) = self.listener.as_ref().filter(|_| self.fleet.watches_listener()) {
            poll.readable(listener, Source::Listener);
        }
        match self.listener_pause.filter(|until| now < *until) {
            None => self.listener.iter().for_each(|listener| poll.hung_up(listener, Source::ListenerDown)),
            until => poll.until(until),
        }
        poll.until(self.has_more_ended.then_some(now));
        poll.until(self.closing_look(now));
        poll.until(self.upgrade.as_ref().and_then(Upgrade::deadline));
        poll.until(self.fleet.deadline());
        poll.until(self.watch.as_ref().map(Watch::deadline));
        poll.wait()
    }

    fn read_channel(&mut self, pid: Pid) {
        if self.channels.read(pid, Instant::now()) {
            self.tell(Event::Ready(pid));
        }
    }

    fn take_signals(&mut self) {
        for signal in self.signals.as_ref().map(Signals::take).unwrap_or_default() {
            match signal {
                libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => {
                    log::info!("{}: stopping", signals::name(signal));
                    self.notify.stopping();
                    self.stop();
                }
                libc::SIGHUP | libc::SIGTTIN | libc::SIGTTOU | libc::SIGUSR2 if self.closing.is_some() => {}
                libc::SIGHUP => self.tell(Event::Reload(Cause::Asked)),
                libc::SIGTTIN => self.tell(Event::OneMore),
                libc::SIGTTOU => self.tell(Event::OneLess),
                libc::SIGUSR1 => self.output.iter().for_each(Output::reopen_log),
                libc::SIGUSR2 => self.upgrade.iter_mut().for_each(Upgrade::ask),
                libc::SIGCHLD => self.has_more_ended = true,
                _ => {}
            }
        }
    }

    /// Takes note of children that ended; of many, some in each turn.
    pub(crate) fn reap(&mut self) {
        self.has_more_ended = true;
        for _ in 0..REAPED {
            let Some((pid, status)) = sys::reap() else {
                self.has_more_ended = false;
                return;
            };
            // Why it ended may be there to be read.
            self.follow_launch(pid);
            self.launches.retain(|launch| launch.pid != pid);
            let said = self.output.as_mut().and_then(|output| output.ended(pid));
            self.channels.ended(pid);
            self.held.retain(|(held, _)| *held != pid);
            let is_ours = self.fleet.knows(pid);
            if !self.upgrade.as_mut().is_some_and(|upgrade| upgrade.ended(pid, status)) && is_ours {
                let left = self.orphans.left_by(pid, self.listener_inode());
                self.tell(Event::Ended { pid, status, left, said });
            }
        }
    }

    /// Reports what happened to the fleet, and does what is to be done then.
    pub(crate) fn tell(&mut self, event: Event) {
        self.is_changed |= !matches!(event, Event::Tick);
        let mut may_be_gone = event.may_end();
        let mut actions = VecDeque::from(self.fleet.on(event, Instant::now()));
        self.is_changed |= !actions.is_empty();
        while let Some(action) = actions.pop_front() {
            if let Some(event) = self.act(action) {
                may_be_gone |= event.may_end();
                actions.extend(self.fleet.on(event, Instant::now()));
            }
        }
        let fleet = &self.fleet;
        if may_be_gone {
            self.orphans.retain(|pid| fleet.knows(pid));
        }
        if fleet.phase == Phase::Stopping {
            self.upgrade.iter_mut().for_each(Upgrade::cancel);
            if let Some(listener) = &mut self.listener {
                listener.unlink();
                // Until all are asked their connections are looked for by it.
                if !fleet.drains() {
                    listener.turn_away();
                }
            }
        }
    }

    /// Does something; there may be an event that follows.
    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start(slot) => {
                // Before the start: a file that is exchanged meanwhile counts as another one.
                let version = self.versions.current();
                return Some(match self.launch(slot) {
                    Ok(pid) => Event::Forked { slot, pid, version },
                    Err(error) => Event::Refused { slot, error },
                });
            }
            Action::Identify(pid) => self.orphans.identify(pid),
            Action::LookForClients(pid) => return self.look_for_clients(pid),
            Action::Hold(pid) => return self.hold(pid),
            Action::Release(pid) => self.release(pid),
            Action::Ask(pid) => self.ask(pid),
            Action::Kill(pid) => return Some(self.kill(pid)),
            Action::LookAtGroup(pid) => return Some(self.look_at_group(pid)),
            Action::LookAtListener => return Some(Event::Waiting(self.connection_waits())),
            Action::Measure(pid) => {
                let reported = match self.channels.heartbeat(pid) {
                    None => Reported::Nothing,
                    Some(Heartbeat::AtWork) => Reported::AtWork,
                    Some(Heartbeat::Resting(since)) => Reported::Resting { since },
                };
                return Some(Event::Measured { pid, usage: self.measure(pid), reported });
            }
            Action::Say(note) => {
                // Of a start that fails the error is the only line.
                if !mem::replace(&mut self.said_listening, true) {
                    log::info!("listening on {}", self.setup.config().address);
                }
                log::log!(note.level(), "{note}");
                match note {
                    // The end of the start is reported first.
                    _ if self.fleet.phase == Phase::First => {}
                    Note::Reloading(_) | Note::FileChanged(_) => self.notify.reloading(),
                    Note::Reloaded | Note::ReloadFailed { .. } => {
                        self.notify.ready();
                        self.status.iter_mut().for_each(StatusFile::changed_for_all);
                    }
                    _ => {}
                }
            }
            Action::Up => {
                self.status.iter_mut().for_each(StatusFile::changed_for_all);
                if let Some(Err(error)) = self.pid_file.as_mut().map(|file| file.write(&process::id().to_string())) {
                    self.failure = Some(error);
                    return Some(Event::Stop);
                }
                // The page is there when readiness is reported.
                self.report();
                self.notify.ready();
            }
            Action::Fail(error) => self.failure = Some(error),
        }
        None
    }

    /// Starts a process for this worker.
    fn launch(&mut self, slot: usize) -> Result<Pid, Error> {
        if self.listener.is_none() {
            self.listener = Some(Listener::bind(self.setup.config(), self.setup.owner()?)?);
        }
        if self.plan.is_none() {
            self.plan = Some(self.setup.plan()?);
        }
        let (Some(listener), Some(plan)) = (&self.listener, &self.plan) else {
            return Err(Error::new("no listening socket"));
        };
        let failed = |error| Error::cannot("make a pipe", &error);
        let pipes = self.output.as_ref().map(Output::pipes).transpose().map_err(failed)?;
        let (channel, its_end): (OwnedFd, OwnedFd) = channel::pipe().map_err(failed)?;
        let theirs = pipes.as_ref().map_or([None; 2], Pipes::theirs);
        let launch = plan.launch(listener.as_fd(), theirs, Some(its_end.as_fd()))?;
        let pid = launch.pid;
        self.launches.push(launch);
        self.orphans.is_new(pid);
        self.channels.add(pid, channel, Instant::now());
        if let (Some(output), Some(pipes)) = (&mut self.output, pipes) {
            output.add(Tag { number: slot + 1, pid }, pipes);
        }
        Ok(pid)
    }

    /// Finds out how far a process is on its way to the program.
    fn follow_launch(&mut self, pid: Pid) {
        let Some(at) = self.launches.iter().position(|launch| launch.pid == pid) else { return };
        let event = match self.launches[at].progress() {
            Progress::UnderWay => return,
            Progress::Executed => Some(Event::Executed(pid)),
            Progress::Failed(failure) => {
                let is_shortage = crate::error::is_shortage(&failure.error());
                let error = self.plan.as_ref().map(|plan| plan.failed(failure).into());
                let error = error.unwrap_or_else(|| Error::new("it was not started"));
                Some(Event::NotExecuted { pid, error, is_shortage })
            }
            // SIGCHLD is on its way.
            Progress::Ended => None,
        };
        self.launches.remove(at);
        event.into_iter().for_each(|event| self.tell(event));
    }

    fn measure(&self, pid: Pid) -> crate::fleet::Usage {
        let config = self.setup.config();
        let connections = || self.listener_inode().and_then(Connections::of);
        let connections = (config.on_demand && config.idle.is_some()).then(connections).flatten();
        usage::of_worker(pid, connections.as_ref())
    }
}
