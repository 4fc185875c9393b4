//! The status file: the page about the workers, written soon after something has changed and every 10 seconds.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process;
use std::time::{Duration, Instant};

use crate::Error;
use crate::error::Reason;
use crate::files::atomic_file::{AtomicFile, FileMode};
use crate::files::directories::Directories;
use crate::files::page::{self, Header, Listening, Reload, ReloadWord, Row, Word};
use crate::files::page_lock::{PageLock, Taken};
use crate::files::place::Place;
use crate::process::connections::Busy;
use crate::process::usage;
use crate::sys::{self, Pid};

/// How old the page gets.
pub(crate) const PERIOD: Duration = Duration::from_secs(10);

/// Between two pages: what changes within it is written together.
const PACE: Duration = Duration::from_millis(100);

/// The same as so many times what the last page took, for one that is long, and how long it is at most then.
const SHARE: u32 = 500;
const LONGEST_PACE: Duration = Duration::from_secs(1);

/// The file, while we write it, for monitors that are other users. It is removed when this is dropped.
pub(crate) struct StatusFile {
    file: AtomicFile,
    /// As long as we have it, this is our page.
    lock: Option<PageLock>,
    /// Removed behind the files in them.
    directories: Directories,
    /// When a page has to be written, and from when on one may be if that is not at once.
    next: Instant,
    earliest: Option<Instant>,
    /// Something may have changed.
    is_due: bool,
    /// It is not written any more.
    is_finished: bool,
    /// What it says, but for times and memory.
    said: Option<Said>,
    /// The memory of the process in each row, in this state, and when all was measured.
    memory: Vec<Option<(Pid, Word, u64)>>,
    measured: Option<Instant>,
    /// Whether writing has failed, which is reported once.
    failed: bool,
}

/// What makes a new page when it changes.
type Said = (Listening, (u64, ReloadWord), Vec<(Option<Pid>, Word, u64)>);

impl StatusFile {
    /// Refuses at once what cannot be written, or is written by another supervisor.
    pub(crate) fn new(path: &Path, mkdir: bool, now: Instant) -> Result<Self, Error> {
        let made = match mkdir {
            true => Directories::above(path),
            false => Place::of(path).map(|place| (place, Directories::default())),
        };
        made.and_then(|(place, directories)| Self::at(place, directories, now, take_lock))
            .map_err(|error| failed(path, &error))
    }

    /// In the place of the one that a predecessor has written, with so many directories above it, and with its lock.
    pub(crate) fn adopt(path: &Path, made: usize, lock: &mut Option<OwnedFd>, now: Instant) -> Result<Self, Error> {
        let lock = |page: &Place| PageLock::adopt(page, lock);
        let place = Place::of(path).and_then(|place| Self::at(place, Directories::adopt(path, made), now, lock));
        place.map_err(|error| failed(path, &error))
    }

    fn at(
        place: Place,
        directories: Directories,
        now: Instant,
        lock: impl FnOnce(&Place) -> io::Result<Option<PageLock>>,
    ) -> io::Result<Self> {
        let lock = lock(&place)?;
        let file = AtomicFile::new(place, FileMode::Exact)?;
        let (memory, measured) = (Vec::new(), None);
        let (next, earliest, said) = (now, None, None);
        let (is_due, is_finished, failed) = (true, false, false);
        Ok(StatusFile { file, directories, lock, next, earliest, is_due, is_finished, said, memory, measured, failed })
    }

    /// How many directories were made for it.
    pub(crate) fn made(&self) -> usize {
        self.directories.count()
    }

