//! What the log says of workers: one event, one line, by the one who knows what happens next.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use log::Level;

use crate::Config;
use crate::cli::duration::{Exact, Human};
use crate::error::Quoted;
use crate::fleet::restart::Why;
use crate::fleet::stop::Left;
use crate::signals;
use crate::sys::Pid;

/// Something that happened to a worker or to all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// The first start is over, and so many workers are up.
    Ready {
        up: usize,
        of: usize,
    },
    /// It is over, and workers start when they are needed.
    ReadyOnDemand,
    Started {
        slot: usize,
        pid: Pid,
    },
    /// It has ended, and this is next.
    Ended {
        slot: usize,
        end: End,
        next: Again,
    },
    /// So many more have ended like the one that was reported last, within this time.
    Same {
        slot: usize,
        count: u32,
        time: Duration,
    },
    /// It has ended, and there is no next.
    GaveUp {
        slot: usize,
        end: End,
        early_exits: u32,
    },
    /// One process has taken the place of another.
    Replaced {
        slot: usize,
        old: Pid,
        new: Pid,
        cause: Cause,
    },
    /// The first new process of a reload is up; the old one stays until it has lived for this time.
    Watched {
        slot: usize,
        old: Option<Pid>,
        new: Pid,
        time: Duration,
    },
    /// It has ended by exit 0, and another one is watched.
    WatchedAgain {
        slot: usize,
        end: End,
    },
    /// A process that was to take the place of another has ended instead, or was never started.
    Kept {
        slot: usize,
        end: End,
        cause: Cause,
    },
    /// A process that was being replaced has ended by itself.
    Succeeded {
        slot: usize,
        end: End,
    },
    Reloading(Cause),
    /// The same because of this file.
    FileChanged(PathBuf),
    Reloaded,
    /// A process that was started since the reload began has failed.
    ReloadFailed {
        slot: usize,
        end: End,
    },
    /// It was told to leave, did not, and is killed, or what it left in its group is.
    Killed {
        slot: usize,
        pid: Pid,
    },
    /// It cannot be killed, for this reason.
    NotKilled {
        slot: usize,
        pid: Pid,
        error: String,
    },
    /// It was killed, and has not ended.
    Unkillable {
        slot: usize,
        pid: Pid,
    },
    /// A worker that ended has left processes in its group.
    Left {
        slot: usize,
        pid: Pid,
        left: Left,
    },
    /// It is not known whether processes that are to stop have clients.
    ClientsUnseen,
    /// It is asked to stop since its time to drain is over: it had clients each time when it was looked at.
    NotDrained {
        slot: usize,
        pid: Pid,
    },
    /// It is stopped because it is not needed.
    Idle {
        slot: usize,
        pid: Pid,
    },
    /// It wakes by itself, so that `--idle` never finds it idle for this time.
    Restless {
        slot: usize,
        pid: Pid,
        time: Duration,
    },
    /// It has not reported for so long that it is well, and is replaced.
    Overdue {
        slot: usize,
        pid: Pid,
        time: Duration,
    },
    /// A connection waits, and a worker starts.
    Demand,
    /// How many workers there are to be now.
    Workers(usize),
    /// There are as many or as few as there can be.
    NoOther(usize),
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Process {
        pid: Pid,
        status: ExitStatus,
        /// It ran for this long.
        life: Duration,
        /// The last line that it wrote to stderr, as far as that was read.
        said: Option<String>,
    },
    /// It never ran, for this reason.
    NotStarted(String),
}

/// The next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Again {
    pub(crate) pause: Duration,
    pub(crate) why: Why,
    /// An exit before that is early.
    pub(crate) min_life: Duration,
}

/// Why workers are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// We were told to.
    Asked,
    /// A file changed.
    Changed,
    /// The listening socket was bound anew.
    Listener,
    /// It is old.
    Age(Duration),
    /// It takes so many bytes of memory.
    Memory(u64),
    /// It has not said for so long that it is well.
    Overdue(Duration),
}

