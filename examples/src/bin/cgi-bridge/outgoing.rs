//! What a program has answered and the web server has not yet taken.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A little in memory, and the rest in a file that has no name.
///
/// While a body comes, the answer waits, or the web server takes nothing of it. A program that answers as it reads would wait
/// for that, as that waits for the program: what it says meanwhile goes to the file.
#[derive(Default)]
pub(super) struct Outgoing {
    /// What is next, from `sent` on.
    chunk: Vec<u8>,
    sent: usize,
    file: Option<File>,
    /// Where in the file that begins which comes after it, and where it ends.
    start: u64,
    end: u64,
}

impl Outgoing {
    /// Bytes taken or given at once.
    pub(super) const CHUNK: usize = 16 << 10;
    /// The most bytes in the file: 1 GiB.
    const MOST: u64 = 1 << 30;

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.chunk.len()
    }

    /// Whether more can be kept although not all was sent.
    pub(super) fn has_room(&self) -> bool {
        self.end < Self::MOST
    }

    /// Adds bytes at the end.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.is_empty() {
            self.chunk.clear();
            self.chunk.extend_from_slice(bytes);
            self.sent = 0;
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// What is next.
    pub(super) fn next(&self) -> &[u8] {
        let rest = &self.chunk[self.sent..];
        &rest[..rest.len().min(Self::CHUNK)]
    }

    /// Takes so much of it.
    pub(super) fn consume(&mut self, amount: usize) -> io::Result<()> {
        self.sent += amount;
        if let (true, Some(file)) = (self.is_empty(), &self.file) {
            self.chunk.resize(Self::CHUNK.min(usize::try_from(self.end - self.start).unwrap_or(Self::CHUNK)), 0);
            file.read_exact_at(&mut self.chunk, self.start)?;
            self.start += self.chunk.len() as u64;
            self.sent = 0;
            if self.start == self.end {
                (self.file, self.start, self.end) = (None, 0, 0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let mut outgoing = Outgoing::default();
        let (mut given, mut got) = (Vec::new(), Vec::new());
        for round in 0_usize..200 {
            let piece: Vec<u8> = (0..round * 97 % 20_000).map(|index| (index + round) as u8).collect();
            outgoing.push(&piece).expect("a file can be written");
            given.extend(piece);
            let taken = outgoing.next().len() * (round % 3) / 2;
            got.extend_from_slice(&outgoing.next()[..taken]);
            outgoing.consume(taken).expect("a file can be read");
        }
        assert!(outgoing.file.is_some());
        while !outgoing.is_empty() {
            let next = outgoing.next().to_vec();
            outgoing.consume(next.len()).expect("a file can be read");
            got.extend(next);
        }
        assert!(got == given && outgoing.file.is_none());
    }
}
