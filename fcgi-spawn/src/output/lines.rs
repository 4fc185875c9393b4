//! A stream of bytes as lines of bounded length.

/// The line under way of one stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    held: Vec<u8>,
    /// How many bytes of it did not fit.
    cut: u64,
}

impl Lines {
    /// The longest line in bytes: with all we add it stays within a pipe's atomic write. What is behind is counted.
    pub(crate) const MAX: usize = 4000;

    /// Takes bytes that came, and gives each line that is complete to `take`, with the number of bytes cut off it.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(&[u8], u64)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line = &bytes[..end];
            bytes = &bytes[end + 1..];
            if self.is_empty() && line.len() <= Self::MAX {
                take(line, 0);
            } else {
                self.hold(line);
                self.end(&mut take);
            }
        }
        self.hold(bytes);
    }

    /// Gives away a line without an end, if there is one.
    pub(crate) fn end(&mut self, mut take: impl FnMut(&[u8], u64)) {
        if !self.is_empty() {
            take(&self.held, self.cut);
            *self = Lines::default();
        }
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty() && self.cut == 0
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = Self::MAX - self.held.len();
        let (kept, cut) = bytes.split_at(room.min(bytes.len()));
        self.held.extend_from_slice(kept);
        self.cut += cut.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<(String, u64)> {
        let mut lines = Lines::default();
        let mut taken = Vec::new();
        let mut take = |line: &[u8], cut| taken.push((String::from_utf8_lossy(line).into_owned(), cut));
        for piece in pieces {
            lines.push(piece, &mut take);
        }
        lines.end(&mut take);
        taken
    }

    #[test]
    fn the_pieces_they_come_in_do_not_matter() {
        let text = b"one\n\ntwo\nhalf";
        let want = ["one", "", "two", "half"].map(|line| (line.to_owned(), 0));
        for first in 0..=text.len() {
            for second in first..=text.len() {
                assert_eq!(lines(&[&text[..first], &text[first..second], &text[second..]]), want);
            }
        }
        assert_eq!(lines(&[b""]), []);
    }

    #[test]
    fn a_long_line_is_cut_and_the_rest_counted() {
        let longest = "x".repeat(Lines::MAX);
        assert_eq!(lines(&[format!("{longest}\nb").as_bytes()]), [(longest.clone(), 0), ("b".into(), 0)]);
        assert_eq!(lines(&[format!("{longest}y\nb").as_bytes()]), [(longest.clone(), 1), ("b".into(), 0)]);
        assert_eq!(lines(&[longest.as_bytes(), b"yy", b"y\nb"]), [(longest.clone(), 3), ("b".into(), 0)]);
        assert_eq!(lines(&[longest.as_bytes(), b"\n", b"b"]), [(longest, 0), ("b".into(), 0)]);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.push(&[b'x'; 10_000], |_, _| panic!("there is no end of a line"));
        }
        assert!(lines.held.capacity() <= 2 * Lines::MAX);
        assert_eq!(lines.cut, 1000 * 10_000 - Lines::MAX as u64);
    }
}
