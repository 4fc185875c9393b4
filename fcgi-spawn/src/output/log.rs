//! The log: lines go in, and no caller waits for its reader.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Reason;
use crate::output::backlog::{Backlog, Lost};
use crate::output::entry::{Entry, From, Priority};
use crate::output::target::Target;
use crate::output::write_error::WriteError;
use crate::output::{name, stream};
use crate::{Error, LogTo, sys};

/// A handle on the log, shared by the supervisor, its workers' streams and the `log` macros. Nothing in here may use
/// these.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Inner>>);

struct Inner {
    target: Target,
    backlog: Backlog,
    /// Why lines were lost last, other than for want of room.
    failure: Option<String>,
    /// Not before this time is anything written: the receiver is away, or takes nothing although poll says so.
    retry: Option<Instant>,
    /// The last line in the log has no end.
    is_torn: bool,
}

impl Log {
    /// How long the last lines may take when the process ends.
    const LAST_WAIT: Duration = Duration::from_secs(1);
    /// When a syslog that is away is tried again.
    const AWAY: Duration = Duration::from_secs(1);
    /// When a terminal is tried again that is ready for poll and takes nothing.
    const NO_PROGRESS: Duration = Duration::from_millis(100);

    /// Without [`to`](LogTo) lines are lost. `given` is the descriptor to use in place of one that it names, if another has
    /// its number now.
    pub(crate) fn open(to: Option<&LogTo>, given: Option<OwnedFd>) -> Result<Self, Error> {
        let target = to.map_or(Ok(Target::Nowhere), |to| Target::open(to, given))?;
        let (backlog, failure, retry) = (Backlog::default(), None, None);
        Ok(Log(Arc::new(Mutex::new(Inner { target, backlog, failure, retry, is_torn: false }))))
    }

