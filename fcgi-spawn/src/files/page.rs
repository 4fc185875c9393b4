//! The page about the workers: one line for each, for `cat`, and for a monitor that asks whether all is well.
//!
//! ```text
//! # fcgi-spawn pid=4711 workers=2 up=1 busy=1 waiting=0 listener=up lock=yes clock=8231.733 written=2026-11-22T17:00:45Z
//! # reload number=3 result=failed until=- reason=worker 2 (pid 4713) exited 1 after 2s
//! # slot pid state age restarts last-exit next-start rss
//! 1 4712 running 3600s 0 - - 5120KiB
//! 2 - waiting - 3 exit:1 10s -
//! ```

use std::fmt::{self, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Escaped;
use crate::output::Utc;
use crate::sys::Pid;

/// The columns of a worker's line, as `--json` names them.
pub(crate) const COLUMNS: [&str; 8] = ["slot", "pid", "state", "age", "restarts", "last_exit", "next_start", "rss"];

/// What is known of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) pid: Option<Pid>,
    pub(crate) state: Word,
    pub(crate) age: Option<Duration>,
    pub(crate) restarts: u64,
    pub(crate) last_exit: Option<LastExit>,
    pub(crate) next_start: Option<Duration>,
    /// In bytes.
    pub(crate) rss: Option<u64>,
}

/// What a worker is doing, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It executes the program, and is not up yet.
    Starting,
    Running,
    /// Another process is to take its place.
    Reloading,
    /// There is no process; one is to come.
    Waiting,
    /// There is no process, and none is needed.
    Idle,
    /// It was told to end.
    Stopping,
    /// There is no process, and none will come.
    Stopped,
}

impl Word {
    const ALL: [Self; 7] =
        [Self::Starting, Self::Running, Self::Reloading, Self::Waiting, Self::Idle, Self::Stopping, Self::Stopped];

    /// Whether requests are answered: at once, or as soon as there are any.
    pub(crate) fn is_up(self) -> bool {
        matches!(self, Word::Running | Word::Reloading | Word::Idle)
    }

    /// Whether it is one of those that there are to be.
    pub(crate) fn counts(self) -> bool {
        self != Word::Stopping
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Word::Starting => "starting",
            Word::Running => "running",
            Word::Reloading => "reloading",
            Word::Waiting => "waiting",
            Word::Idle => "idle",
            Word::Stopping => "stopping",
            Word::Stopped => "stopped",
        })
    }
}

/// How a worker's last process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastExit {
    Status(ExitStatus),
    NotStarted,
}

impl fmt::Display for LastExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastExit::NotStarted => f.write_str("not-started"),
            LastExit::Status(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exit:{code}"),
                (None, signal) => write!(f, "signal:{}", signal.unwrap_or_default()),
            },
        }
    }
}

/// How many workers there are to be, and how many of them are up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) workers: usize,
    pub(crate) up: usize,
}

impl Summary {
    pub(crate) fn of(words: impl IntoIterator<Item = Word>) -> Self {
        let mut summary = Summary { workers: 0, up: 0 };
        for word in words.into_iter().filter(|word| word.counts()) {
            summary.workers += 1;
            summary.up += usize::from(word.is_up());
        }
        summary
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} workers up", self.up, self.workers)
    }
}

/// The listening socket, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listening {
    Up,
    /// A worker has shut it down for all: no client can connect.
    Down,
    /// Its file was removed: no client finds it.
    Gone,
}

impl Listening {
    const ALL: [Self; 3] = [Listening::Up, Listening::Down, Listening::Gone];
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Listening::Up => "up",
            Listening::Down => "down",
            Listening::Gone => "gone",
        })
    }
}

/// How the last reload went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reload {
    /// How many there have been.
    pub(crate) number: u64,
    pub(crate) result: ReloadWord,
    /// It is over by then, by the monotonic clock, if it is under way.
    pub(crate) until: Option<Duration>,
    /// Why it failed.
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadWord {
    /// There was none.
    None,
    Running,
    Done,
    Failed,
}

impl ReloadWord {
    const ALL: [Self; 4] = [Self::None, Self::Running, Self::Done, Self::Failed];
}

