//! The process that keeps the workers running: one thread around one `poll`. What happens next is decided in `fleet`;
//! here it is done, and said.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process;
use std::time::Instant;

use crate::files::folders::Folders;
use crate::files::pid_file::PidFile;
use crate::files::status::{self, StatusFile, Summary};
use crate::fleet::note::{Cause, Note};
use crate::fleet::random::Random;
use crate::fleet::{Action, Event, Fleet, Phase, Rules};
use crate::notify::Notify;
use crate::output::logger;
use crate::output::{self, Log, Output, Pipes, Tag};
use crate::poll::Poll;
use crate::process::child::Plan;
use crate::process::heartbeat::Heartbeats;
use crate::process::identity::Identity;
use crate::process::privileges;
use crate::process::ready::Ready;
use crate::process::usage::{self, Clients};
use crate::process::watch::Watch;
use crate::signals::{self, Signals};
use crate::socket::inherited::Given;
use crate::socket::listener::Listener;
use crate::socket::socket_file::SocketFile;
use crate::sys::{self, CallerSignals};
use crate::takeover::handover::State;
use crate::takeover::upgrade::Upgrade;
use crate::{Config, Error};

/// The listening socket, the workers behind it, and what keeps them running.
///
/// There is one in a process, and the process has one thread. The socket stays open as long as it
/// lives: while workers are away, clients wait. If the process is killed the workers get the stop signal.
pub struct Supervisor {
    /// In front of those that made the folder it may be in, and take that away again.
    status: Option<StatusFile>,
    listener: Listener,
    pid_file: Option<PidFile>,
    plan: Plan,
    fleet: Fleet,
    signals: Signals,
    output: Option<Output>,
    heartbeats: Option<Heartbeats>,
    notify: Notify,
    stop_signal: i32,
    ready: Ready,
    watch: Option<Watch>,
    /// Whether workers are stopped when they are idle.
    measures_idleness: bool,
    /// Why the first start failed.
    failure: Option<Error>,
    caller: (u64, u64),
    upgrade: Option<Upgrade>,
}

/// Who wakes the supervisor up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Signals,
    /// A worker has written something.
    Output(output::Id),
    /// The log takes lines again.
    Log,
    /// A worker says that it is well.
    Heartbeat,
    /// A connection waits.
    Listener,
    /// A process is ready.
    Ready,
    /// The program that is to take our place says something.
    Upgrade,
}

impl Supervisor {
    /// Binds the socket, starts the workers, and writes the pid file when all are up: those that say so have said
    /// so, the others execute the program and have lived for 250 ms or failed to.
    ///
    /// It also returns when it was told to stop meanwhile; [`run`](Self::run) has nothing to do then but to stop.
    ///
    /// # Errors
    ///
    /// The first thing that went wrong; what was made before it is undone, workers included.
    pub fn start(config: &Config) -> Result<Self, Error> {
        Supervisor::start_with(config, Given::take(config)?)
    }

    pub(crate) fn start_with(config: &Config, given: Given) -> Result<Self, Error> {
        let caller = CallerSignals::look();
        let pid_file = config.pid_file.as_deref().map(|path| PidFile::new(path, config.mkdir)).transpose()?;
        let identity = Identity::of_workers(config)?;
        let owner = Identity::of_socket(config, &identity)?;
        // Also what a look-up may have left open.
        sys::close_inherited_on_exec();
        let signals = expect_signals()?;
        let bits = caller.bits();
        let (ready, their_end) = ready()?;
        let heartbeats = config.heartbeat.map(Heartbeats::new).transpose()?;
        let their_heart = heartbeats.as_ref().map(Heartbeats::their_end).transpose()?;
        let privileges = privileges::of_workers(config, identity)?;
        let plan = Plan::supervised(config, privileges, caller, their_end, their_heart)?;
        let listener = match given.listener {
            Some(socket) => Listener { socket, file: None },
            None => Listener::bind(config, owner)?,
        };
        let log = config.log.as_ref().map(|to| Log::open(to, None)).transpose()?;
        log.iter().for_each(logger::direct_to);
        let now = Instant::now();
        let status = config.status.as_deref().map(|path| StatusFile::new(path, now)).transpose()?;
        let fleet = Fleet::new(Rules::of(config), random(config));
        let mut supervisor = Supervisor {
            listener,
            pid_file,
            plan,
            fleet,
            signals,
            output: log.map(Output::new),
            heartbeats,
            notify: Notify::new(given.ready, now),
            status,
            stop_signal: config.stop_signal,
            ready,
            watch: Watch::of(config, Instant::now()),
            measures_idleness: config.on_demand && config.idle.is_some(),
            failure: None,
            caller: bits,
            upgrade: None,
        };
        supervisor.tell(Event::Begin);
        while supervisor.fleet.phase == Phase::First {
            supervisor.turn()?;
        }
        if supervisor.failure.is_some() {
            supervisor.stop()?;
        }
        match supervisor.failure.take() {
            Some(error) => Err(error),
            None => {
                log::info!("listening on {}", config.address);
                Ok(supervisor)
            }
        }
    }

