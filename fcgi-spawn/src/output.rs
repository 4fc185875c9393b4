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
mod stream;
mod streams;
mod syslog;
mod target;
mod utc;
mod write_error;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) use self::entry::Tag;
pub(crate) use self::log::Log;
pub(crate) use self::streams::Id;
use self::streams::{OutputStream, Streams, WorkerStream};
pub(crate) use self::syslog::Syslog;
pub(crate) use self::utc::Utc;
use crate::sys::{self, Pid, PollSet};
use crate::{Config, Error, LogTo};

/// The pipes of all workers, and the log they lead to.
pub(crate) struct Output {
    log: Log,
    /// Whether the stdout of workers is a pipe of ours, rather than our stdout or `/dev/null`. Their stderr always is.
    has_stdout: bool,
    streams: Streams,
    /// The last lines of workers whose stderr has ended before them.
    said: Vec<(Pid, Vec<u8>)>,
    /// What is left of this turn.
    turn: Cell<Allowance>,
}

/// How many lines may still be written before signals and deadlines are looked at again.
#[derive(Clone, Copy)]
struct Allowance {
    /// Lines of live workers, and of what ended ones have left behind.
    lines: usize,
    /// Lines of workers that end now.
    last_lines: usize,
    /// The first stream of this turn.
    first: Option<Id>,
    /// The first stream for which no line was left: it is the first in the next turn.
    next: Option<Id>,
}

impl Allowance {
    const NEW: Self =
        Allowance { lines: Output::TURN_LINES, last_lines: Output::TURN_LAST_LINES, first: None, next: None };
}

/// The pipes of a worker that is not started yet.
pub(crate) struct Pipes {
    ours: [Option<OwnedFd>; 2],
    theirs: [Option<OwnedFd>; 2],
}

impl Pipes {
    fn new(has_stdout: bool) -> io::Result<Self> {
        let (stdout, its_stdout) = has_stdout.then(sys::pipe).transpose()?.unzip();
        let (stderr, its_stderr) = sys::pipe()?;
        Ok(Pipes { ours: [stdout, Some(stderr)], theirs: [its_stdout, Some(its_stderr)] })
    }

