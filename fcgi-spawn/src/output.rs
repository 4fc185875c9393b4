//! What the workers write to stdout and stderr, as lines of the log.
//!
//! Each worker has two pipes, which are read as soon as something is in them. What the log does not take waits in one
//! backlog of bounded size; what does not fit there is counted, and reported when there is room again.

mod backlog;
mod entry;
mod escape;
mod file;
mod lines;
mod log;
pub(crate) mod logger;
mod name;
mod refused;
mod stream;
mod streams;
mod syslog;
mod target;
mod utc;

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) use self::entry::{Entry, From, Priority, Tag};
pub(crate) use self::log::Log;
pub(crate) use self::streams::Id;
use self::streams::{Kind, Streams, WorkerStream};
pub(crate) use self::syslog::Syslog;
pub(crate) use self::utc::Utc;
use crate::sys::{self, Pid};
use crate::{Config, Error, LogTo};

/// The pipes of all workers, and the log they lead to.
pub(crate) struct Output {
    log: Log,
    /// Whether workers write to pipes of ours, rather than to our stdout and stderr.
    has_pipes: bool,
    streams: Streams,
    buffer: Box<[u8]>,
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

/// A descriptor of our own for a log that is one, such as `/dev/stderr`: in the background another has its number.
pub(crate) fn given(log: &LogTo) -> Result<Option<OwnedFd>, Error> {
    match log {
        LogTo::File(path) => file::given(path),
        LogTo::Syslog(_) | LogTo::Stderr => Ok(None),
    }
}

impl Output {
    /// How much is read at once.
    const BUFFER: usize = 16 << 10;
    /// How often a stream is read at most before its worker's end is reported: twice of what a pipe holds.
    const LAST_READS: usize = 8;

    /// Opens the log of a supervisor and writes our own messages to it. In the foreground stderr is the log if no other
    /// is configured; in the background there is none then. `given` is the descriptor to use in place of the log's own
    /// name for it, if there is one.
    pub(crate) fn open(config: &Config, given: Option<OwnedFd>) -> Result<Option<Self>, Error> {
        let to = match &config.log {
            Some(to) => to,
            None if config.foreground => &LogTo::Stderr,
            None => return Ok(None),
        };
        let log = Log::open(to, given)?;
        logger::direct_to(&log);
        let has_pipes = config.log.is_some() || log.can_block();
        Ok(Some(Output { log, has_pipes, streams: Streams::default(), buffer: Box::default() }))
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Whether each worker gets pipes: with a configured log, and where it could block us on a stderr that we share.
    pub(crate) fn has_pipes(&self) -> bool {
        self.has_pipes
    }

    /// Takes care of a new worker's pipes.
    pub(crate) fn add(&mut self, tag: Tag, pipes: Pipes) {
        let [stdout, stderr] = pipes.ours;
        self.streams.add(tag, Kind::Stdout, stdout);
        self.streams.add(tag, Kind::Stderr, stderr);
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
            end.into_iter().for_each(|end| self.streams.add(tag, kind, end));
        }
    }

    /// Writes what there is of lines that have not ended.
    pub(crate) fn end_lines(&mut self) {
        self.streams.iter_mut().for_each(|stream| end_line(stream, &self.log));
    }

    /// All streams, to be polled.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (Id, &File)> {
        self.streams.iter().map(|stream| (stream.id, &stream.pipe))
    }