    /// Writes a line, or has it wait, or counts it as lost.
    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let mut inner = self.lock();
        let Some(line) = inner.target.format(entry, name::get()) else { return };
        // Before, too: there may be room again.
        inner.flush();
        inner.backlog.push(line);
        inner.flush();
    }

    /// Writes what waits, as far as there is room.
    pub(crate) fn flush(&self) {
        self.lock().flush();
    }

    /// Writes what waits, now that poll says that there is room.
    pub(crate) fn flush_ready(&self) {
        let mut inner = self.lock();
        let before = inner.waiting();
        inner.flush();
        if inner.waiting() == before && inner.retry.is_none() {
            inner.retry = before.map(|_| Instant::now() + Self::NO_PROGRESS);
        }
    }

    /// Opens it anew after a rotation; returns whether it is a log that can be.
    pub(crate) fn reopen(&self) -> Result<bool, Error> {
        let mut inner = self.lock();
        let reopened = inner.target.reopen()?;
        inner.is_torn &= !inner.target.is_empty_file();
        inner.retry = None;
        inner.flush();
        Ok(reopened)
    }

    /// What to wait on until there is room, if something waits for it.
    pub(crate) fn waits_for(&self) -> Option<OwnedFd> {
        let inner = self.lock();
        if inner.waiting().is_none() || inner.retry.is_some() {
            return None;
        }
        inner.target.fd()?.try_clone_to_owned().ok()
    }

    /// When to [`flush`](Self::flush) if there is nothing to wait on.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let inner = self.lock();
        inner.retry.filter(|_| inner.waiting().is_some())
    }

    /// Whether writing would block if other processes used our stderr at the same moment.
    pub(crate) fn can_block(&self) -> bool {
        matches!(&self.lock().target, Target::Stderr(stream) if stream.can_block())
    }

    pub(crate) fn is_stderr(&self) -> bool {
        matches!(self.lock().target, Target::Stderr(_))
    }

    /// Has the descriptor that the log was started with survive an exec, or not, and returns its number.
    pub(crate) fn hand_over(&self, survives: bool) -> Option<RawFd> {
        self.lock().target.given().map(|given| sys::survive_exec(given, survives))
    }

    /// Gives the last lines a moment to be written.
    pub(crate) fn finish(&self) {
        let end = Instant::now() + Self::LAST_WAIT;
        loop {
            let mut inner = self.lock();
            inner.retry = None;
            inner.flush();
            if inner.waiting().is_none() || Instant::now() >= end {
                return;
            }
            drop(inner);
            thread::sleep(stream::PAUSE);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// How many bytes wait for room, if any do. The report of lines for which there was none waits, too.
    fn waiting(&self) -> Option<usize> {
        let is_report = self.backlog.has_lost() && self.failure.is_none();
        (is_report || !self.backlog.is_empty()).then(|| self.backlog.left())
    }

    fn flush(&mut self) {
        if self.retry.is_some_and(|retry| Instant::now() < retry) {
            return;
        }
        self.retry = None;
        loop {
            if self.backlog.is_empty() && !self.tell_lost() {
                return;
            }
            let Some((line, written)) = self.backlog.next() else { return };
            match write(&mut self.target, &mut self.is_torn, line, written) {
                Ok(written) => {
                    self.backlog.wrote(written);
                    if !self.backlog.has_lost() {
                        self.failure = None;
                    }
                }
                Err(WriteError::Full) => return,
                Err(WriteError::Away(error)) => {
                    self.backlog.wrote(0);
                    return self.wait_for_return(&error);
                }
                Err(WriteError::Failed(error)) => {
                    self.is_torn |= written > 0;
                    self.failure = Some(Reason(&error).to_string());
                    self.backlog.lose_first();
                }
            }
        }
    }

    /// Writes how much is missing here; `false` if nothing is, or if that cannot be written either.
    fn tell_lost(&mut self) -> bool {
        let Some(lost) = self.backlog.take_lost() else { return false };
        let notice = notice(lost, self.failure.as_deref());
        let Some(line) = self.target.format(&notice.entry(), name::get()) else { return false };
        match write(&mut self.target, &mut self.is_torn, &line, 0) {
            Ok(written) => {
                self.failure = None;
                self.backlog.push(line);
                self.backlog.wrote(written);
                true
            }
            Err(refused) => {
                self.backlog.still_lost(lost);
                if let WriteError::Away(error) = refused {
                    self.wait_for_return(&error);
                }
                false
            }
        }
    }

    fn wait_for_return(&mut self, error: &io::Error) {
        self.failure = Some(Reason(error).to_string());
        self.retry = Some(Instant::now() + Log::AWAY);
    }
}

/// Writes a line, or the rest of one, behind the end of a line.
fn write(target: &mut Target, is_torn: &mut bool, line: &[u8], written: usize) -> Result<usize, WriteError> {
    if *is_torn {
        target.write(b"\n", 0)?;
        *is_torn = false;
    }
    target.write(line, written)
}

/// A line of our own.
struct Notice(String);

impl Notice {
    fn entry(&self) -> Entry<'_> {
        Entry { priority: Priority::Warning, from: From::Us(name::get()), text: self.0.as_bytes(), cut: 0 }
    }
}

