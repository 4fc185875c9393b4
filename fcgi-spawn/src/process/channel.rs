//! The channel of a worker: a pipe by which it reports that it serves, and that it is well.
//!
//! The variable `FCGI_SPAWN_REPORT` names the worker's end. The first byte reports that connections are accepted. After
//! that a `+` a second is the heartbeat of a worker that is at work, and a `-` reports that nothing is to be expected
//! until the next `+`. A worker that never writes a `+` is never missed.
//!
//! Each process has a pipe of its own, so that no worker can write in the name of another; a pipe carries no descriptors;
//! and however much is written to it, at most [`Channel::RATE`] bytes a second are read.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::sys::{self, Pid, PollSet};

/// The channels of all workers that run.
pub(crate) struct Channels {
    /// Between a `+` and the next byte.
    limit: Option<Duration>,
    channels: Vec<Channel>,
    /// Watches most or all of those from which there is something to be learnt.
    set: Option<PollSet>,
}

/// One worker's, until it has ended or closed its end.
struct Channel {
    pid: Pid,
    ours: File,
    /// The kernel watches it, as one of the set.
    in_set: bool,
    /// Something has come.
    is_ready: bool,
    /// The next `+` or `-` is due at this time.
    due: Option<Instant>,
    /// When the last `-` came, if no `+` has come since.
    resting: Option<Instant>,
    /// What was read since this time.
    read: (Instant, usize),
    is_open: bool,
}

impl Channel {
    /// How many bytes are read in a second: a heartbeat is one.
    const RATE: usize = 4096;
    const SECOND: Duration = Duration::from_secs(1);

    fn new(pid: Pid, ours: OwnedFd, now: Instant) -> Self {
        let (due, resting) = (None, None);
        Channel { pid, ours: ours.into(), in_set: false, is_ready: false, due, resting, read: (now, 0), is_open: true }
    }

    /// When it may be read again, if it was written to too often.
    fn pause(&self, now: Instant) -> Option<Instant> {
        let (since, count) = self.read;
        let end = since + Self::SECOND;
        (count >= Self::RATE && now < end).then_some(end)
    }

    /// Whether there is anything more to be learnt from it.
    fn is_wanted(&self, limit: Option<Duration>) -> bool {
        self.is_open && (!self.is_ready || limit.is_some())
    }

    fn take(&mut self, bytes: &[u8], limit: Option<Duration>, now: Instant) {
        self.is_ready |= !bytes.is_empty();
        match bytes.iter().rev().find(|byte| matches!(byte, b'+' | b'-')) {
            Some(b'+') => (self.due, self.resting) = (limit.map(|limit| now + limit), None),
            Some(_) => (self.due, self.resting) = (None, Some(now)),
            None => {}
        }
    }
}

/// What a worker has reported so far, for a successor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reports {
    /// It serves.
    pub(crate) is_ready: bool,
    /// A heartbeat is expected.
    pub(crate) is_due: bool,
}

impl Reports {
    pub(crate) fn number(self) -> i128 {
        i128::from(self.is_ready) + 2 * i128::from(self.is_due)
    }

    pub(crate) fn of(number: i128) -> Self {
        Reports { is_ready: number & 1 != 0, is_due: number & 2 != 0 }
    }
}

/// What a heartbeat reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heartbeat {
    AtWork,
    Resting(Instant),
}

/// Our end and the worker's, of which we keep a copy until it has been started.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    sys::pipe()
}

