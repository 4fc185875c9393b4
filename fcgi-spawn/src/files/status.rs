//! The status file: one line a worker, for `cat`, and for a monitor that asks whether all is well.
//!
//! ```text
//! # fcgi-spawn pid=4711 start=8231733 workers=2 up=1 written=2026-11-22T17:00:45Z
//! # slot pid state age restarts last-exit next-start rss
//! 1 4712 running 3600s 0 - - 5120KiB
//! 2 - waiting - 3 exit:1 10s -
//! ```
//!
//! A reader never finds half of it: it is written beside and renamed into place.

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{self, Path, PathBuf};
use std::process::{self, ExitStatus};
use std::time::{Duration, Instant};

use crate::Error;
use crate::error::Reason;
use crate::fleet::note::End;
use crate::fleet::worker::{Process, State};
use crate::fleet::{Fleet, Phase};
use crate::output::Utc;
use crate::process::usage::{self, Stat};
use crate::sys::{self, Pid};

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
    /// There is no process, and nobody needs one.
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
    fn is_up(self) -> bool {
        matches!(self, Word::Running | Word::Reloading | Word::Idle)
    }

    /// Whether it is one of those that there are to be.
    fn counts(self) -> bool {
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

/// Who writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Supervisor {
    pub(crate) pid: u32,
    /// In ticks of the kernel since the boot: the same number belongs to another process at another time.
    pub(crate) start: u64,
}

impl Supervisor {
    fn is_alive(self) -> bool {
        start_of(self.pid) == Some(self.start)
    }
}

/// When a process that runs was started.
fn start_of(pid: u32) -> Option<u64> {
    Stat::of(pid).filter(Stat::is_alive).map(|stat| stat.start)
}

/// All workers and those on their way out.
pub(crate) fn rows(fleet: &Fleet, now: Instant) -> Vec<Row> {
    let empty = if fleet.phase == Phase::Serving && fleet.is_on_demand() { Word::Idle } else { Word::Stopped };
    let mut rows = Vec::new();
    for (slot, its) in fleet.slots.iter().enumerate() {
        let (state, next_start) = match its.worker.state {
            State::Empty => (empty, None),
            State::Waiting { until } => (Word::Waiting, Some(until.saturating_duration_since(now))),
            State::Launching { .. } | State::Starting { .. } => (Word::Starting, None),
            State::Running(_) => (Word::Running, None),
            State::Replacing { .. } => (Word::Reloading, None),
        };
        let last_exit = its.last_end.as_ref().map(|end| match end {
            End::Process(_, status, _) => LastExit::Status(*status),
            End::NotStarted(_) => LastExit::NotStarted,
        });
        rows.push(row(slot, its.worker.process(), state, its.ends, last_exit, next_start, now));
    }
    for stopping in &fleet.stopping {
        rows.push(row(stopping.slot, Some(stopping.process), Word::Stopping, 0, None, None, now));
    }
    rows
}

fn row(
    slot: usize,
    process: Option<Process>,
    state: Word,
    restarts: u64,
    last_exit: Option<LastExit>,
    next_start: Option<Duration>,
    now: Instant,
) -> Row {
    let age = process.map(|process| now.saturating_duration_since(process.since));
    let pid = process.map(|process| process.pid);
    Row { number: slot + 1, pid, state, age, restarts, last_exit, next_start, rss: None }
}

/// The file, while we write it. It is removed when this is dropped.
pub(crate) struct StatusFile {
    path: PathBuf,
    beside: PathBuf,
    us: Supervisor,
    next: Instant,
    /// What it says, but for times and memory.
    said: Vec<(Option<Pid>, Word, u64)>,
    /// Whether writing has failed, which is said once.
    failed: bool,
}

impl StatusFile {
    /// How old what is in there gets.
    const PERIOD: Duration = Duration::from_secs(10);

    /// Refuses at once what cannot be written.
    pub(crate) fn new(path: &Path, now: Instant) -> Result<Self, Error> {
        let failed = |error| Error::io("write status file", path, &error);
        match fs::symlink_metadata(path) {
            Ok(there) if !there.is_file() => return Err(failed(io::Error::other("not a regular file"))),
            _ => {}
        }
        let path = path::absolute(path).map_err(failed)?;
        let mut beside = path.clone().into_os_string();
        beside.push(format!(".{}", process::id()));
        let us = Supervisor { pid: process::id(), start: start_of(process::id()).unwrap_or_default() };
        let file = StatusFile { path, beside: beside.into(), us, next: now, said: Vec::new(), failed: false };
        fs::write(&file.beside, "").map_err(failed)?;
        Ok(file)
    }

    /// When it is to be written again, if nothing happens before.
    pub(crate) fn deadline(&self) -> Instant {
        self.next
    }

    /// Writes it, if it is time or something has changed.
    pub(crate) fn update(&mut self, rows: &mut [Row], now: Instant) {
        let news: Vec<_> = rows.iter().map(|row| (row.pid, row.state, row.restarts)).collect();
        if now >= self.next || news != self.said {
            self.said = news;
            self.next = now + Self::PERIOD;
            rows.iter_mut().for_each(|row| row.rss = row.pid.map(usage::rss));
            self.write(rows);
        }
    }

