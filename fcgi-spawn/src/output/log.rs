//! The log: lines go in, and never wait for whoever reads them.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Reason;
use crate::output::backlog::{Backlog, Lost};
use crate::output::entry::{Entry, From, Priority};
use crate::output::logger;
use crate::output::target::Target;
use crate::sys::For;
use crate::{Error, LogTo, sys};

/// A handle on the log that the supervisor, its workers and the `log` macros share. Nothing in here may use these.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Inner>>);

struct Inner {
    target: Target,
    backlog: Backlog,
    /// Why lines were lost the last time, if not for want of room.
    failure: Option<String>,
}

impl Log {
    /// How long the last lines may take when we end.
    const LAST_WAIT: Duration = Duration::from_secs(1);

    /// `stderr` is the one to use if that was handed over to us.
    pub(crate) fn open(to: &LogTo, stderr: Option<OwnedFd>) -> Result<Self, Error> {
        let inner = Inner { target: Target::open(to, stderr)?, backlog: Backlog::default(), failure: None };
        Ok(Log(Arc::new(Mutex::new(inner))))
    }

    /// Writes a line, or has it wait, or counts it as lost.
    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let mut inner = self.lock();
        let line = inner.target.format(entry, logger::name());
        // Before, too: there may be room again.
        inner.flush();
        inner.backlog.push(line);
        inner.flush();
    }

    /// Writes what waits, as far as there is room.
    pub(crate) fn flush(&self) {
        self.lock().flush();
    }

    /// Opens it anew.
    pub(crate) fn reopen(&self) -> Result<(), Error> {
        let mut inner = self.lock();
        inner.target.reopen()?;
        inner.flush();
        Ok(())
    }

    /// What to wait on until there is room, if something waits for it.
    pub(crate) fn waits_for(&self) -> Option<OwnedFd> {
        let inner = self.lock();
        if inner.backlog.is_empty() { None } else { inner.target.as_fd().try_clone_to_owned().ok() }
    }

    /// Has the stderr we were started with survive an exec, or not, and says which descriptor that is, if it is the log.
    pub(crate) fn hand_over(&self, survives: bool) -> Option<RawFd> {
        let inner = self.lock();
        let Target::Stderr(_) = inner.target else { return None };
        sys::set_close_on_exec(&inner.target, !survives).ok()?;
        Some(inner.target.as_fd().as_raw_fd())
    }

    /// Gives the last lines a moment to be written.
    pub(crate) fn finish(&self) {
        let end = Instant::now() + Self::LAST_WAIT;
        while let Some(fd) = self.waits_for() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || sys::poll(&[(fd.as_fd(), For::Writing)], Some(left)).is_err() {
                return;
            }
            self.flush();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn flush(&mut self) {
        loop {
            let Some(line) = self.backlog.next() else { if self.tell_lost() { continue } else { return } };
            match self.target.write(line) {
                Ok(written @ 1..) => self.backlog.wrote(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(0) => self.backlog.lose_first(),
                Err(error) => {
                    self.failure = Some(Reason(&error).to_string());
                    self.backlog.lose_first();
                }
            }
        }
    }

    /// Writes how much is missing here; `false` if nothing is, or if that cannot be written either.
    fn tell_lost(&mut self) -> bool {
        let Some(lost) = self.backlog.take_lost() else { return false };
        let line = self.target.format(&notice(lost, self.failure.as_deref()).entry(), logger::name());
        match self.target.write(&line) {
            Ok(written) => {
                self.failure = None;
                self.backlog.push(line);
                self.backlog.wrote(written);
                true
            }
            Err(_) => {
                self.backlog.still_lost(lost);
                false
            }
        }
    }
}

/// A line of our own.
struct Notice(String);

impl Notice {
    fn entry(&self) -> Entry<'_> {
        Entry { priority: Priority::Warning, from: From::Us(logger::name()), text: self.0.as_bytes(), cut: 0 }
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
    use std::path::{Path, PathBuf};

    use super::*;

    fn path(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("fcgi-spawn-log-{test}-{}", std::process::id()))
    }

    fn log(to: &Path) -> Log {
        Log::open(&LogTo::File(to.into()), None).expect("opened")
    }

    fn say(log: &Log, text: &str) {
        log.write(&Entry { priority: Priority::Info, from: From::Us("it"), text: text.as_bytes(), cut: 0 });
    }

    /// The lines without their times.
    fn texts(log: &str) -> Vec<&str> {
        log.lines().map(|line| &line["1970-01-01T00:00:00Z ".len()..]).collect()
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let (path, moved) = (path("moved"), path("moved-old"));
        let log = log(&path);
        say(&log, "one");
        fs::rename(&path, &moved).expect("renamed");
        say(&log, "two");
        log.reopen().expect("opened");
        say(&log, "three");
        let read = |path| fs::read_to_string(path).expect("read");
        assert_eq!(texts(&read(&moved)), ["it: one", "it: two"]);
        assert_eq!(texts(&read(&path)), ["it: three"]);
        assert!(log.waits_for().is_none());
        fs::remove_file(&path).expect("removed");
        fs::remove_file(&moved).expect("removed");
    }

    #[test]
    fn a_full_disk_is_told_when_there_is_room_again() {
        let (path, full) = (path("disk"), path("disk-full"));
        std::os::unix::fs::symlink("/dev/full", &full).expect("linked");
        let log = log(&full);
        say(&log, "one");
        say(&log, "two");
        assert!(log.waits_for().is_none());
        fs::remove_file(&full).expect("removed");
        std::os::unix::fs::symlink(&path, &full).expect("linked");
        log.reopen().expect("opened");
        say(&log, "three");
        let bytes = 2 * "1970-01-01T00:00:00Z it: one\n".len();
        let notice = format!("fcgi-spawn: 2 lines ({bytes} bytes) lost: No space left on device");
        assert_eq!(texts(&fs::read_to_string(&path).expect("read")), [notice.as_str(), "it: three"]);
        fs::remove_file(&path).expect("removed");
        fs::remove_file(&full).expect("removed");
    }

    #[test]
    fn a_reader_that_is_slow_is_told_what_it_missed() {
        let path = path("slow");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().is_ok_and(|status| status.success()));
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