impl Channels {
    /// `limit` is the time after which a worker at work is missed.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Channels { limit, channels: Vec::new(), set: None }
    }

    pub(crate) fn limit(&self) -> Option<Duration> {
        self.limit
    }

    pub(crate) fn add(&mut self, pid: Pid, ours: OwnedFd, now: Instant) {
        self.push(Channel::new(pid, ours, now));
    }

    /// Goes on with a channel of a worker that serves, which has reported this.
    pub(crate) fn take_over(&mut self, pid: Pid, ours: OwnedFd, reported: Reports, now: Instant) {
        let due = self.limit.filter(|_| reported.is_due).map(|limit| now + limit);
        self.push(Channel { due, is_ready: reported.is_ready, ..Channel::new(pid, ours, now) });
    }

    fn push(&mut self, mut channel: Channel) {
        if self.set.is_none() {
            self.set = PollSet::new().ok();
        }
        let name = channel.pid.number() as u64;
        channel.in_set =
            channel.is_wanted(self.limit) && self.set.as_ref().is_some_and(|set| set.add(&channel.ours, name));
        self.channels.push(channel);
    }

    /// What to poll for most or all channels: [`ready`](Self::ready) tells of which.
    pub(crate) fn set(&self) -> Option<&PollSet> {
        self.set.as_ref()
    }

    /// The workers that have something to report, of those in the set.
    pub(crate) fn ready(&self) -> Vec<Pid> {
        let names = self.set.as_ref().and_then(PollSet::ready);
        let is_ready =
            |channel: &&Channel| names.as_ref().is_none_or(|names| names.contains(&(channel.pid.number() as u64)));
        self.channels.iter().filter(is_ready).map(|channel| channel.pid).collect()
    }

    /// All others that can be read now, to be polled.
    pub(crate) fn not_in_set(&self, now: Instant) -> impl Iterator<Item = (Pid, &File)> {
        let wanted =
            move |channel: &&Channel| !channel.in_set && channel.is_wanted(self.limit) && channel.pause(now).is_none();
        self.channels.iter().filter(wanted).map(|channel| (channel.pid, &channel.ours))
    }

    /// When the first worker is missed, or a channel may be read again.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let wanted = self.channels.iter().filter(|channel| channel.is_wanted(self.limit));
        let pauses = wanted.filter_map(|channel| channel.pause(now));
        pauses.chain(self.channels.iter().filter_map(|channel| channel.due)).min()
    }

    /// Reads what this worker has reported: whether it reported, just now, that it serves.
    pub(crate) fn read(&mut self, pid: Pid, now: Instant) -> bool {
        let Some(channel) = self.channels.iter_mut().find(|channel| channel.pid == pid) else { return false };
        if now >= channel.read.0 + Channel::SECOND {
            channel.read = (now, 0);
        }
        let was_ready = channel.is_ready;
        let mut bytes = [0; 256];
        let room = Channel::RATE.saturating_sub(channel.read.1).min(bytes.len());
        match channel.ours.read(&mut bytes[..room]) {
            Ok(0) if room > 0 => channel.is_open = false,
            Ok(count) => {
                channel.read.1 += count;
                channel.take(&bytes[..count], self.limit, now);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => channel.is_open = false,
        }
        // One that is not to be read, for some time or for ever, would wake us all the same.
        if channel.in_set && (!channel.is_wanted(self.limit) || channel.pause(now).is_some()) {
            self.set.iter().for_each(|set| set.remove(&channel.ours));
            channel.in_set = false;
        }
        channel.is_ready && !was_ready
    }

    /// What this worker has last reported by its heartbeat, if it has one: that it is at work, or has rested since then.
    pub(crate) fn heartbeat(&self, pid: Pid) -> Option<Heartbeat> {
        self.limit?;
        let channel = self.channels.iter().find(|channel| channel.pid == pid)?;
        match (channel.due, channel.resting) {
            (Some(_), _) => Some(Heartbeat::AtWork),
            (None, Some(since)) => Some(Heartbeat::Resting(since)),
            (None, None) => None,
        }
    }

    /// The process has ended.
    pub(crate) fn ended(&mut self, pid: Pid) {
        for channel in self.channels.iter().filter(|channel| channel.pid == pid && channel.in_set) {
            // A child that proves that it can take over has a copy.
            self.set.iter().for_each(|set| set.remove(&channel.ours));
        }
        self.channels.retain(|channel| channel.pid != pid);
    }

    /// The workers whose heartbeat is overdue. If nothing becomes of it they are named again after as long a time.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Pid> {
        let Some(limit) = self.limit else { return Vec::new() };
        let mut overdue = Vec::new();
        for channel in self.channels.iter_mut().filter(|channel| channel.due.is_some_and(|due| now >= due)) {
            channel.due = Some(now + limit);
            overdue.push(channel.pid);
        }
        overdue
    }

    /// Whether this worker has reported that it serves.
    pub(crate) fn is_ready(&self, pid: Pid) -> bool {
        self.channels.iter().any(|channel| channel.pid == pid && channel.is_ready)
    }

    /// Our end of the channel of this worker, and what has been reported by it.
    pub(crate) fn end(&self, pid: Pid) -> Option<(BorrowedFd<'_>, Reports)> {
        let channel = self.channels.iter().find(|channel| channel.pid == pid)?;
        Some((channel.ours.as_fd(), Reports { is_ready: channel.is_ready, is_due: channel.due.is_some() }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const ONE: Pid = Pid::for_test(1001);
    const TWO: Pid = Pid::for_test(1002);

    fn channel(channels: &mut Channels, pid: Pid, now: Instant) -> File {
        let (ours, theirs) = pipe().expect("a pipe");
        channels.add(pid, ours, now);
        theirs.into()
    }

    /// How many are looked at, in the set and beside it.
    fn watched(channels: &Channels, now: Instant) -> usize {
        channels.channels.iter().filter(|channel| channel.in_set).count() + channels.not_in_set(now).count()
    }

    #[test]
    fn the_set_tells_who_has_something() {
        let now = Instant::now();
        let mut channels = Channels::new(Some(LIMIT));
        let _one = channel(&mut channels, ONE, now);
        let mut two = channel(&mut channels, TWO, now);
        assert_eq!((channels.ready(), channels.not_in_set(now).count()), (vec![], 0));
        two.write_all(b"+").expect("written");
        assert!(sys::is_readable_within(channels.set().expect("made"), Duration::ZERO));
        assert_eq!(channels.ready(), [TWO]);
        channels.read(TWO, now);
        assert_eq!(channels.ready(), []);
        // A copy of its descriptor does not keep it there.
        let _copy = channels.channels[1].ours.try_clone().expect("a copy");
        two.write_all(b"+").expect("written");
        channels.ended(TWO);
        assert!(!sys::is_readable_within(channels.set().expect("made"), Duration::ZERO));
        let _two = channel(&mut channels, TWO, now);
        // Without the set each is looked at.
        channels.set = None;
        assert_eq!(channels.ready(), [ONE, TWO]);
        channels.channels.iter_mut().for_each(|channel| channel.in_set = false);
        assert_eq!(channels.not_in_set(now).count(), 2);
    }

    #[test]
    fn the_first_byte_reports_readiness() {
        let now = Instant::now();
        let mut channels = Channels::new(None);
        let mut theirs = channel(&mut channels, ONE, now);
        assert!(!channels.read(ONE, now) && !channels.read(TWO, now));
        assert_eq!(watched(&channels, now), 1);
        theirs.write_all(b"\n").expect("written");
        assert!(channels.read(ONE, now));
        assert_eq!(watched(&channels, now), 0, "nothing else is wanted");
        theirs.write_all(b"+").expect("written");
        assert!(!channels.read(ONE, now));
        assert_eq!((channels.deadline(now), channels.overdue(now + 2 * LIMIT)), (None, vec![]));
    }

    #[test]
    fn a_heartbeat_is_missed_when_the_last_one_was_a_plus() {
        let now = Instant::now();
        let mut channels = Channels::new(Some(LIMIT));
        let mut one = channel(&mut channels, ONE, now);
        let mut two = channel(&mut channels, TWO, now);
        assert_eq!(channels.deadline(now), None);
        one.write_all(b"r+").expect("written");
        assert!(channels.read(ONE, now));
        two.write_all(b"+").expect("written");
        assert!(channels.read(TWO, now + LIMIT / 2));
        assert_eq!(channels.deadline(now), Some(now + LIMIT));
        assert_eq!(channels.heartbeat(ONE), Some(Heartbeat::AtWork));
        assert_eq!((channels.overdue(now + LIMIT / 2), channels.overdue(now + LIMIT)), (vec![], vec![ONE]));
        two.write_all(b"+-x").expect("written");
        channels.read(TWO, now + LIMIT);
        assert_eq!(channels.heartbeat(TWO), Some(Heartbeat::Resting(now + LIMIT)));
        assert_eq!(channels.overdue(now + 3 * LIMIT), [ONE]);
        channels.ended(ONE);
        assert_eq!(channels.deadline(now), None);
    }

    #[test]
    fn a_flood_is_read_4_kib_a_second() {
        let now = Instant::now();
        let mut channels = Channels::new(Some(LIMIT));
        let mut theirs = channel(&mut channels, ONE, now);
        theirs.write_all(&[b'+'; 3 * Channel::RATE]).expect("it fits in a pipe");
        let read_all = |channels: &mut Channels, now| {
            let mut is_ready = false;
            while watched(channels, now) > 0 {
                is_ready |= channels.read(ONE, now);
            }
            is_ready
        };
        assert!(read_all(&mut channels, now));
        assert_eq!(channels.channels[0].read, (now, Channel::RATE));
        for _ in 0..3 {
            assert_eq!(watched(&channels, now), 0);
            assert!(!channels.read(ONE, now));
        }
        let next = now + Channel::SECOND;
        assert_eq!((channels.deadline(now), watched(&channels, next)), (Some(next), 1));
        read_all(&mut channels, next);
        read_all(&mut channels, next + Channel::SECOND);
        assert_eq!(channels.channels[0].read, (next + Channel::SECOND, Channel::RATE));
        drop(theirs);
        channels.read(ONE, next + 2 * Channel::SECOND);
        assert_eq!(watched(&channels, next + 2 * Channel::SECOND), 0, "the worker has closed its end");
    }
}