impl Note {
    /// Whether it says nothing that the other has not said: the same end, and the same pause for the same reason.
    pub(crate) fn repeats(&self, said: &Note) -> bool {
        let (Note::Ended { slot, end, next }, Note::Ended { slot: its_slot, end: its_end, next: its_next }) =
            (self, said)
        else {
            return false;
        };
        let same_end = match (end, its_end) {
            (End::Process { status, .. }, End::Process { status: its_status, .. }) => status == its_status,
            (end, its_end) => end == its_end,
        };
        let pause = |next: &Again| Human(next.pause).to_string();
        let same_why = match (next.why, its_next.why) {
            (Why::EarlyExits(_), Why::EarlyExits(_)) => pause(next) == pause(its_next),
            (Why::LongLife, _) => false,
            (why, its_why) => why == its_why,
        };
        slot == its_slot && same_end && same_why
    }

    pub(crate) fn level(&self) -> Level {
        match self {
            Note::GaveUp { .. } => Level::Error,
            Note::Ended { next: Again { why: Why::EarlyExits(_) | Why::QuickExits, .. }, .. } => Level::Warn,
            Note::Ended { end: End::NotStarted(_), .. }
            | Note::Same { .. }
            | Note::Kept { .. }
            | Note::ReloadFailed { .. }
            | Note::Killed { .. }
            | Note::NotKilled { .. }
            | Note::Unkillable { .. }
            | Note::Left { left: Left::Parts | Left::Unknown, .. }
            | Note::ClientsUnseen
            | Note::Restless { .. }
            | Note::Overdue { .. }
            | Note::NoOther(_) => Level::Warn,
            _ => Level::Info,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Started { slot, pid } => write!(f, "worker {} (pid {pid}) started", slot + 1),
            Note::Ended { slot, end, next } => write!(f, "worker {}{end}, {next}", slot + 1),
            Note::Same { slot, count: 1, time } => {
                write!(f, "worker {}: the same once more within {}", slot + 1, Human(*time))
            }
            Note::Same { slot, count, time } => {
                write!(f, "worker {}: the same {count} times more within {}", slot + 1, Human(*time))
            }
            Note::GaveUp { slot, end, early_exits } => {
                write!(
                    f,
                    "worker {}{end}, giving up after {early_exits} early exits in a row, stopping all workers",
                    slot + 1
                )
            }
            Note::Replaced { slot, old, new, cause } => {
                write!(f, "worker {} (pid {new}) is up, pid {old} is stopped: {cause}", slot + 1)
            }
            Note::Watched { slot, old, new, time } => {
                write!(f, "worker {} (pid {new}) is up", slot + 1)?;
                if let Some(old) = old {
                    write!(f, " beside pid {old}")?;
                }
                write!(f, ", watched for {} before others are replaced", Exact(*time))
            }
            Note::WatchedAgain { slot, end } => {
                write!(f, "worker {}{end} while it was watched: exit 0 is no failure, another is started", slot + 1)
            }
            Note::Kept { slot, end, cause } => {
                write!(f, "worker {}{end}, and was to take over ({cause}): the old one stays", slot + 1)
            }
            Note::Succeeded { slot, end } => write!(f, "worker {}{end}, its successor is there", slot + 1),
            Note::Reloading(cause) => write!(f, "reloading: {cause}"),
            Note::FileChanged(path) => write!(f, "reloading: {} has changed", Quoted(path.as_os_str())),
            Note::Reloaded => f.write_str("reloaded"),
            Note::ReloadFailed { slot, end } => {
                write!(
                    f,
                    "reload failed: {}; workers not replaced yet are left as they are",
                    Failure { slot: *slot, end }
                )
            }
            Note::Killed { slot, pid } => write!(f, "worker {} (pid {pid}) does not stop, killed", slot + 1),
            Note::NotKilled { slot, pid, error } => {
                write!(f, "worker {} (pid {pid}) does not stop and cannot be killed: {error}; left running", slot + 1)
            }
            Note::Unkillable { slot, pid } => {
                write!(f, "worker {} (pid {pid}) has not ended after SIGKILL; not waited for any longer", slot + 1)
            }
            Note::Ready { up, of } => write!(f, "ready, {up} of {of} workers up"),
            Note::ReadyOnDemand => f.write_str("ready, workers start when connections wait"),
            Note::Left { slot, pid, left } => {
                let what = match left {
                    Left::Nothing => "nothing in its group",
                    Left::Helpers => "processes of other programs in its group, which go on until all is stopped",
                    Left::Parts => "processes in its group that serve like it, stopped",
                    Left::Unknown => {
                        "processes in its group, stopped: whether they serve like it cannot be seen in /proc"
                    }
                };
                write!(f, "worker {} (pid {pid}) has left {what}", slot + 1)
            }
            Note::ClientsUnseen => {
                f.write_str("the clients of workers cannot be seen in /proc: workers are asked to stop at once")
            }
            Note::NotDrained { slot, pid } => {
                write!(
                    f,
                    "worker {} (pid {pid}) still serves or works after the time of --drain, asked to stop",
                    slot + 1
                )
            }
            Note::Idle { slot, pid } => write!(f, "worker {} (pid {pid}) is idle, stopped", slot + 1),
            Note::Restless { slot, pid, time } => write!(
                f,
                "worker {} (pid {pid}) was not idle for {} though no client was connected: its requests are short, or it \
                 wakes by itself, and then --idle cannot stop it: leave --on-demand out",
                slot + 1,
                Human(*time)
            ),
            Note::Overdue { slot, pid, time } => {
                write!(
                    f,
                    "worker {} (pid {pid}) has had no heartbeat for {}; starting another in its place",
                    slot + 1,
                    Exact(*time)
                )
            }
            Note::Demand => f.write_str("a connection waits, one worker more"),
            Note::Workers(count) => write!(f, "the number of workers is now {count}"),
            Note::NoOther(count) => {
                write!(f, "the number of workers stays {count}: it is from 1 to {}", Config::MAX_WORKERS)
            }
        }
    }
}