    /// Takes over from another version of this program, which this process was a moment ago.
    ///
    /// # Errors
    ///
    /// What [`prove`](Self::prove) should have found.
    pub(crate) fn adopt(config: &Config, state: &State) -> Result<Self, Error> {
        let listener = Listener::adopt(config, state)?;
        let (ready, their_end) = ready()?;
        let now = Instant::now();
        let heartbeats = config.heartbeat.map(|limit| Heartbeats::take_over(limit, state, now)).transpose()?;
        let their_heart = heartbeats.as_ref().map(Heartbeats::their_end).transpose()?;
        let plan = plan_again(config, state, their_end, their_heart)?;
        sys::close_inherited_on_exec();
        let folders = Folders::adopt(state.folders[1].clone());
        let pid = process::id().to_string();
        let pid_file = config.pid_file.as_deref().map(|path| PidFile::adopt(path, pid, folders)).transpose()?;
        let signals = expect_signals()?;
        let stderr = state.log.and_then(sys::take_inherited);
        let log = config.log.as_ref().map(|to| Log::open(to, stderr)).transpose()?;
        log.iter().for_each(logger::direct_to);
        let mut output = log.map(Output::new);
        output.iter_mut().for_each(|output| output.take_over(state));
        let status = config.status.as_deref().map(|path| StatusFile::new(path, now)).transpose()?;
        let fleet = Fleet::adopt(Rules::of(config), random(config), state, now);
        let mut supervisor = Supervisor {
            listener,
            pid_file,
            plan,
            fleet,
            signals,
            output,
            heartbeats,
            notify: Notify::new(None, now),
            status,
            stop_signal: config.stop_signal,
            ready,
            watch: Watch::of(config, now).map(|watch| watch.with_loaded(&state.watched)),
            measures_idleness: config.on_demand && config.idle.is_some(),
            failure: None,
            caller: state.signals,
            upgrade: None,
        };
        log::info!("version {} has taken over", env!("CARGO_PKG_VERSION"));
        supervisor.notify.ready();
        // Who ended on the way has rung for somebody else.
        supervisor.reap();
        Ok(supervisor)
    }

    /// Makes sure, in a child of the one that is to be replaced, that [`adopt`](Self::adopt) would succeed. Nothing is
    /// changed.
    pub(crate) fn prove(config: &Config, state: &State) -> Result<(), Error> {
        let listener = Listener::adopt(config, state)?;
        // The file is not ours.
        if let Some(file) = listener.file {
            file.keep();
        }
        let (_, their_end) = ready()?;
        plan_again(config, state, their_end, None).map(drop)
    }

    /// Lets SIGUSR2 replace this program.
    pub(crate) fn replaceable(mut self, upgrade: Upgrade) -> Self {
        self.upgrade = Some(upgrade);
        self
    }

    /// Whether it is up, and was not told to stop.
    pub fn is_up(&self) -> bool {
        self.fleet.phase == Phase::Serving
    }

    /// Keeps the workers running until SIGTERM or SIGINT, then stops them: [`Config::stop_signal`] to each process
    /// group, SIGKILL to those still there after [`Config::stop_timeout`].
    ///
    /// Returns the exit status: 0, or 1 if something had to be killed, or if a worker failed
    /// [`Config::give_up`] times in a row.
    ///
    /// # Errors
    ///
    /// Only if the kernel refuses to wait.
    pub fn run(mut self) -> Result<u8, Error> {
        self.stop()?;
        Ok(self.fleet.exit_status())
    }

    /// Works until everything is stopped.
    fn stop(&mut self) -> Result<(), Error> {
        while !self.fleet.is_over() {
            self.turn()?;
        }
        if let Some(output) = &self.output {
            output.log().finish();
        }
        Ok(())
    }

    /// Sleeps, and does what there is to do then.
    fn turn(&mut self) -> Result<(), Error> {
        for source in self.wait()? {
            match source {
                Source::Signals => self.heed_signals(),
                Source::Listener => self.tell(Event::Waiting(true)),
                Source::Ready => self.ready.heard().into_iter().for_each(|(pid, _)| self.tell(Event::Ready(pid))),
                Source::Upgrade => self.upgrade.iter_mut().for_each(Upgrade::listen),
                Source::Output(stream) => {
                    if let Some(output) = &mut self.output {
                        output.read(stream);
                    }
                }
                Source::Heartbeat => {
                    if let Some(hearts) = &mut self.heartbeats {
                        hearts.listen(Instant::now());
                    }
                }
                Source::Log => self.output.iter().for_each(|output| output.log().flush()),
            }
        }
        if self.watch.as_mut().is_some_and(|watch| watch.look(Instant::now())) {
            self.tell(Event::Reload(Cause::Changed));
        }
        self.tell(Event::Tick);
        self.look_for_silence();
        self.report();
        self.further_upgrade();
        Ok(())
    }

