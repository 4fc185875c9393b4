//! What the workers write to stdout and stderr, as lines of the log.
//!
//! Each worker has two pipes, which are read as soon as something is in them. What the log does not take waits in one
//! backlog of bounded size; what does not fit there is counted, and said when there is room again.

mod backlog;
mod entry;
mod lines;
mod log;
pub(crate) mod logger;
mod syslog;
mod target;
mod utc;

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) use self::entry::{Entry, From, Priority, Tag};
use self::lines::Lines;
pub(crate) use self::log::Log;
pub(crate) use self::syslog::Syslog;
pub(crate) use self::utc::Utc;
use crate::sys::{self, Pid};

/// The pipes of all workers, and the log they lead to.
pub(crate) struct Output {
    log: Log,
    streams: Vec<Stream>,
    /// The name of the next stream.
    next: Id,
    buffer: Box<[u8]>,
}

/// One of a worker's streams, as long as somebody has its other end.
struct Stream {
    id: Id,
    pipe: File,
    kind: Kind,
    tag: Tag,
    lines: Lines,
}

/// A stream's name; none is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u64);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stdout,
    Stderr,
}

/// The pipes of a worker that is not started yet.
pub(crate) struct Pipes {
    ours: [OwnedFd; 2],
    theirs: [OwnedFd; 2],
}

impl Pipes {
    pub(crate) fn new() -> io::Result<Self> {
        let (stdout, its_stdout) = sys::pipe()?;
        let (stderr, its_stderr) = sys::pipe()?;
        Ok(Pipes { ours: [stdout, stderr], theirs: [its_stdout, its_stderr] })
    }

    /// What is to be the worker's stdout and stderr.
    pub(crate) fn theirs(&self) -> [BorrowedFd<'_>; 2] {
        self.theirs.each_ref().map(AsFd::as_fd)
    }
}

impl Output {
    /// Processes that a worker left behind may hold its streams: of these no more are kept than this.
    const MOST_LEFT: usize = 64;
    /// How often a stream is read at most before its worker's end is told: twice of what a pipe holds.
    const LAST_READS: usize = 8;

    pub(crate) fn new(log: Log) -> Self {
        Output { log, streams: Vec::new(), next: Id(0), buffer: vec![0; 16 << 10].into() }
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Takes care of a new worker's pipes. `workers` is how many there are.
    pub(crate) fn add(&mut self, tag: Tag, pipes: Pipes, workers: usize) {
        let [stdout, stderr] = pipes.ours;
        self.adopt(tag, Kind::Stdout, stdout);
        self.adopt(tag, Kind::Stderr, stderr);
        let most = 2 * workers + Self::MOST_LEFT;
        while self.streams.len() > most {
            self.end_line(0);
            self.streams.remove(0);
        }
    }

    /// Our ends of the stdout and stderr of this worker.
    pub(crate) fn ends(&self, pid: Pid) -> [Option<BorrowedFd<'_>>; 2] {
        [Kind::Stdout, Kind::Stderr].map(|kind| {
            let stream = self.streams.iter().find(|stream| stream.tag.pid == pid && stream.kind == kind);
            stream.map(|stream| stream.pipe.as_fd())
        })
    }

    /// Takes care of the pipes of a worker that were handed over to us.
    pub(crate) fn take_over(&mut self, tag: Tag, ends: [Option<OwnedFd>; 2]) {
        for (kind, end) in [Kind::Stdout, Kind::Stderr].into_iter().zip(ends) {
            end.into_iter().for_each(|end| self.adopt(tag, kind, end));
        }
    }

    /// Writes what there is of lines that have not ended.
    pub(crate) fn end_lines(&mut self) {
        (0..self.streams.len()).for_each(|at| self.end_line(at));
    }

    /// Takes care of one stream.
    fn adopt(&mut self, tag: Tag, kind: Kind, pipe: OwnedFd) {
        let id = self.next;
        self.next = Id(id.0 + 1);
        self.streams.push(Stream { id, pipe: pipe.into(), kind, tag, lines: Lines::default() });
    }

    /// All streams, to be polled.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (Id, &File)> {
        self.streams.iter().map(|stream| (stream.id, &stream.pipe))
    }

    /// Takes what a stream has, at most a buffer full; `false` if that is nothing.
    pub(crate) fn read(&mut self, id: Id) -> bool {
        let Some(at) = self.streams.iter().position(|stream| stream.id == id) else { return false };
        let stream = &mut self.streams[at];
        match stream.pipe.read(&mut self.buffer) {
            Ok(read @ 1..) => {
                let (tag, kind, log) = (stream.tag, stream.kind, &self.log);
                stream.lines.push(&self.buffer[..read], |text, cut| log.write(&line(tag, kind, text, cut)));
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => false,
            Ok(0) | Err(_) => {
                self.end_line(at);
                self.streams.remove(at);
                false
            }
        }
    }

    /// Takes what a worker that has ended left in its pipes, so that its last words stand before the news of its end.
    pub(crate) fn ended(&mut self, pid: Pid) {
        let left: Vec<_> = self.streams.iter().filter(|stream| stream.tag.pid == pid).map(|stream| stream.id).collect();
        for id in left {
            // Processes that it left behind may go on writing.
            let _ = (0..Self::LAST_READS).find(|_| !self.read(id));
            if let Some(at) = self.streams.iter().position(|stream| stream.id == id) {
                self.end_line(at);
            }
        }
    }

    fn end_line(&mut self, at: usize) {
        let (stream, log) = (&mut self.streams[at], &self.log);
        let (tag, kind) = (stream.tag, stream.kind);
        stream.lines.end(|text, cut| log.write(&line(tag, kind, text, cut)));
    }
}

fn line(tag: Tag, kind: Kind, text: &[u8], cut: u64) -> Entry<'_> {
    let priority = match kind {
        Kind::Stdout => Priority::Info,
        Kind::Stderr => Priority::Warning,
    };
    Entry { priority, from: From::Worker(tag), text, cut }
}