fn notice(lost: Lost, failure: Option<&str>) -> Notice {
    let Lost { lines, bytes } = lost;
    let lines = if lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") };
    Notice(format!("{lines} ({bytes} bytes) lost: {}", failure.unwrap_or("the log was full")))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::path::{Path, PathBuf};

    use super::*;

    fn path(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("fcgi-spawn-log-{test}-{}", std::process::id()))
    }

    fn fifo(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().is_ok_and(|status| status.success()));
    }

    fn log(to: &Path) -> Log {
        Log::open(Some(&LogTo::File(to.into())), None).expect("opened")
    }

    fn say(log: &Log, text: &str) {
        log.write(&Entry { priority: Priority::Info, from: From::Us("it"), text: text.as_bytes(), cut: 0 });
    }

    /// The lines without their times.
    fn texts(log: &str) -> Vec<&str> {
        log.lines().map(|line| &line["1970-01-01T00:00:00Z ".len()..]).collect()
    }

    #[test]
    fn moved_file_is_reopened() {
        let (path, moved) = (path("moved"), path("moved-old"));
        let log = log(&path);
        say(&log, "one");
        fs::rename(&path, &moved).expect("renamed");
        say(&log, "two");
        log.lock().is_torn = true;
        assert!(log.reopen().expect("opened"));
        say(&log, "three");
        let read = |path| fs::read_to_string(path).expect("read");
        assert_eq!(texts(&read(&moved)), ["it: one", "it: two"]);
        assert_eq!(texts(&read(&path)), ["it: three"]);
        assert!(log.waits_for().is_none());
        fs::remove_file(&path).expect("removed");
        fs::remove_file(&moved).expect("removed");
    }

    #[test]
    fn lines_lost_on_a_full_disk_are_counted_when_there_is_room() {
        let path = path("disk");
        let log = log(Path::new("/dev/full"));
        say(&log, "one");
        say(&log, "two");
        assert!(log.waits_for().is_none());
        log.lock().target = Target::open(&LogTo::File(path.clone()), None).expect("opened");
        say(&log, "three");
        let bytes = 2 * "1970-01-01T00:00:00Z it: one\n".len();
        let notice = format!("fcgi-spawn: 2 lines ({bytes} bytes) lost: No space left on device");
        assert_eq!(texts(&fs::read_to_string(&path).expect("read")), [notice.as_str(), "it: three"]);
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn line_behind_a_cut_one_has_a_line_of_its_own() {
        let path = path("torn");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let log = Log::open(Some(&LogTo::Stderr), Some(theirs.into())).expect("opened");
        while log.waits_for().is_none() {
            say(&log, &"x".repeat(3000));
        }
        // As if a part of the waiting line had found room.
        log.lock().backlog.wrote(10);
        ours.shutdown(std::net::Shutdown::Both).expect("shut down");
        log.flush();
        assert!(log.lock().is_torn);
        assert!(log.lock().backlog.is_empty());
        log.lock().target = Target::open(&LogTo::File(path.clone()), None).expect("opened");
        say(&log, "next");
        let text = fs::read_to_string(&path).expect("read");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].is_empty() && lines[1].ends_with("lost: Broken pipe"), "{text}");
        assert!(lines[2].ends_with("Z it: next") && lines.len() == 3, "{text}");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn terminal_that_is_ready_and_takes_nothing_is_not_tried_at_once() {
        let path = path("ready");
        fifo(&path);
        let log = log(&path);
        while log.waits_for().is_none() {
            say(&log, &"x".repeat(500));
        }
        assert_eq!(log.deadline(), None);
        log.flush_ready();
        assert!(log.waits_for().is_none() && log.deadline().is_some());
        let mut reader = File::open(&path).expect("opened");
        reader.read_exact(&mut [0; 50_000]).expect("read");
        log.lock().retry = Some(Instant::now());
        log.flush();
        assert_eq!(log.deadline(), None);
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn lines_wait_while_syslog_is_away() {
        let path = path("away");
        let bind = || UnixDatagram::bind(&path).expect("bound");
        let daemon = bind();
        let log = Log::open(Some(&LogTo::Syslog(path.clone())), None).expect("opened");
        // Closing it is not enough while a child of another test has a copy.
        daemon.shutdown(std::net::Shutdown::Both).expect("shut down");
        fs::remove_file(&path).expect("removed");
        say(&log, "one");
        assert!(log.waits_for().is_none() && log.deadline().is_some());
        let daemon = bind();
        daemon.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let far = Instant::now() + Duration::from_secs(1000);
        log.lock().retry = Some(far);
        say(&log, "two");
        assert_eq!(log.deadline(), Some(far), "it is not tried with each line");
        log.finish();
        assert_eq!(log.deadline(), None);
        for wanted in ["one", "two"] {
            let mut buffer = [0; 100];
            let len = daemon.recv(&mut buffer).expect("received");
            assert!(String::from_utf8_lossy(&buffer[..len]).ends_with(&format!(": {wanted}")));
        }
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn lines_lost_to_a_slow_reader_are_counted() {
        let path = path("slow");
        fifo(&path);
        let log = log(&path);
        let said = 1000;
        for number in 0..said {
            say(&log, &format!("{number} {}", "x".repeat(500)));
        }
        assert!(log.waits_for().is_some());
        let mut reader = File::open(&path).expect("opened");
        let mut got = String::new();
        while log.waits_for().is_some() || !got.ends_with("full\n") {
            let mut buffer = [0; 4096];
            let read = reader.read(&mut buffer).expect("read");
            got.push_str(std::str::from_utf8(&buffer[..read]).expect("text"));
            log.flush();
        }
        let lines = texts(&got);
        let (last, kept) = lines.split_last().expect("lines");
        for (number, line) in kept.iter().enumerate() {
            assert!(line.starts_with(&format!("it: {number} x")));
        }
        let lost = format!("fcgi-spawn: {} lines (", said - kept.len());
        assert!(last.starts_with(&lost) && last.ends_with("lost: the log was full"), "{last}");
        fs::remove_file(&path).expect("removed");
    }
}