/// With a blank in front, to follow a worker's number.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Process { pid, status, life, .. } => {
                write!(f, " (pid {pid}) {} after {}", Ended(*status), Human(*life))
            }
            End::NotStarted(why) => write!(f, ": {why}"),
        }
    }
}

/// Why a reload failed: `worker 1 (pid 4711) exited 1 after 2s, and said 'no such module'`.
pub(crate) struct Failure<'a> {
    pub(crate) slot: usize,
    pub(crate) end: &'a End,
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}{}", self.slot + 1, self.end)?;
        match self.end {
            End::Process { said: Some(said), .. } => write!(f, ", and said {}", Quoted(said.as_ref())),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pause {
            Duration::ZERO => f.write_str("restart at once")?,
            pause => write!(f, "restart in {}", Human(pause))?,
        }
        match self.why {
            Why::LongLife => Ok(()),
            Why::EarlyExits(1) => write!(f, ": it lived less than {}", Human(self.min_life)),
            Why::EarlyExits(count) => write!(f, ": {count} times in a row it lived less than {}", Human(self.min_life)),
            Why::Recycled => f.write_str(": exit 0 is no failure"),
            Why::QuickExits => f.write_str(": exit 0 within 1s, again and again"),
            Why::Refused => f.write_str(": the system refused the start, which is no failure of the program"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Asked => f.write_str("SIGHUP"),
            Cause::Changed => f.write_str("a watched file has changed"),
            Cause::Listener => f.write_str("the listening socket was bound anew"),
            Cause::Age(age) => write!(f, "{} old", Human(*age)),
            Cause::Overdue(time) => write!(f, "no heartbeat for {}", Human(*time)),
            Cause::Memory(bytes) => write!(f, "{} KiB of memory", bytes / 1024),
        }
    }
}

