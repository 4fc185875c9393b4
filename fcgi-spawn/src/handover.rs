//! What a supervisor leaves to the program that takes its place in the same process: numbers in an environment variable.
//!
//! They are the listening socket, the workers' processes, and the pipes that these write to, which nothing could replace.
//! Everything else starts anew.

use std::os::fd::RawFd;
use std::os::unix::process::parent_id;
use std::time::Duration;
use std::{env, process};

use crate::fleet::LastReload;
use crate::process::channel::Reports;
use crate::{Config, Error};

/// The variable they are in.
pub(crate) const VARIABLE: &str = "FCGI_SPAWN_STATE";

/// Changes when the numbers change their meaning.
const VERSION: i128 = 6;

/// What the program prints when it could take over.
pub(crate) const PROOF: &str = "ready to take over\n";

/// All that cannot be found out from the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handover {
    /// The open descriptor of the listening socket; there may be none.
    pub(crate) listener: Option<RawFd>,
    /// Device and inode of the socket's file.
    pub(crate) socket_file: Option<(u64, u64)>,
    /// What was ignored and blocked when the first supervisor was started.
    pub(crate) signals: (u64, u64),
    /// The open descriptor of the log, if it is the stderr with which that was started.
    pub(crate) log: Option<RawFd>,
    /// The open descriptor of the status page's lock.
    pub(crate) page_lock: Option<RawFd>,
    /// How many directories were made for the socket, the pid file and the status page.
    pub(crate) made: [usize; 3],
    /// The last reload, if there was one.
    pub(crate) reload: Option<LastReload>,
    pub(crate) workers: Vec<Running>,
}

/// A worker's process, or one that has ended and has left helpers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) slot: usize,
    pub(crate) pid: i32,
    /// When it was started, by the monotonic clock.
    pub(crate) started: Duration,
    /// Our open ends of its stdout, its stderr and its channel.
    pub(crate) pipes: [Option<RawFd>; 3],
    /// What has come by its channel.
    pub(crate) reports: Reports,
}

/// What a process that was given a state is to do with it.
pub(crate) enum Task {
    /// Show that it could take over, and end.
    Prove,
    TakeOver,
}

/// The state that is meant for this process, if there is one.
pub(crate) fn received() -> Result<Option<(Task, Handover)>, Error> {
    let Ok(text) = env::var(VARIABLE) else { return Ok(None) };
    let numbers: Option<Vec<i128>> = text.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
    let Some([version, pid, state @ ..]) = numbers.as_deref() else { return Ok(None) };
    let task = match u32::try_from(*pid) {
        Ok(pid) if pid == process::id() => Task::TakeOver,
        Ok(pid) if pid == parent_id() => Task::Prove,
        // It was inherited from a process that is not ours.
        _ => return Ok(None),
    };
    let state = Handover::read(state).filter(|_| *version == VERSION);
    let unknown = || Error::new(format!("the state in {VARIABLE} cannot be read: it is another version's"));
    state.map(|state| Some((task, state))).ok_or_else(unknown)
}

impl Handover {
    /// The text that this process leaves to itself, or shows to a child.
    pub(crate) fn variable(&self) -> String {
        let numbers = [VERSION, process::id().into()].into_iter().chain(self.numbers());
        numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
    }

    /// What is missing is -1.
    fn numbers(&self) -> Vec<i128> {
        let fd = |fd: Option<RawFd>| fd.map_or(-1, i128::from);
        let (device, inode) = self.socket_file.map_or((-1, -1), |(device, inode)| (device.into(), inode.into()));
        let [socket, pid_file, status] = self.made.map(|made| made as i128);
        let [listener, log, lock] = [self.listener, self.log, self.page_lock].map(fd);
        let (ignored, blocked) = (self.signals.0.into(), self.signals.1.into());
        let mut numbers = vec![listener, device, inode, ignored, blocked, log, lock, socket, pid_file, status];
        let reload = self.reload.as_ref().map(LastReload::numbers).unwrap_or_default();
        numbers.push(reload.len() as i128);
        numbers.extend(reload);
        for &Running { slot, pid, started, pipes, reports } in &self.workers {
            let ([stdout, stderr, channel], millis) = (pipes.map(fd), started.as_millis() as i128);
            numbers.extend([slot as i128, pid.into(), millis, stdout, stderr, channel, reports.number()]);
        }
        numbers
    }