    fn write(&mut self, rows: &[Row]) {
        let text = page(self.us, rows, sys::time_of_day());
        let written = fs::write(&self.beside, text).and_then(|()| fs::rename(&self.beside, &self.path));
        match written {
            Ok(()) => self.failed = false,
            Err(error) => {
                if !self.failed {
                    log::warn!("{}", Error::io("write status file", &self.path, &error));
                }
                self.failed = true;
            }
        }
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.beside);
        let is_ours =
            fs::read_to_string(&self.path).is_ok_and(|text| parse(&text).is_ok_and(|page| page.supervisor == self.us));
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The whole text.
fn page(us: Supervisor, rows: &[Row], now: Duration) -> String {
    let Summary { workers, up } = Summary::of(rows.iter().map(|row| row.state));
    let mut text = format!(
        "# fcgi-spawn pid={} start={} workers={workers} up={up} written={}\n\
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
struct Page<'a> {
    supervisor: Supervisor,
    /// Each worker's line, and what it is doing.
    workers: Vec<(&'a str, Word)>,
}

fn parse(text: &str) -> Result<Page<'_>, &'static str> {
    const OTHER: &str = "not a status file of fcgi-spawn";
    let first = text.lines().next().and_then(|line| line.strip_prefix("# fcgi-spawn ")).ok_or(OTHER)?;
    let value = |name: &str| first.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let pid = value("pid").and_then(|pid| pid.parse().ok()).ok_or(OTHER)?;
    let start = value("start").and_then(|start| start.parse().ok()).ok_or(OTHER)?;
    let mut workers = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let word = line.split(' ').nth(2).ok_or(OTHER)?;
        let word = Word::ALL.into_iter().find(|known| known.to_string() == word).ok_or(OTHER)?;
        workers.push((line, word));
    }
    Ok(Page { supervisor: Supervisor { pid, start }, workers })
}

/// What a monitor gets: an exit status, and lines for a person.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) status: u8,
    pub(crate) text: String,
}

/// Looks whether all workers are up: 0 if so, 1 if some are, 2 if none is or nobody knows.
pub(crate) fn check(path: &Path) -> Check {
    let unknown = |why: &str| Check { status: 2, text: format!("{}: {why}\n", path.display()) };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return unknown(&Reason(&error).to_string()),
    };
    match parse(&text) {
        Err(why) => unknown(why),
        Ok(page) if !page.supervisor.is_alive() => {
            unknown(&format!("its supervisor (pid {}) is gone", page.supervisor.pid))
        }
        Ok(page) => verdict(&page.workers),
    }
}

fn verdict(workers: &[(&str, Word)]) -> Check {
    let summary = Summary::of(workers.iter().map(|(_, word)| *word));
    let mut text = format!("{summary}\n");
    for (line, _) in workers.iter().filter(|(_, word)| word.counts() && !word.is_up()) {
        let _ = writeln!(text, "{line}");
    }
    let status = match summary.up {
        0 => 2,
        up if up < summary.workers => 1,
        _ => 0,
    };
    Check { status, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Supervisor = Supervisor { pid: 4711, start: 17 };

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
        let text = page(US, &rows(), Duration::ZERO);
        assert_eq!(
            text,
            "# fcgi-spawn pid=4711 start=17 workers=2 up=1 written=1970-01-01T00:00:00Z\n\
             # slot pid state age restarts last-exit next-start rss\n\
             1 4712 running 3600s 0 - - 5120KiB\n\
             2 - waiting - 3 exit:1 10s -\n"
        );
        let Page { supervisor, workers } = parse(&text).expect("ours");
        assert_eq!((supervisor, workers[0].1, workers[1].1), (US, Word::Running, Word::Waiting));
        let killed = LastExit::Status(ExitStatus::from_raw(9));
        assert_eq!((killed.to_string(), LastExit::NotStarted.to_string()), ("signal:9".into(), "not-started".into()));
    }

    #[test]
    fn every_word_is_read_again() {
        for word in Word::ALL {
            let text = page(US, &[row(1, word)], Duration::ZERO);
            assert_eq!(parse(&text).expect("ours").workers[0].1, word);
        }
    }

    #[test]
    fn a_verdict_has_a_status() {
        let verdict = |words: &[Word]| {
            let workers: Vec<_> = words.iter().map(|word| ("line", *word)).collect();
            verdict(&workers)
        };
        let check = |status, text: &str| Check { status, text: text.into() };
        assert_eq!(verdict(&[Word::Running, Word::Idle, Word::Reloading]), check(0, "3 of 3 workers up\n"));
        assert_eq!(verdict(&[Word::Running, Word::Stopping]), check(0, "1 of 1 workers up\n"));
        assert_eq!(verdict(&[Word::Running, Word::Waiting]), check(1, "1 of 2 workers up\nline\n"));
        assert_eq!(verdict(&[Word::Starting, Word::Stopped]), check(2, "0 of 2 workers up\nline\nline\n"));
        assert_eq!(verdict(&[]), check(2, "0 of 0 workers up\n"));
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
        assert!(Supervisor { pid, start }.is_alive());
        assert!(!Supervisor { pid, start: start + 1 }.is_alive());
    }
}
