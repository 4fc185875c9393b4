//! The page about the workers: one line for each, for `cat`, and for a monitor that asks whether all is well.
//!
//! ```text
//! # fcgi-spawn pid=4711 start=8231733 workers=2 up=1 listener=up written=2026-11-22T17:00:45Z
//! # slot pid state age restarts last-exit next-start rss
//! 1 4712 running 3600s 0 - - 5120KiB
//! 2 - waiting - 3 exit:1 10s -
//! ```

use std::fmt::{self, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::process::{self, ExitStatus};
use std::time::Duration;

use crate::output::Utc;
use crate::sys::Pid;
use crate::sys::Stat;

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

/// The supervisor that writes the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) pid: u32,
    /// In ticks of the kernel since the boot: the same number belongs to another process at another time.
    pub(crate) start: u64,
}

impl Writer {
    /// This process.
    pub(crate) fn ours() -> Self {
        Writer { pid: process::id(), start: start_of(process::id()).unwrap_or_default() }
    }

    pub(crate) fn is_alive(self) -> bool {
        start_of(self.pid) == Some(self.start)
    }
}

/// When a process that runs was started.
fn start_of(pid: u32) -> Option<u64> {
    Stat::of(pid).filter(Stat::is_alive).map(|stat| stat.start)
}

/// The listening socket, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listening {
    Up,
    /// A worker has shut it down for all: no client can connect.
    Down,
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Listening::Up => "up",
            Listening::Down => "down",
        })
    }
}

/// The whole text.
pub(crate) fn text(us: Writer, listening: Listening, rows: &[Row], now: Duration) -> String {
    let Summary { workers, up } = Summary::of(rows.iter().map(|row| row.state));
    let mut text = format!(
        "# fcgi-spawn pid={} start={} workers={workers} up={up} listener={listening} written={}\n\
         # slot pid state age restarts last-exit next-start rss\n",
        us.pid,
        us.start,
        Utc(now)
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
pub(crate) struct Page<'a> {
    pub(crate) supervisor: Writer,
    pub(crate) listening: Listening,
    /// Each worker's line, and what it is doing.
    pub(crate) workers: Vec<(&'a str, Word)>,
}

pub(crate) fn parse(text: &str) -> Result<Page<'_>, &'static str> {
    const OTHER: &str = "not a status file of fcgi-spawn";
    let first = text.lines().next().and_then(|line| line.strip_prefix("# fcgi-spawn ")).ok_or(OTHER)?;
    let value = |name: &str| first.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let pid = value("pid").and_then(|pid| pid.parse().ok()).ok_or(OTHER)?;
    let start = value("start").and_then(|start| start.parse().ok()).ok_or(OTHER)?;
    let listening = match value("listener") {
        Some("down") => Listening::Down,
        // An older version does not say.
        _ => Listening::Up,
    };
    let mut workers = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let word = line.split(' ').nth(2).ok_or(OTHER)?;
        let word = Word::ALL.into_iter().find(|known| known.to_string() == word).ok_or(OTHER)?;
        workers.push((line, word));
    }
    Ok(Page { supervisor: Writer { pid, start }, listening, workers })
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Writer = Writer { pid: 4711, start: 17 };

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
        let text = text(US, Listening::Up, &rows(), Duration::ZERO);
        assert_eq!(
            text,
            "# fcgi-spawn pid=4711 start=17 workers=2 up=1 listener=up written=1970-01-01T00:00:00Z\n\
             # slot pid state age restarts last-exit next-start rss\n\
             1 4712 running 3600s 0 - - 5120KiB\n\
             2 - waiting - 3 exit:1 10s -\n"
        );
        let Page { supervisor, listening, workers } = parse(&text).expect("ours");
        assert_eq!(listening, Listening::Up);
        assert_eq!((supervisor, workers[0].1, workers[1].1), (US, Word::Running, Word::Waiting));
        let killed = LastExit::Status(ExitStatus::from_raw(9));
        assert_eq!((killed.to_string(), LastExit::NotStarted.to_string()), ("signal:9".into(), "not-started".into()));
    }

    #[test]
    fn every_word_is_read_again() {
        for word in Word::ALL {
            let text = text(US, Listening::Down, &[row(1, word)], Duration::ZERO);
            let page = parse(&text).expect("ours");
            assert_eq!((page.listening, page.workers[0].1), (Listening::Down, word));
        }
        let older = parse("# fcgi-spawn pid=4711 start=17 workers=0 up=0\n").expect("ours");
        assert_eq!(older.listening, Listening::Up);
    }

    #[test]
    fn what_is_no_status_file_is_refused() {
        for text in ["", "# fcgi-spawn\n", "# fcgi-spawn pid=1 start=x\n", "# fcgi-spawn pid=1 start=2\n1 2 flying\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_supervisor_is_known_by_its_start() {
        let pid = process::id();
        let start = start_of(pid).expect("we run");
        assert!(Writer { pid, start }.is_alive());
        assert!(!Writer { pid, start: start + 1 }.is_alive());
    }
}
