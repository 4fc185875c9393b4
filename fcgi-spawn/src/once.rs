//! What spawn-fcgi does: bind, give up root's rights, start the workers, look after them for a moment, and end.

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::files::made::{Files, Made};
use crate::files::pid_file::PidFile;
use crate::process::child::{Plan, StartError};
use crate::process::identity::Identity;
use crate::process::privileges;
use crate::socket::listener::Listener;
use crate::sys::{self, CallerSignals, Held, Owner, Pid, Privileges};
use crate::{Config, Error, signals};

/// How long a worker has to live to have been started successfully, as with spawn-fcgi.
const WINDOW: Duration = Duration::from_millis(100);

/// How long workers of a start that failed may take to end before they are killed.
const STOP: Duration = Duration::from_secs(1);

/// What became of the workers.
pub(crate) struct Started {
    /// Those that run.
    pub(crate) pids: Vec<Pid>,
    /// The exit status: 0, or the last one by which a worker has failed.
    pub(crate) status: u8,
}

/// Starts the workers and leaves them to themselves. In the foreground it becomes the one worker itself
/// and returns only an error.
///
/// # Errors
///
/// Whatever keeps a worker from being started; what was made is undone then, workers included. That a worker did not
/// live is reported here, and counts for the status.
pub(crate) fn run(config: &Config) -> Result<Started, Error> {
    let signals = CallerSignals::look();
    sys::expect_children();
    // As with spawn-fcgi, the pid file comes before the users; it is made after them: look-ups may take long, a signal ends
    // them, and there is nothing to remove yet.
    if let Some(path) = config.pid_file.as_deref().filter(|_| !config.foreground) {
        PidFile::check(path, config.mkdir)?;
    }
    let identity = Identity::of_workers(config)?;
    let owner = Identity::of_socket(config, &identity)?;
    // Also what a look-up may have left open.
    sys::close_inherited_on_exec();
    let privileges = privileges::of_workers(config, &identity)?;
    let plan = Plan::new(config, &identity, signals)?;
    let held = Held::hold();
    make(config, owner, &privileges, &plan, &held).inspect_err(|_| held.release())
}

/// Makes the files and starts the workers; a signal that is held meanwhile undoes both.
fn make(config: &Config, owner: Owner, privileges: &Privileges, plan: &Plan, held: &Held) -> Result<Started, Error> {
    let pid_file = config.pid_file.as_deref().filter(|_| !config.foreground);
    let pid_file = pid_file.map(|path| PidFile::new(path, config.mkdir)).transpose()?;
    let Listener { socket, file, .. } = Listener::bind(config, owner)?;

    let files = Files { socket: file, pid_file };
    let (made, socket) = match privileges.are_less() {
        true => Made::with_keeper(files, socket)?,
        false => (Made::Us(Box::new(files)), socket),
    };
    let started = privileges::take_on(privileges).and_then(|()| match config.foreground {
        true => Err(become_worker(plan, &socket, held)),
        false => start(plan, config.workers, &socket, held),
    });
    // The file of a socket is removed only if no process has the socket.
    drop(socket);
    match started {
        Ok(started) if !started.pids.is_empty() => {
            let pids: Vec<_> = started.pids.iter().map(Pid::to_string).collect();
            if let Err(error) = made.keep(&pids.join("\n")) {
                stop(started.pids);
                return Err(error);
            }
            Ok(started)
        }
        started => {
            made.undo();
            started
        }
    }
}

fn become_worker(plan: &Plan, socket: &Socket, held: &Held) -> Error {
    if let Some(error) = broken_off(held) {
        return error;
    }
    let failed = plan.exec(socket.as_fd());
    sys::close_stdin();
    let status = failed.exec_errno().unwrap_or(Error::SET_UP);
    Error::new(format!("exec failed: {failed}")).with_exit_status(status)
}

/// Why a start does not go on: it is told to end. The signal itself ends this process when it is released.
fn broken_off(held: &Held) -> Option<Error> {
    held.arrived().map(|signal| Error::new(format!("{}: the start is broken off", signals::name(signal))))
}

/// Starts all workers, and looks after them for a moment. A program that cannot be executed is a worker that has failed;
/// what keeps us from starting one at all, such as no more processes, ends the others as well.
fn start(plan: &Plan, workers: u16, socket: &Socket, held: &Held) -> Result<Started, Error> {
    let mut children = Vec::new();
    for _ in 0..workers {
        match plan.start(socket.as_fd()) {
            Err(error) if error.exec_errno().is_none() => {
                stop(children.into_iter().flatten().collect());
                return Err(error.into());
            }
            child => children.push(child),
        }
    }
    let mut ended: Vec<Option<ExitStatus>> = vec![None; children.len()];

    let end = Instant::now() + WINDOW;
    loop {
        let mut alive = false;
        for (child, ended) in children.iter().zip(&mut ended) {
            if let (Ok(pid), None) = (child, *ended) {
                *ended = sys::reap_if_ended(*pid);
                alive |= ended.is_none();
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if !alive || left.is_zero() {
            break;
        }
        sys::wait_for_child(left);
    }
    if let Some(error) = broken_off(held) {
        let left = children.into_iter().zip(ended).filter(|(_, ended)| ended.is_none());
        stop(left.filter_map(|(child, _)| child.ok()).collect());
        return Err(error);
    }

    let mut started = Started { pids: Vec::new(), status: 0 };
    for (child, ended) in children.into_iter().zip(ended) {
        let failed = match (child, ended) {
            (Ok(pid), None) => {
                started.pids.push(pid);
                continue;
            }
            (Ok(_), Some(status)) => report_end(status),
            (Err(error), _) => report_error(&error),
        };
        if failed != 0 {
            started.status = failed;
        }
    }
    Ok(started)
}

/// Ends workers, with all in their groups.
fn stop(mut pids: Vec<Pid>) {
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        pids.iter().for_each(|pid| drop(sys::signal_group(*pid, signal)));
        let end = Instant::now() + STOP;
        loop {
            pids.retain(|pid| sys::reap_if_ended(*pid).is_none());
            let left = end.saturating_duration_since(Instant::now());
            if pids.is_empty() || left.is_zero() {
                break;
            }
            sys::wait_for_child(left);
        }
    }
}

/// In spawn-fcgi's words, as the lines after it.
fn report_end(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => {
            log::error!("child exited with: {code}");
            u8::try_from(code).unwrap_or(Error::SET_UP)
        }
        (None, signal) => {
            log::error!("child signaled: {}", signal.unwrap_or_default());
            1
        }
    }
}

fn report_error(error: &StartError<'_>) -> u8 {
    match error.exec_errno() {
        Some(errno) => {
            log::error!("child exited with: {errno}: {error}");
            errno
        }
        None => {
            log::error!("{error}");
            Error::SET_UP
        }
    }
}
