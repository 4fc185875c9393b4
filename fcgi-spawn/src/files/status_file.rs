//! The status file: the page about the workers, written when something has changed and every 10 seconds.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Error;
use crate::files::atomic_file::{AtomicFile, FileMode};
use crate::files::directories::Directories;
use crate::files::page::{self, Listening, Row, Word, Writer};
use crate::files::place::Place;
use crate::process::usage;
use crate::sys::{self, Pid};

/// How old the page gets.
const PERIOD: Duration = Duration::from_secs(10);

/// The file, while we write it, for monitors that are other users. It is removed when this is dropped.
pub(crate) struct StatusFile {
    file: AtomicFile,
    directories: Directories,
    us: Writer,
    next: Instant,
    /// What it says, but for times and memory.
    said: Option<Said>,
    /// Whether writing has failed, which is reported once.
    failed: bool,
}

/// What makes a new page when it changes.
type Said = (Listening, Vec<(Option<Pid>, Word, u64)>);

impl StatusFile {
    /// Refuses at once what cannot be written.
    pub(crate) fn new(path: &Path, mkdir: bool, now: Instant) -> Result<Self, Error> {
        let made = match mkdir {
            true => Directories::above(path),
            false => Place::of(path).map(|place| (place, Directories::default())),
        };
        made.and_then(|(place, directories)| Self::at(place, directories, now)).map_err(|error| failed(path, &error))
    }

    /// In the place of the one that a predecessor has written, with so many directories above it.
    pub(crate) fn adopt(path: &Path, made: usize, now: Instant) -> Result<Self, Error> {
        let place = Place::of(path).and_then(|place| Self::at(place, Directories::adopt(path, made), now));
        place.map_err(|error| failed(path, &error))
    }

    fn at(place: Place, directories: Directories, now: Instant) -> io::Result<Self> {
        let file = AtomicFile::new(place, FileMode::Exact)?;
        Ok(StatusFile { file, directories, us: Writer::ours(), next: now, said: None, failed: false })
    }

    /// How many directories were made for it.
    pub(crate) fn made(&self) -> usize {
        self.directories.count()
    }

    /// When it is to be written again, if nothing happens before.
    pub(crate) fn deadline(&self) -> Instant {
        self.next
    }

    /// Writes it, if it is time or something has changed.
    pub(crate) fn update(&mut self, listening: Listening, rows: &mut [Row], now: Instant) {
        let news: Said = (listening, rows.iter().map(|row| (row.pid, row.state, row.restarts)).collect());
        if now < self.next && self.said.as_ref() == Some(&news) {
            return;
        }
        self.said = Some(news);
        self.next = now + PERIOD;
        rows.iter_mut().for_each(|row| row.rss = row.pid.map(usage::rss));
        match self.file.write(page::text(self.us, listening, rows, sys::time_of_day()).as_bytes()) {
            Ok(()) => self.failed = false,
            Err(error) => {
                if !self.failed {
                    log::warn!("{}", failed(self.file.path(), &error));
                }
                self.failed = true;
            }
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::io("write status file", path, error)
}
