//! Lines that the log does not take yet, and the count of those it never will.

use std::collections::VecDeque;

/// A bounded queue. From the first line that does not fit until the queue has emptied, all lines are lost, so that
/// the place where some are missing is one place.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    entries: VecDeque<Vec<u8>>,
    /// Bytes in all entries.
    len: usize,
    /// Bytes of the first one that the log has taken.
    written: usize,
    lost: Lost,
}

/// How much is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

impl Backlog {
    /// The most bytes that wait: one pipe's worth.
    pub(crate) const MAX: usize = 64 << 10;

    /// Adds a line, or counts it as lost.
    pub(crate) fn push(&mut self, entry: Vec<u8>) {
        if self.has_lost() || self.len + entry.len() > Self::MAX {
            self.lose(&entry);
        } else {
            self.len += entry.len();
            self.entries.push_back(entry);
        }
    }

    /// The line to be written next, and how many bytes of it are written.
    pub(crate) fn next(&self) -> Option<(&[u8], usize)> {
        self.entries.front().map(|entry| (&entry[..], self.written))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes note that so many bytes of the next line are written, in all; 0 begins it anew.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written = bytes;
        if self.entries.front().is_some_and(|entry| self.written >= entry.len()) {
            self.drop_first();
        }
    }

    /// Bytes that wait.
    pub(crate) fn left(&self) -> usize {
        self.len - self.written
    }

    /// Gives up the next line, or what is left of it.
    pub(crate) fn lose_first(&mut self) {
        if let Some(entry) = self.drop_first() {
            self.lose(&entry);
        }
    }

    pub(crate) fn has_lost(&self) -> bool {
        self.lost != Lost::default()
    }

    /// What is missing, which is known to the log from now on.
    pub(crate) fn take_lost(&mut self) -> Option<Lost> {
        self.has_lost().then(|| std::mem::take(&mut self.lost))
    }

    /// Takes it back: the log does not know it after all.
    pub(crate) fn still_lost(&mut self, lost: Lost) {
        self.lost.lines += lost.lines;
        self.lost.bytes += lost.bytes;
    }

    fn drop_first(&mut self) -> Option<Vec<u8>> {
        let entry = self.entries.pop_front()?;
        self.len -= entry.len();
        self.written = 0;
        Some(entry)
    }

    fn lose(&mut self, entry: &[u8]) {
        self.still_lost(Lost { lines: 1, bytes: entry.len() as u64 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_leave_in_order_and_in_pieces() {
        let mut backlog = Backlog::default();
        backlog.push(b"one\n".to_vec());
        backlog.push(b"two\n".to_vec());
        assert_eq!(backlog.next(), Some((&b"one\n"[..], 0)));
        backlog.wrote(3);
        assert_eq!((backlog.next(), backlog.left()), (Some((&b"one\n"[..], 3)), 5));
        backlog.wrote(0);
        assert_eq!((backlog.next(), backlog.left()), (Some((&b"one\n"[..], 0)), 8));
        backlog.wrote(4);
        assert_eq!(backlog.next(), Some((&b"two\n"[..], 0)));
        backlog.wrote(4);
        assert!(backlog.next().is_none() && backlog.is_empty() && backlog.left() == 0);
        assert_eq!(backlog.take_lost(), None);
    }

    #[test]
    fn all_lines_are_lost_from_the_first_that_does_not_fit() {
        let mut backlog = Backlog::default();
        backlog.push(vec![b'x'; Backlog::MAX]);
        assert_eq!(backlog.left(), Backlog::MAX);
        backlog.push(b"1\n".to_vec());
        backlog.wrote(Backlog::MAX);
        backlog.push(b"2\n".to_vec());
        assert!(backlog.is_empty());
        assert_eq!(backlog.take_lost(), Some(Lost { lines: 2, bytes: 4 }));
        backlog.push(b"3\n".to_vec());
        assert_eq!(backlog.next(), Some((&b"3\n"[..], 0)));
    }

    #[test]
    fn unwritable_line_is_counted() {
        let mut backlog = Backlog::default();
        backlog.push(b"1\n".to_vec());
        backlog.lose_first();
        backlog.lose_first();
        let lost = backlog.take_lost().expect("one is lost");
        assert_eq!(lost, Lost { lines: 1, bytes: 2 });
        backlog.still_lost(lost);
        assert_eq!(backlog.take_lost(), Some(lost));
    }
}