impl fmt::Display for ReloadWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReloadWord::None => "none",
            ReloadWord::Running => "running",
            ReloadWord::Done => "done",
            ReloadWord::Failed => "failed",
        })
    }
}

/// What the page says of the supervisor and of all workers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The supervisor's, in its own namespace.
    pub(crate) pid: u32,
    /// Workers with a connection that they have accepted, as far as the kernel shows them.
    pub(crate) busy: Option<usize>,
    /// Connections that no worker has accepted yet.
    pub(crate) waiting: Option<usize>,
    pub(crate) listening: Listening,
    /// Whether the supervisor has the lock beside the page as long as it lives.
    pub(crate) is_locked: bool,
    /// When it was written, by the monotonic clock.
    pub(crate) clock: Duration,
    pub(crate) reload: Reload,
}

/// The whole text.
pub(crate) fn text(header: &Header, rows: &[Row], now: Duration) -> String {
    let Summary { workers, up } = Summary::of(rows.iter().map(|row| row.state));
    let Header { pid, busy, waiting, listening, is_locked, clock, reload } = header;
    let (busy, waiting) = (Dash(*busy), Dash(*waiting));
    let lock = if *is_locked { "yes" } else { "no" };
    let seconds = |time: Duration| format!("{}.{:03}", time.as_secs(), time.subsec_millis());
    let Reload { number, result, until, reason } = reload;
    let mut text = format!(
        "# fcgi-spawn pid={pid} workers={workers} up={up} busy={busy} waiting={waiting} listener={listening} \
         lock={lock} clock={} written={}\n\
         # reload number={number} result={result} until={} reason={}\n\
         # slot pid state age restarts last-exit next-start rss\n",
        seconds(*clock),
        Utc(now),
        Dash(until.map(seconds)),
        Dash(reason.as_ref().map(|reason| Escaped(reason.as_ref()))),
    );
    for row in rows {
        let Row { number, state, restarts, .. } = row;
        let pid = Dash(row.pid);
        let age = Dash(row.age.map(|age| format!("{}s", age.as_secs())));
        let next = Dash(row.next_start.map(|next| format!("{}s", next.as_millis().div_ceil(1000))));
        let rss = Dash(row.rss.map(|rss| format!("{}KiB", rss / 1024)));
        let _ = writeln!(text, "{number} {pid} {state} {age} {restarts} {} {next} {rss}", Dash(row.last_exit));
    }
    text
}

/// What there is, or a dash.
struct Dash<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Dash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// A page that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<'a> {
    pub(crate) header: Header,
    /// Each worker's line, and what it is doing.
    pub(crate) workers: Vec<(&'a str, Word)>,
}

pub(crate) fn parse(text: &str) -> Result<Page<'_>, &'static str> {
    const OTHER: &str = "not a status page of this version of fcgi-spawn";
    parse_page(text).ok_or(OTHER)
}

fn parse_page(text: &str) -> Option<Page<'_>> {
    let mut lines = text.lines();
    let first = lines.next()?.strip_prefix("# fcgi-spawn ")?;
    let value = |name: &str| first.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let (fields, reason) = lines.next()?.strip_prefix("# reload ")?.split_once(" reason=")?;
    let reload = |name: &str| fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let header = Header {
        pid: value("pid")?.parse().ok()?,
        busy: number(value("busy")?),
        waiting: number(value("waiting")?),
        listening: word(&Listening::ALL, value("listener")?)?,
        is_locked: value("lock")? == "yes",
        clock: seconds(value("clock")?)?,
        reload: Reload {
            number: reload("number")?.parse().ok()?,
            result: word(&ReloadWord::ALL, reload("result")?)?,
            until: seconds(reload("until")?),
            reason: Some(reason.to_owned()).filter(|reason| reason != "-"),
        },
    };
    let of_workers = lines.filter(|line| !line.starts_with('#'));
    let workers = of_workers.map(|line| Some((line, word(&Word::ALL, line.split(' ').nth(2)?)?)));
    Some(Page { header, workers: workers.collect::<Option<_>>()? })
}

/// A number in front of its unit; a dash is none.
pub(crate) fn number<T: FromStr>(text: &str) -> Option<T> {
    text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic()).parse().ok()
}