    /// Does the next step of an upgrade, if there is one to do.
    fn further_upgrade(&mut self) {
        let now = Instant::now();
        let Some(mut upgrade) = self.upgrade.take() else { return };
        upgrade.tick(now);
        if self.fleet.is_settled() {
            if upgrade.is_wanted() {
                upgrade.prove(&self.state(now), self.listener.as_fd());
            } else if upgrade.is_proven() {
                let mut state = self.state(now);
                self.hand_over(true, &mut state);
                upgrade.take_place(&state, self.listener.as_fd());
                self.hand_over(false, &mut state);
            }
        }
        self.upgrade = Some(upgrade);
    }

    /// Has what workers write to survive an exec, or not.
    fn hand_over(&mut self, survives: bool, state: &mut State) {
        if let Some(output) = &mut self.output {
            output.hand_over(survives, state);
        }
        if let Some(hearts) = &self.heartbeats {
            hearts.hand_over(survives, state);
        }
    }

    /// What whoever comes after us needs to know.
    fn state(&self, now: Instant) -> State {
        let file = self.listener.file.as_ref();
        let list = |folders: Option<&Folders>| folders.map(|folders| folders.list().to_vec()).unwrap_or_default();
        let mut state = State {
            listener: self.listener.as_fd().as_raw_fd(),
            socket_file: file.map(SocketFile::identity),
            folders: [list(file.map(SocketFile::folders)), list(self.pid_file.as_ref().map(PidFile::folders))],
            signals: self.caller,
            watched: self.watch.as_ref().map(Watch::loaded).unwrap_or_default(),
            ..State::default()
        };
        self.fleet.hand_over(&mut state, now);
        state
    }

    /// Sleeps until somebody has something to do, and says who.
    fn wait(&self) -> Result<Vec<Source>, Error> {
        let full_log = self.output.as_ref().and_then(|output| output.log().waits_for());
        let mut poll = Poll::new();
        poll.readable(&self.signals, Source::Signals);
        if let Some(output) = &self.output {
            output.streams().for_each(|(id, pipe)| poll.readable(pipe, Source::Output(id)));
        }
        if let Some(hearts) = &self.heartbeats {
            poll.readable(hearts, Source::Heartbeat);
            poll.until(hearts.deadline());
        }
        poll.until(self.notify.deadline());
        poll.until(self.status.as_ref().map(StatusFile::deadline));
        if let Some(log) = &full_log {
            poll.writable(log, Source::Log);
        }
        if self.fleet.watches_listener() {
            poll.readable(&self.listener, Source::Listener);
        }
        poll.readable(&self.ready, Source::Ready);
        if let Some(upgrade) = &self.upgrade {
            if let Some(output) = upgrade.output() {
                poll.readable(output, Source::Upgrade);
            }
            poll.until(upgrade.deadline());
        }
        poll.until(self.fleet.deadline());
        poll.until(self.watch.as_ref().map(Watch::deadline));
        poll.wait().map_err(|error| Error::cannot("wait for events", &error))
    }

    fn look_for_silence(&mut self) {
        let Some(hearts) = &mut self.heartbeats else { return };
        let time = hearts.limit();
        for pid in hearts.silent(Instant::now()) {
            self.tell(Event::Silent { pid, time });
        }
    }

    /// Tells whoever wants to know how the workers are.
    fn report(&mut self) {
        let now = Instant::now();
        self.notify.tick(now);
        if self.status.is_none() && !self.notify.wants_status() {
            return;
        }
        let mut rows = status::rows(&self.fleet, now);
        self.notify.status(&Summary::of(rows.iter().map(|row| row.state)).to_string());
        if let Some(status) = &mut self.status {
            status.update(&mut rows, now);
        }
    }

    fn heed_signals(&mut self) {
        for signal in self.signals.take() {
            match signal {
                libc::SIGTERM | libc::SIGINT => {
                    log::info!("{}: stopping", signals::name(signal));
                    self.notify.stopping();
                    self.tell(Event::Stop);
                }
                libc::SIGHUP => self.tell(Event::Reload(Cause::Asked)),
                libc::SIGTTIN => self.tell(Event::OneMore),
                libc::SIGTTOU => self.tell(Event::OneLess),
                libc::SIGUSR1 => self.reopen_logs(),
                libc::SIGUSR2 => self.upgrade.iter_mut().for_each(Upgrade::ask),
                libc::SIGCHLD => self.reap(),
                _ => {}
            }
        }
    }