    fn read(numbers: &[i128]) -> Option<Self> {
        let (first, others) = numbers.split_first_chunk()?;
        let [listener, device, inode, ignored, blocked, log, lock, socket, pid_file, status, reload] = *first;
        let (reload, workers) = others.split_at_checked(number(reload)?)?;
        let fd = |fd: i128| number(fd).filter(|fd: &RawFd| *fd >= 0);
        let worker = |numbers: &[i128]| {
            let [slot, pid, started, stdout, stderr, channel, reports] = *numbers else { return None };
            Some(Running {
                slot: number(slot).filter(|slot| *slot < usize::from(Config::MAX_WORKERS))?,
                pid: number(pid)?,
                started: Duration::from_millis(number(started)?),
                pipes: [stdout, stderr, channel].map(fd),
                reports: Reports::of(reports),
            })
        };
        Some(Handover {
            listener: fd(listener),
            socket_file: number(device).zip(number(inode)),
            signals: (number(ignored)?, number(blocked)?),
            log: fd(log),
            page_lock: fd(lock),
            made: [number(socket)?, number(pid_file)?, number(status)?],
            reload: LastReload::of(reload),
            workers: workers.chunks(7).map(worker).collect::<Option<_>>()?,
        })
    }
}

fn number<T: TryFrom<i128>>(number: i128) -> Option<T> {
    T::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::ReloadResult;

    #[test]
    fn what_is_written_is_read() {
        let state = Handover {
            listener: Some(3),
            socket_file: Some((u64::MAX, 5)),
            signals: (1 << 63, 7),
            log: Some(9),
            page_lock: Some(11),
            made: [2, 0, 1],
            reload: Some(LastReload { number: 3, result: ReloadResult::Failed("worker 1 exited ü".into()) }),
            workers: vec![
                Running {
                    slot: 0,
                    pid: 4711,
                    started: Duration::from_secs(60),
                    pipes: [Some(5), None, Some(6)],
                    reports: Reports { is_ready: true, is_due: true },
                },
                Running { slot: 2, pid: 4712, started: Duration::ZERO, pipes: [None; 3], reports: Reports::default() },
            ],
        };
        let done =
            Handover { reload: Some(LastReload { number: 1, result: ReloadResult::Done }), ..Handover::default() };
        for state in [state, done, Handover::default()] {
            assert_eq!(Handover::read(&state.numbers()), Some(state));
        }
    }

    #[test]
    fn other_numbers_are_refused() {
        let first = Handover::default().numbers();
        for cut in 0..first.len() {
            assert_eq!(Handover::read(&first[..cut]), None, "{cut}");
        }
        let worker = |worker: &[i128]| Handover::read(&[&first, worker].concat());
        assert!(worker(&[0, 2, 3, -1, -1, -1, 3]).is_some());
        assert_eq!(worker(&[1024, 2, 3, -1, -1, -1, 3]), None);
        assert_eq!(worker(&[0, 2, 3, -1, -1, -1]), None);
        assert_eq!(worker(&[0, 2, -3, -1, -1, -1, 3]), None);
        for length in [-1, 1] {
            let mut numbers = first.clone();
            *numbers.last_mut().expect("the length of what is known of a reload") = length;
            assert_eq!(Handover::read(&numbers), None, "{length}");
        }
    }

    /// A variable of the kernel's default limit holds the most workers there can be.
    #[test]
    fn it_fits_into_a_variable() {
        let started = Duration::from_secs(10_000_000);
        let reports = Reports { is_ready: true, is_due: true };
        let worker = Running { slot: 1023, pid: i32::MAX, started, pipes: [Some(99_999); 3], reports };
        let helpers = Running { slot: 1023, pid: i32::MAX, ..Running::default() };
        let workers = [vec![worker; Config::MAX_WORKERS.into()], vec![helpers; 256]].concat();
        let reload = Some(LastReload { number: u64::MAX, result: ReloadResult::Failed("ü".repeat(10_000)) });
        assert!(Handover { workers, reload, ..Handover::default() }.variable().len() < 130_000);
    }
}