/// How a process ended, as a verb.
pub(crate) struct Ended(pub(crate) ExitStatus);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "exited {code}"),
            (None, Some(signal)) => write!(f, "was killed by {}", signals::name(signal)),
            (None, None) => write!(f, "ended: {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: Pid = Pid::for_test(4711);

    fn exited(status: i32) -> End {
        End::Process { pid: PID, status: ExitStatus::from_raw(status), life: Duration::from_secs(2), said: None }
    }

    #[track_caller]
    fn check(status: i32, pause: u64, why: Why, line: &str) {
        let end = exited(status);
        let next = Again { pause: Duration::from_secs(pause), why, min_life: Duration::from_secs(30) };
        assert_eq!(Note::Ended { slot: 1, end, next }.to_string(), line);
    }

    #[test]
    fn an_end_says_what_happened_when_it_retries_and_why() {
        let short = "worker 2 (pid 4711) exited 1 after 2s, restart in 5s: it lived less than 30s";
        check(1 << 8, 5, Why::EarlyExits(1), short);
        let again = "worker 2 (pid 4711) was killed by SIGSEGV after 2s, restart in 10s: 4 times in a row it lived less than 30s";
        check(libc::SIGSEGV, 10, Why::EarlyExits(4), again);
        check(0, 0, Why::Recycled, "worker 2 (pid 4711) exited 0 after 2s, restart at once: exit 0 is no failure");
        check(1 << 8, 0, Why::LongLife, "worker 2 (pid 4711) exited 1 after 2s, restart at once");
    }

    #[test]
    fn what_has_to_be_looked_at_is_a_warning() {
        let ended = |end: End, why| {
            let next = Again { pause: Duration::ZERO, why, min_life: Duration::from_secs(30) };
            Note::Ended { slot: 0, end, next }
        };
        let end = || exited(0);
        let not_started = || End::NotStarted("no program".into());
        let (slot, pid, time, cause) = (0, PID, Duration::from_secs(3), Cause::Asked);
        assert_eq!(Note::GaveUp { slot, end: end(), early_exits: 3 }.level(), Level::Error);
        for note in [
            ended(end(), Why::EarlyExits(1)),
            ended(end(), Why::QuickExits),
            ended(not_started(), Why::Refused),
            Note::Same { slot, count: 2, time },
            Note::Kept { slot, end: end(), cause },
            Note::ReloadFailed { slot, end: end() },
            Note::Killed { slot, pid },
            Note::NotKilled { slot, pid, error: "no".into() },
            Note::Unkillable { slot, pid },
            Note::Left { slot, pid, left: Left::Parts },
            Note::Left { slot, pid, left: Left::Unknown },
            Note::ClientsUnseen,
            Note::Restless { slot, pid, time },
            Note::Overdue { slot, pid, time },
            Note::NoOther(1),
        ] {
            assert_eq!(note.level(), Level::Warn, "{note}");
        }
        for note in [
            ended(end(), Why::LongLife),
            ended(end(), Why::Recycled),
            Note::Started { slot, pid },
            Note::Replaced { slot, old: pid, new: pid, cause },
            Note::Watched { slot, old: None, new: pid, time },
            Note::WatchedAgain { slot, end: end() },
            Note::Succeeded { slot, end: end() },
            Note::Reloading(cause),
            Note::FileChanged("/app".into()),
            Note::Reloaded,
            Note::Idle { slot, pid },
            Note::Demand,
            Note::Workers(2),
        ] {
            assert_eq!(note.level(), Level::Info, "{note}");
        }
    }

    #[test]
    fn the_same_is_not_said_again() {
        let note = |status, pause, why| {
            let end = exited(status);
            let next = Again { pause: Duration::from_secs(pause), why, min_life: Duration::from_secs(30) };
            Note::Ended { slot: 1, end, next }
        };
        let said = note(1 << 8, 5, Why::EarlyExits(1));
        assert!(note(1 << 8, 5, Why::EarlyExits(2)).repeats(&said));
        assert!(!note(1 << 8, 10, Why::EarlyExits(4)).repeats(&said));
        assert!(!note(2 << 8, 5, Why::EarlyExits(2)).repeats(&said));
        assert!(!note(1 << 8, 0, Why::LongLife).repeats(&note(1 << 8, 0, Why::LongLife)));
        assert!(note(0, 0, Why::Recycled).repeats(&note(0, 1, Why::Recycled)));
    }

    #[test]
    fn a_failed_reload_says_why() {
        let said = |said: Option<&str>| {
            let status = ExitStatus::from_raw(1 << 8);
            let end = End::Process { pid: PID, status, life: Duration::from_secs(2), said: said.map(str::to_owned) };
            Note::ReloadFailed { slot: 1, end }.to_string()
        };
        let rest = "; workers not replaced yet are left as they are";
        let why = "reload failed: worker 2 (pid 4711) exited 1 after 2s";
        assert_eq!(said(None), format!("{why}{rest}"));
        assert_eq!(said(Some("no module 'x'\u{1b}")), format!("{why}, and said 'no module 'x'\\u{{1b}}'{rest}"));
        let end = End::NotStarted("no program".into());
        assert_eq!(
            Note::ReloadFailed { slot: 1, end }.to_string(),
            format!("reload failed: worker 2: no program{rest}")
        );
    }

    #[test]
    fn what_was_never_started_has_no_pid() {
        let end = End::NotStarted("cannot execute '/app': No such file or directory".into());
        let line = "worker 1: cannot execute '/app': No such file or directory, and was to take over (SIGHUP): the old one stays";
        assert_eq!(Note::Kept { slot: 0, end, cause: Cause::Asked }.to_string(), line);
    }
}
