//! The workers' streams: those of live workers, and some that processes of ended workers still hold.

use std::fs::File;
use std::os::fd::OwnedFd;

use crate::output::entry::{Entry, From, Priority, Tag};
use crate::output::lines::Lines;
use crate::sys::{Pid, PollSet};

/// Which of a worker's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputStream {
    Stdout,
    Stderr,
}

/// All streams that are open. The number of those of ended workers is bounded; a live worker's is never closed.
#[derive(Default)]
pub(crate) struct Streams {
    streams: Vec<WorkerStream>,
    /// Watches most or all of them.
    set: Option<PollSet>,
    /// The identity of the next stream.
    next: u64,
    /// How many workers have ended.
    ended: u64,
}

/// The reading end of a worker's stdout or stderr.
pub(crate) struct WorkerStream {
    pub(crate) id: Id,
    pub(crate) pipe: File,
    /// The kernel watches it, as one of a set.
    pub(crate) in_set: bool,
    pub(crate) kind: OutputStream,
    pub(crate) tag: Tag,
    lines: Lines,
    /// The last line that has something in it, if this is stderr.
    pub(crate) said: Option<Vec<u8>>,
    /// If the worker has ended: after how many others.
    ended: Option<u64>,
}

/// A stream's identity; none is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) struct Id(u64);

impl WorkerStream {
    /// How much of a line is kept for a report of how the worker ended.
    pub(crate) const SAID: usize = 200;

    /// Gives each line that is complete with these bytes to `write`; returns how many.
    pub(crate) fn take(&mut self, bytes: &[u8], mut write: impl FnMut(Entry<'_>)) -> usize {
        let mut lines = 0;
        let (tag, kind, said) = (self.tag, self.kind, &mut self.said);
        self.lines.push(bytes, |text, cut| {
            lines += 1;
            keep(said, kind, text);
            write(entry(tag, kind, text, cut));
        });
        lines
    }

    /// Gives a line without an end to `write`, if there is one.
    pub(crate) fn end_line(&mut self, mut write: impl FnMut(Entry<'_>)) {
        let (tag, kind, said) = (self.tag, self.kind, &mut self.said);
        self.lines.end(|text, cut| {
            keep(said, kind, text);
            write(entry(tag, kind, text, cut));
        });
    }
}

fn keep(said: &mut Option<Vec<u8>>, kind: OutputStream, text: &[u8]) {
    let text = text.trim_ascii();
    if kind == OutputStream::Stderr && !text.is_empty() {
        let said = said.get_or_insert_default();
        said.clear();
        said.extend_from_slice(&text[..text.len().min(WorkerStream::SAID)]);
    }
}

fn entry(tag: Tag, kind: OutputStream, text: &[u8], cut: u64) -> Entry<'_> {
    let priority = match kind {
        OutputStream::Stdout => Priority::Info,
        OutputStream::Stderr => Priority::Warning,
    };
    Entry { priority, from: From::Worker(tag), text, cut }
}

impl Streams {
    /// So many streams of ended workers are kept, for the processes that they left behind.
    pub(crate) const MOST_LEFT: usize = 64;

    pub(crate) fn add(&mut self, tag: Tag, kind: OutputStream, pipe: OwnedFd) {
        let (id, pipe) = (Id(self.next), File::from(pipe));
        self.next += 1;
        if self.set.is_none() {
            self.set = PollSet::new().ok();
        }
        let in_set = self.set.as_ref().is_some_and(|set| set.add(&pipe, id.0));
        self.streams.push(WorkerStream {
            id,
            pipe,
            in_set,
            kind,
            tag,
            lines: Lines::default(),
            said: None,
            ended: None,
        });
    }

    pub(crate) fn set(&self) -> Option<&PollSet> {
        self.set.as_ref()
    }

    /// Those of the set in which there is something, in order.
    pub(crate) fn ready(&self) -> Vec<Id> {
        match self.set.as_ref().and_then(PollSet::ready) {
            Some(names) => names.into_iter().map(Id).collect(),
            None => self.streams.iter().map(|stream| stream.id).collect(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &WorkerStream> {
        self.streams.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut WorkerStream> {
        self.streams.iter_mut()
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut WorkerStream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    pub(crate) fn remove(&mut self, id: Id) {
        self.unwatch(|stream| stream.id == id);
        self.streams.retain(|stream| stream.id != id);
    }

    /// Before a pipe is closed: a child that proves that it can take over has a copy.
    fn unwatch(&self, is_closed: impl Fn(&WorkerStream) -> bool) {
        let closed = self.streams.iter().filter(|stream| stream.in_set && is_closed(stream));
        closed.zip(self.set.iter().cycle()).for_each(|(stream, set)| set.remove(&stream.pipe));
    }

    /// The open streams of a worker.
    pub(crate) fn of(&self, pid: Pid) -> Vec<Id> {
        // A pid may have been that of an ended worker.
        let its = self.streams.iter().filter(|stream| stream.tag.pid == pid && stream.ended.is_none());
        its.map(|stream| stream.id).collect()
    }

    /// Marks the streams of a worker that has ended, and removes those of the longest-dead workers if there are too
    /// many. The removed are returned.
    pub(crate) fn ended(&mut self, pid: Pid) -> Vec<WorkerStream> {
        let ids = self.of(pid);
        self.ended += 1;
        self.streams.iter_mut().filter(|stream| ids.contains(&stream.id)).for_each(|its| its.ended = Some(self.ended));
        let mut removed = Vec::new();
        while self.streams.iter().filter(|stream| stream.ended.is_some()).count() > Self::MOST_LEFT {
            let longest = self.streams.iter().filter_map(|stream| stream.ended).min();
            self.unwatch(|stream| stream.ended == longest);
            let (dead, kept): (Vec<_>, Vec<_>) = self.streams.drain(..).partition(|stream| stream.ended == longest);
            self.streams = kept;
            removed.extend(dead);
        }
        removed
    }
}