    /// What a successor in this process needs to keep the lock.
    pub(crate) fn lock(&self) -> Option<BorrowedFd<'_>> {
        self.lock.as_ref().map(AsFd::as_fd)
    }

    /// Something may have changed.
    pub(crate) fn changed(&mut self) {
        self.is_due = true;
    }

    /// Something has changed that others are told by other means: they may look at once.
    pub(crate) fn changed_for_all(&mut self) {
        (self.is_due, self.earliest) = (true, None);
    }

    /// Whether it is time to look whether there is something new, and to write it.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.is_finished && if self.is_due { self.earliest.is_none_or(|then| now >= then) } else { now >= self.next }
    }

    /// When it is to be looked at again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let then = if self.is_due { self.earliest } else { None };
        (!self.is_finished).then_some(then.unwrap_or(self.next))
    }

    /// Writes it, if it is time or something has changed.
    pub(crate) fn update(&mut self, listening: Listening, busy: Busy, reload: Reload, rows: &mut [Row], now: Instant) {
        self.is_due = false;
        let of_rows = rows.iter().map(|row| (row.pid, row.state, row.restarts)).collect();
        let news: Said = (listening, (reload.number, reload.result), of_rows);
        if now < self.next && self.said.as_ref() == Some(&news) {
            return;
        }
        self.said = Some(news);
        let begun = Instant::now();
        self.measure(rows, now);
        self.keep_lock();
        let header = Header {
            pid: process::id(),
            busy: busy.workers,
            waiting: busy.waiting,
            listening,
            is_locked: self.lock.is_some(),
            clock: sys::monotonic(),
            reload,
        };
        match self.file.write(page::text(&header, rows, sys::time_of_day()).as_bytes()) {
            Ok(()) => self.failed = false,
            Err(error) => {
                if !self.failed {
                    log::warn!("{}", failed(self.file.path(), &error));
                }
                self.failed = true;
            }
        }
        let pace = PACE.max(LONGEST_PACE.min(SHARE * begun.elapsed()));
        (self.next, self.earliest) = (now + PERIOD, Some(now + pace));
    }

    /// The lock is taken again if its file was removed, and later if a process that may only read it was in the way.
    fn keep_lock(&mut self) {
        if self.lock.as_ref().is_some_and(PageLock::is_there) {
            return;
        }
        let taken = PageLock::take(self.file.place());
        if let (Some(lost), false) = (self.lock.take(), matches!(taken, Ok(Taken::Ours(_)))) {
            log::warn!("'{}' was removed and cannot be made again; going on without the lock", lost.path().display());
        }
        if let Ok(Taken::Ours(lock)) = taken {
            self.lock = Some(lock);
        }
    }

    /// Memory is measured anew every period, and when a process is new or in another state.
    fn measure(&mut self, rows: &mut [Row], now: Instant) {
        let is_old = self.measured.is_none_or(|then| now >= then + PERIOD);
        if is_old {
            self.measured = Some(now);
            self.memory.clear();
        }
        self.memory.resize(rows.len(), None);
        for (row, known) in rows.iter_mut().zip(&mut self.memory) {
            // Most processes are where they were.
            let is_same = |(pid, state, _): &(Pid, Word, u64)| row.pid == Some(*pid) && row.state == *state;
            *known = known.filter(is_same).or_else(|| row.pid.map(|pid| (pid, row.state, usage::rss(pid))));
            row.rss = known.map(|(.., rss)| rss);
        }
    }

    /// From now on the page may be another supervisor's, which may be starting already.
    pub(crate) fn finish(&mut self) {
        (self.lock, self.is_finished) = (None, true);
    }
}

fn take_lock(page: &Place) -> io::Result<Option<PageLock>> {
    let why = match PageLock::take(page) {
        Ok(Taken::Ours(lock)) => return Ok(Some(lock)),
        Ok(Taken::InUse) => return Err(io::Error::other("another supervisor writes it")),
        Ok(Taken::Refused) => "another process has locked it for reading".to_owned(),
        Err(error) => Reason(&error).to_string(),
    };
    log::warn!("cannot lock '{}.lock': {why}; going on without the lock", page.path().display());
    Ok(None)
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::io("write status file", path, error)
}