    /// Reads what a stream has, at most a buffer full; `false` if that is nothing.
    pub(crate) fn read(&mut self, id: Id) -> bool {
        let Some(stream) = self.streams.get_mut(id) else { return false };
        if self.buffer.is_empty() {
            // Most supervisors never need it.
            self.buffer = vec![0; Self::BUFFER].into();
        }
        match stream.pipe.read(&mut self.buffer) {
            Ok(read @ 1..) => {
                let (tag, kind, log) = (stream.tag, stream.kind, &self.log);
                stream.lines.push(&self.buffer[..read], |text, cut| log.write(&line(tag, kind, text, cut)));
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => false,
            Ok(0) | Err(_) => {
                end_line(stream, &self.log);
                self.streams.remove(id);
                false
            }
        }
    }

    /// Reads what a worker that has ended left in its pipes, so that its last lines come before the report of its end.
    pub(crate) fn ended(&mut self, pid: Pid) {
        for id in self.streams.of(pid) {
            // Processes that it left behind may go on writing.
            let _ = (0..Self::LAST_READS).find(|_| !self.read(id));
            if let Some(stream) = self.streams.get_mut(id) {
                end_line(stream, &self.log);
            }
        }
        for mut removed in self.streams.ended(pid) {
            end_line(&mut removed, &self.log);
        }
    }

    /// Opens the log anew after a rotation, for SIGUSR1.
    pub(crate) fn reopen_log(&self) {
        match self.log.reopen() {
            Ok(true) => ::log::info!("SIGUSR1: log reopened"),
            Ok(false) => ::log::info!("SIGUSR1: log not reopened: only regular files and syslog are"),
            Err(error) => ::log::error!("SIGUSR1: {error}"),
        }
    }
}

fn end_line(stream: &mut WorkerStream, log: &Log) {
    let (tag, kind) = (stream.tag, stream.kind);
    stream.lines.end(|text, cut| log.write(&line(tag, kind, text, cut)));
}

fn line(tag: Tag, kind: Kind, text: &[u8], cut: u64) -> Entry<'_> {
    let priority = match kind {
        Kind::Stdout => Priority::Info,
        Kind::Stderr => Priority::Warning,
    };
    Entry { priority, from: From::Worker(tag), text, cut }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// An output to a file without a name, and the file.
    fn output(test: &str) -> (Output, File) {
        let path = std::env::temp_dir().join(format!("fcgi-spawn-output-{test}-{}", std::process::id()));
        // Not `open`: the logger is that of all tests.
        let log = Log::open(&LogTo::File(path.clone()), None).expect("opened");
        let file = File::open(&path).expect("it was created");
        std::fs::remove_file(&path).expect("removed");
        let output = Output { log, has_pipes: true, streams: Streams::default(), buffer: vec![0; 1000].into() };
        (output, file)
    }

    /// Adds the pipes of a worker, and returns the other ends.
    fn add(output: &mut Output, pid: i32) -> [File; 2] {
        let pipes = Pipes::new().expect("pipes");
        let theirs = pipes.theirs.each_ref().map(|end| File::from(end.try_clone().expect("a copy")));
        output.add(Tag { number: 1, pid: Pid::for_test(pid) }, pipes);
        theirs
    }

    #[test]
    fn streams_of_the_longest_dead_worker_go_first() {
        let (mut output, _) = output("orphans");
        let mut live = add(&mut output, 1);
        // Processes that they left behind hold all these.
        let orphans: Vec<_> = (2..60).map(|pid| (pid, add(&mut output, pid))).collect();
        for (pid, _) in orphans.iter().rev() {
            output.ended(Pid::for_test(*pid));
        }
        let kept: Vec<_> = output.streams.iter().map(|stream| stream.tag.pid.number()).collect();
        let last_to_end = 2..2 + Streams::MOST_LEFT as i32 / 2;
        let expected: Vec<_> = [1, 1].into_iter().chain(last_to_end.flat_map(|pid| [pid; 2])).collect();
        assert_eq!(kept, expected);
        live.iter_mut().for_each(|end| end.write_all(b"alive\n").expect("it is read"));
    }

    #[test]
    fn pid_of_an_ended_worker_can_be_given_again() {
        let (mut output, _) = output("again");
        let _orphan = add(&mut output, 1);
        output.ended(Pid::for_test(1));
        let mut second = add(&mut output, 1);
        let orphans: Vec<_> = (2..60).map(|pid| (pid, add(&mut output, pid))).collect();
        orphans.iter().for_each(|(pid, _)| output.ended(Pid::for_test(*pid)));
        second.iter_mut().for_each(|end| end.write_all(b"alive\n").expect("it is read"));
    }

    #[test]
    fn last_words_are_in_the_log() {
        let (mut output, mut file) = output("last");
        let [mut stdout, _stderr] = add(&mut output, 1);
        stdout.write_all(b"one\nhalf").expect("written");
        output.ended(Pid::for_test(1));
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').expect("a time").1).collect();
        assert_eq!(lines, ["worker 1 (pid 1): one", "worker 1 (pid 1): half"]);
    }
}