/// Seconds with three digits behind the point.
fn seconds(text: &str) -> Option<Duration> {
    let (seconds, millis) = text.split_once('.')?;
    Some(Duration::from_secs(seconds.parse().ok()?) + Duration::from_millis(millis.parse::<u16>().ok()?.into()))
}

fn word<T: Copy + fmt::Display>(all: &[T], text: &str) -> Option<T> {
    all.iter().copied().find(|known| known.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            pid: 4711,
            busy: Some(1),
            waiting: Some(5),
            listening: Listening::Up,
            is_locked: true,
            clock: Duration::from_millis(17_250),
            reload: Reload { number: 0, result: ReloadWord::None, until: None, reason: None },
        }
    }

    fn row(number: usize, state: Word) -> Row {
        let (pid, age, last_exit, next_start, rss) = (None, None, None, None, None);
        Row { number, pid, state, age, restarts: 0, last_exit, next_start, rss }
    }

    fn rows() -> Vec<Row> {
        let running = Row {
            pid: Some(Pid::for_test(4712)),
            age: Some(Duration::from_millis(3_600_900)),
            rss: Some(5120 << 10),
            ..row(1, Word::Running)
        };
        let last_exit = Some(LastExit::Status(ExitStatus::from_raw(1 << 8)));
        let next_start = Some(Duration::from_millis(9_001));
        vec![running, Row { restarts: 3, last_exit, next_start, ..row(2, Word::Waiting) }]
    }

    #[test]
    fn a_page_is_one_line_a_worker() {
        let text = text(&header(), &rows(), Duration::ZERO);
        assert_eq!(
            text,
            "# fcgi-spawn pid=4711 workers=2 up=1 busy=1 waiting=5 listener=up lock=yes clock=17.250 \
             written=1970-01-01T00:00:00Z\n\
             # reload number=0 result=none until=- reason=-\n\
             # slot pid state age restarts last-exit next-start rss\n\
             1 4712 running 3600s 0 - - 5120KiB\n\
             2 - waiting - 3 exit:1 10s -\n"
        );
        let Page { header: read, workers } = parse(&text).expect("ours");
        assert_eq!((read, workers[0].1, workers[1].1), (header(), Word::Running, Word::Waiting));
        let killed = LastExit::Status(ExitStatus::from_raw(9));
        assert_eq!((killed.to_string(), LastExit::NotStarted.to_string()), ("signal:9".into(), "not-started".into()));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for state in Word::ALL {
            assert_eq!(parse(&text(&header(), &[row(1, state)], Duration::ZERO)).expect("ours").workers[0].1, state);
        }
        for listening in Listening::ALL {
            for (result, until, reason) in [
                (ReloadWord::None, None, None),
                (ReloadWord::Running, Some(Duration::from_millis(5)), None),
                (ReloadWord::Done, None, None),
                (ReloadWord::Failed, None, Some("worker 1: no program, and said 'a = b'".to_owned())),
            ] {
                let reload = Reload { number: 3, result, until, reason };
                let wanted = Header { busy: None, waiting: None, listening, is_locked: false, reload, ..header() };
                assert_eq!(parse(&text(&wanted, &[], Duration::ZERO)).expect("ours").header, wanted);
            }
        }
    }

    /// Whatever a worker has said.
    #[test]
    fn a_reason_is_one_line() {
        let reload =
            Reload { number: 1, result: ReloadWord::Failed, until: None, reason: Some("a\n1 1 running".into()) };
        let text = text(&Header { reload, ..header() }, &[], Duration::ZERO);
        let page = parse(&text).expect("ours");
        assert_eq!((page.workers.len(), page.header.reload.reason.as_deref()), (0, Some("a\\n1 1 running")));
    }

    #[test]
    fn what_is_no_status_page_is_refused() {
        let whole = text(&header(), &rows(), Duration::ZERO);
        for text in ["", "# fcgi-spawn\n", "# fcgi-spawn pid=1 workers=2\n", &whole.replace("running", "flying")] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        let line = whole.lines().next().expect("a line");
        assert!(parse(line).is_err());
    }
}