    /// What is to be the worker's stdout and stderr, if it has pipes for them.
    pub(crate) fn theirs(&self) -> [Option<BorrowedFd<'_>>; 2] {
        self.theirs.each_ref().map(|end| end.as_ref().map(AsFd::as_fd))
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
    /// How much is read of a stream in a turn.
    const BYTES: usize = 16 << 10;
    /// How many lines of a stream are written in a turn: short ones cost far more than their bytes.
    const LINES: usize = 512;
    /// How many lines of all streams are written in a turn.
    const TURN_LINES: usize = 8 * Self::LINES;
    /// How much of a stream is read at most before its worker's end is reported: twice of what a pipe holds.
    const LAST_BYTES: usize = 128 << 10;
    /// How many lines of a worker are written at most before its end is reported: a full pipe of lines of 33 bytes.
    const LAST_LINES: usize = 2000;
    /// The same for all workers that end in one turn.
    const TURN_LAST_LINES: usize = 16 * Self::LAST_LINES;
    /// The same for each worker that ends when these are used up.
    const LEAST_LAST_LINES: usize = 40;

    /// Opens the log of a supervisor and writes our own messages to it. In the foreground stderr is the log if no other
    /// is configured; in the background it is nowhere then, and of what workers write the last line counts, which tells
    /// why a reload fails. `given` is the descriptor to use in place of the log's own name for it, if there is one.
    pub(crate) fn open(config: &Config, given: Option<OwnedFd>) -> Result<Self, Error> {
        let to = config.log.as_ref().or(config.foreground.then_some(&LogTo::Stderr));
        let log = Log::open(to, given)?;
        if to.is_some() {
            logger::direct_to(&log);
        }
        let has_stdout = config.log.is_some() || config.foreground && (log.can_block() || can_be_misused(config));
        Ok(Output { log, has_stdout, streams: Streams::default(), said: Vec::new(), turn: Cell::new(Allowance::NEW) })
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// For a new worker. One for its stdout it has with a configured log, where it could block us on a stderr that we
    /// share, and where it could do more with our stdout than write.
    pub(crate) fn pipes(&self) -> io::Result<Pipes> {
        Pipes::new(self.has_stdout)
    }

    /// Takes care of a new worker's pipes.
    pub(crate) fn add(&mut self, tag: Tag, pipes: Pipes) {
        self.take_over(tag, pipes.ours);
    }

    /// Our ends of the stdout and stderr of this worker.
    pub(crate) fn ends(&self, pid: Pid) -> [Option<BorrowedFd<'_>>; 2] {
        [OutputStream::Stdout, OutputStream::Stderr].map(|kind| {
            let stream = self.streams.iter().find(|stream| stream.tag.pid == pid && stream.kind == kind);
            stream.map(|stream| stream.pipe.as_fd())
        })
    }

    /// Takes care of the pipes of a worker that were handed over to us.
    pub(crate) fn take_over(&mut self, tag: Tag, ends: [Option<OwnedFd>; 2]) {
        for (kind, end) in [OutputStream::Stdout, OutputStream::Stderr].into_iter().zip(ends) {
            end.into_iter().for_each(|end| self.streams.add(tag, kind, end));
        }
    }

    /// Writes what there is of lines that have not ended.
    pub(crate) fn end_lines(&mut self) {
        self.streams.iter_mut().for_each(|stream| end_line(stream, &self.log));
    }

    /// A new turn begins. Those streams come first that were not read in the last one.
    pub(crate) fn begin_turn(&self) {
        self.turn.set(Allowance { first: self.turn.get().next, ..Allowance::NEW });
    }

    /// What to poll for most or all streams: [`read_ready`](Self::read_ready) reads them.
    pub(crate) fn set(&self) -> Option<&PollSet> {
        self.streams.set()
    }

    /// All other streams, to be polled.
    pub(crate) fn not_in_set(&self) -> impl Iterator<Item = (Id, &File)> {
        let streams = || self.streams.iter().filter(|stream| !stream.in_set).map(|stream| (stream.id, &stream.pipe));
        let is_late = |id: Id| self.is_late(id);
        streams().filter(move |(id, _)| is_late(*id)).chain(streams().filter(move |(id, _)| !is_late(*id)))
    }

    /// The streams of the set in which there is something.
    fn ready(&self) -> Vec<Id> {
        let (mut late, others): (Vec<Id>, Vec<Id>) = self.streams.ready().into_iter().partition(|id| self.is_late(*id));
        late.extend(others);
        late
    }

    /// Whether it is read before those that were read in the last turn.
    fn is_late(&self, id: Id) -> bool {
        self.turn.get().first.is_none_or(|first| id >= first)
    }

    /// Reads what the streams of the set have, within the limits of a turn.
    pub(crate) fn read_ready(&mut self) {
        self.ready().into_iter().for_each(|id| self.read(id));
    }

    /// Reads what a stream has, within the limits of a turn. What is left is still there for the next poll.
    pub(crate) fn read(&mut self, id: Id) {
        let turn = self.turn.get_mut();
        let most = turn.lines.min(Self::LINES);
        if most == 0 {
            turn.next.get_or_insert(id);
            return;
        }
        let (lines, _) = self.read_within(id, Self::BYTES, most);
        self.turn.get_mut().lines -= lines;
    }

    /// Reads at most so many bytes of a stream, and at most so many lines; returns how many lines, and whether there was
    /// nothing more.
    fn read_within(&mut self, id: Id, mut bytes: usize, most: usize) -> (usize, bool) {
        let Some(stream) = self.streams.get_mut(id) else { return (0, true) };
        let log = &self.log;
        let mut lines = 0;
        let mut buffer = [0; Self::LINES];
        while bytes > 0 && lines < most {
            // No more bytes than lines are left, so that none that was read has to be kept.
            let room = buffer.len().min(most - lines);
            match stream.pipe.read(&mut buffer[..room]) {
                Ok(read @ 1..) => {
                    bytes = bytes.saturating_sub(read);
                    lines += stream.take(&buffer[..read], |entry| log.write(&entry));
                }
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {
                    return (lines, true);
                }
                Ok(0) | Err(_) => {
                    end_line(stream, &self.log);
                    if let Some(said) = stream.said.take() {
                        self.said.push((stream.tag.pid, said));
                    }
                    self.streams.remove(id);
                    return (lines, true);
                }
            }
        }
        (lines, false)
    }

    /// Reads what a worker that has ended left in its pipes, so that its last lines come before the report of its end.
    /// Processes that it left behind may go on writing: what is not read here is read later.
    ///
    /// Returns the last line of its stderr.
    pub(crate) fn ended(&mut self, pid: Pid) -> Option<String> {
        let most = self.turn.get_mut().last_lines.clamp(Self::LEAST_LAST_LINES, Self::LAST_LINES);
        let (ids, mut left) = (self.streams.of(pid), most);
        for (read, id) in ids.iter().enumerate() {
            // What stdout leaves of its half is stderr's.
            let (lines, is_empty) = self.read_within(*id, Self::LAST_BYTES, left / (ids.len() - read));
            left -= lines;
            if let Some(stream) = self.streams.get_mut(*id).filter(|_| is_empty) {
                end_line(stream, &self.log);
            }
        }
        let turn = self.turn.get_mut();
        turn.last_lines = turn.last_lines.saturating_sub(most - left);
        let mut said = ids.iter().find_map(|id| self.streams.get_mut(*id)?.said.take());
        for mut removed in self.streams.ended(pid) {
            end_line(&mut removed, &self.log);
        }
        if let Some(at) = self.said.iter().position(|(its, _)| *its == pid) {
            said = Some(self.said.swap_remove(at).1);
        }
        said.map(|said| String::from_utf8_lossy(&said).into_owned())
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

/// Whether our stdout would give workers more than a place to write to: those of another user could change what is ours,
/// and on a terminal all could read what is typed.
fn can_be_misused(config: &Config) -> bool {
    config.user.is_some() || config.group.is_some() || io::stdout().is_terminal()
}

fn end_line(stream: &mut WorkerStream, log: &Log) {
    stream.end_line(|entry| log.write(&entry));
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write;

    use super::*;

    /// An output to a file without a name, and the file.
    fn output(test: &str) -> (Output, File) {
        let path = std::env::temp_dir().join(format!("fcgi-spawn-output-{test}-{}", std::process::id()));
        // Not `open`: the logger is that of all tests.
        let log = Log::open(Some(&LogTo::File(path.clone())), None).expect("opened");
        let file = File::open(&path).expect("it was created");
        std::fs::remove_file(&path).expect("removed");
        let output = Output {
            log,
            has_stdout: true,
            streams: Streams::default(),
            said: Vec::new(),
            turn: Cell::new(Allowance::NEW),
        };
        (output, file)
    }

    /// Adds the pipes of a worker, and returns the other ends.
    fn add(output: &mut Output, pid: i32) -> [File; 2] {
        let pipes = Pipes::new(true).expect("pipes");
        let theirs = pipes.theirs().map(|end| File::from(end.expect("a pipe").try_clone_to_owned().expect("a copy")));
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

    /// Whether its stderr has ended before it or not.
    #[test]
    fn the_last_line_of_stderr_is_known_at_the_end() {
        for (text, want) in [
            ("", None),
            ("one\n", Some("one")),
            ("one\n  two \n\n", Some("two")),
            ("one\nno end", Some("no end")),
            ("\n", None),
        ] {
            for is_closed in [false, true] {
                let (mut output, _) = output("said");
                let [mut stdout, mut stderr] = add(&mut output, 1);
                stdout.write_all(b"not this\n").expect("it is read");
                stderr.write_all(text.as_bytes()).expect("it is read");
                if is_closed {
                    drop(stderr);
                    let ids = output.streams.of(Pid::for_test(1));
                    ids.into_iter().for_each(|id| output.read(id));
                }
                assert_eq!(output.ended(Pid::for_test(1)).as_deref(), want, "{text:?}");
                assert!(output.said.is_empty());
            }
        }
        let (mut output, _) = output("said");
        let [_stdout, mut stderr] = add(&mut output, 1);
        stderr.write_all(&[&[b'x'; 4000][..], b"\n"].concat()).expect("it is read");
        assert_eq!(output.ended(Pid::for_test(1)).map(|said| said.len()), Some(WorkerStream::SAID));
    }

    #[test]
    fn pid_of_an_ended_worker_can_be_given_again() {
        let (mut output, _) = output("again");
        let _orphan = add(&mut output, 1);
        output.ended(Pid::for_test(1));
        let mut second = add(&mut output, 1);
        let orphans: Vec<_> = (2..60).map(|pid| (pid, add(&mut output, pid))).collect();
        orphans.iter().for_each(|(pid, _)| drop(output.ended(Pid::for_test(*pid))));
        second.iter_mut().for_each(|end| end.write_all(b"alive\n").expect("it is read"));
    }

    /// The lines that were written since the last look, without their times.
    fn lines(file: &mut File) -> Vec<String> {
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        text.lines().map(|line| line.split_once(' ').expect("a time").1.to_owned()).collect()
    }

    /// What a pipe holds, in lines of this length, each with its number.
    fn numbered(len: usize) -> Vec<u8> {
        let lines = (0..(64 << 10) / len).map(|number| format!("{number:0width$}\n", width = len - 1));
        lines.collect::<String>().into_bytes()
    }

    #[test]
    fn empty_lines_are_read_in_many_turns() {
        let (mut output, mut file) = output("empty");
        let [mut stdout, _stderr] = add(&mut output, 1);
        stdout.write_all(&[b'\n'; 64 << 10]).expect("it fits");
        let id = output.streams.of(Pid::for_test(1))[0];
        let mut all = 0;
        while all < 64 << 10 {
            output.begin_turn();
            output.read(id);
            let turn = lines(&mut file).len();
            assert!((1..=Output::LINES).contains(&turn), "{turn} lines");
            all += turn;
        }
        output.read(id);
        assert_eq!((all, lines(&mut file).len()), (64 << 10, 0));
    }

    #[test]
    fn turn_is_short_with_many_streams_and_all_get_theirs() {
        let (mut output, mut file) = output("turn");
        let mut theirs: Vec<_> = (1..=40).map(|pid| add(&mut output, pid)).collect();
        for end in theirs.iter_mut().flatten() {
            end.write_all(&[b'\n'; 2 * Output::LINES]).expect("it fits");
        }
        let (mut all, mut turns, mut first) = (0, 0, HashSet::new());
        while all < 80 * 2 * Output::LINES {
            output.begin_turn();
            output.ready().into_iter().for_each(|id| output.read(id));
            let turn = lines(&mut file);
            assert!((1..=Output::TURN_LINES).contains(&turn.len()), "{} lines", turn.len());
            all += turn.len();
            turns += 1;
            first.extend(turn);
            // Each was read once before one is read for the second time.
            assert!(first.len() == 40 || all < 80 * Output::LINES, "{} workers in {turns} turns", first.len());
        }
        assert_eq!(all, 80 * 2 * Output::LINES);
    }

    #[test]
    fn full_pipes_of_a_worker_are_read_before_its_end() {
        let (mut output, mut file) = output("full");
        let [mut stdout, mut stderr] = add(&mut output, 1);
        let text = numbered(66);
        stdout.write_all(&text).expect("it fits");
        stderr.write_all(&text).expect("it fits");
        output.ended(Pid::for_test(1));
        let want: Vec<_> =
            std::str::from_utf8(&text).expect("text").lines().map(|line| format!("worker 1 (pid 1): {line}")).collect();
        assert_eq!(lines(&mut file), [&want[..], &want[..]].concat());
    }

    #[test]
    fn processes_left_behind_delay_no_end_and_their_lines_stay_whole() {
        let (mut output, mut file) = output("behind");
        let [mut stdout, mut stderr] = add(&mut output, 1);
        let text = numbered(8);
        stdout.write_all(&text).expect("it fits");
        stderr.write_all(&text).expect("it fits");
        let ids = output.streams.of(Pid::for_test(1));
        output.ended(Pid::for_test(1));
        let mut got = lines(&mut file);
        assert!((Output::LAST_LINES / 2..=Output::LAST_LINES).contains(&got.len()), "{} lines", got.len());
        // And stderr has its half.
        let mut zeros = got.iter().filter(|line| line.ends_with(": 0000000"));
        assert!(zeros.next().is_some() && zeros.next().is_some());
        for id in ids {
            for _ in 0..1000 {
                output.begin_turn();
                output.read(id);
            }
        }
        got.extend(lines(&mut file));
        let mut want: Vec<_> =
            std::str::from_utf8(&text).expect("text").lines().map(|line| format!("worker 1 (pid 1): {line}")).collect();
        want.extend(want.clone());
        got.sort();
        want.sort();
        assert_eq!(got, want);
    }

    #[test]
    fn workers_that_end_at_once_share_the_lines() {
        let (mut output, mut file) = output("share");
        let theirs: Vec<_> = (1..=100).map(|pid| add(&mut output, pid)).collect();
        theirs.iter().flatten().for_each(|mut end| end.write_all(&[b'\n'; 4000]).expect("it fits"));
        (1..=100).for_each(|pid| drop(output.ended(Pid::for_test(pid))));
        let got = lines(&mut file).len();
        assert!(got <= Output::TURN_LAST_LINES + 100 * Output::LEAST_LAST_LINES, "{got} lines");
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