    fn reopen_logs(&mut self) {
        match self.output.as_ref().map(|output| output.log().reopen()) {
            Some(Ok(())) => log::info!("SIGUSR1: log opened again"),
            Some(Err(error)) => log::error!("SIGUSR1: {error}, the old log stays"),
            None => {}
        }
    }

    /// Takes note of every child that ended.
    fn reap(&mut self) {
        while let Some((pid, status)) = sys::reap() {
            if let Some(output) = &mut self.output {
                output.ended(pid);
            }
            if let Some(hearts) = &mut self.heartbeats {
                hearts.ended(pid);
            }
            if !self.upgrade.as_mut().is_some_and(|upgrade| upgrade.ended(pid, status)) {
                self.tell(Event::Ended { pid, status, others: sys::group_is_left(pid) });
            }
        }
    }

    /// Tells the fleet what happened, and does what is to be done then.
    fn tell(&mut self, event: Event) {
        let mut actions = VecDeque::from(self.fleet.on(event, Instant::now()));
        while let Some(action) = actions.pop_front() {
            if let Some(event) = self.act(action) {
                actions.extend(self.fleet.on(event, Instant::now()));
            }
        }
    }

    /// Does something; there may be an answer.
    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start(slot) => return Some(self.start_worker(slot)),
            Action::Ask(pid) => sys::signal_group(pid, self.stop_signal),
            Action::Kill(pid) => sys::signal_group(pid, libc::SIGKILL),
            Action::LookAtGroup(pid) => return Some(Event::Looked { pid, others: sys::group_is_left(pid) }),
            Action::LookAtListener => return Some(Event::Waiting(self.connection_waits())),
            Action::Measure(pid) => {
                let listener = self.listener.as_fd().as_raw_fd();
                let clients = || usage::inode(listener).and_then(Clients::of);
                let clients = self.measures_idleness.then(clients).flatten();
                return Some(Event::Measured { pid, usage: usage::of_worker(pid, clients.as_ref()) });
            }
            Action::Say(note) => {
                log::log!(note.level(), "{note}");
                match note {
                    Note::Reloading(_) => self.notify.reloading(),
                    Note::Reloaded | Note::ReloadFailed => self.notify.ready(),
                    _ => {}
                }
            }
            Action::Up => {
                if let Some(Err(error)) = self.pid_file.as_mut().map(|file| file.write(&process::id().to_string())) {
                    self.failure = Some(error);
                    return Some(Event::Stop);
                }
                self.notify.ready();
            }
            Action::Fail(error) => self.failure = Some(error),
        }
        None
    }

    fn start_worker(&mut self, slot: usize) -> Event {
        let pipes = match self.output.as_ref().map(|_| Pipes::new()).transpose() {
            Ok(pipes) => pipes,
            Err(error) => {
                let error = Error::cannot("make a pipe", &error);
                return Event::NotStarted { slot, error };
            }
        };
        match self.plan.start(self.listener.as_fd(), pipes.as_ref().map(Pipes::theirs)) {
            Ok(pid) => {
                if let Some(hearts) = &mut self.heartbeats {
                    hearts.add(pid);
                }
                if let (Some(output), Some(pipes)) = (&mut self.output, pipes) {
                    output.add(Tag { number: slot + 1, pid }, pipes, self.fleet.slots.len());
                }
                Event::Started { slot, pid }
            }
            Err(error) => Event::NotStarted { slot, error: error.into() },
        }
    }

    fn connection_waits(&self) -> bool {
        let mut poll = Poll::new();
        poll.readable(&self.listener, ());
        poll.until(Some(Instant::now()));
        poll.wait().is_ok_and(|ready| !ready.is_empty())
    }
}

fn expect_signals() -> Result<Signals, Error> {
    Signals::expect().map_err(|error| Error::cannot("handle signals", &error))
}

fn random(config: &Config) -> Random {
    config.seed.map_or_else(Random::of_this_process, Random::new)
}

/// The plan that another supervisor had.
fn plan_again(config: &Config, state: &State, ready: OwnedFd, heart: Option<OwnedFd>) -> Result<Plan, Error> {
    let identity = Identity::of_workers(config)?;
    Plan::supervised(config, privileges::of_workers(config, identity)?, state.caller_signals(), ready, heart)
}

fn ready() -> Result<(Ready, OwnedFd), Error> {
    Ready::new().map_err(|error| Error::cannot("make a socket pair", &error))
}
