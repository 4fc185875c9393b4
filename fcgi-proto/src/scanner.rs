//! Walks name-value pairs that come in pieces cut anywhere, keeping nothing of them but where it stands.

use crate::pairs::{Pair, Params, split_length, split_lengths};

/// Which limit a request's params went over; when both, which of the two is named depends on how the input was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// More bytes than allowed came, or a length was declared that goes beyond what the limit leaves.
    ParamsLen,
    /// More pairs than allowed.
    Pairs,
}

/// A piece of a name or a value. `end` is set with the last piece, which may be empty.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece<'a> {
    Name { bytes: &'a [u8], end: bool },
    Value { bytes: &'a [u8], end: bool },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanner {
    state: State,
    /// Bytes that may still come.
    bytes_left: u32,
    /// Pairs that may still begin.
    pairs_left: u32,
}

/// Where in a pair the next byte belongs. `Lengths` with nothing in it is the border between two pairs.
#[derive(Debug, Clone, Copy)]
enum State {
    Lengths { have: u8, bytes: [u8; 8] },
    Name { left: u32, value: u32 },
    Value { left: u32 },
}

impl State {
    const BORDER: Self = Self::Lengths { have: 0, bytes: [0; 8] };
}

impl Scanner {
    pub(crate) const fn new(max_len: u32, max_pairs: u32) -> Self {
        Self { state: State::BORDER, bytes_left: max_len, pairs_left: max_pairs }
    }

    /// Whether the bytes so far end where a pair ends.
    pub(crate) const fn at_border(&self) -> bool {
        matches!(self.state, State::Lengths { have: 0, .. })
    }

    /// Walks on over the next piece of the stream. An error is final: where the scanner then stands means nothing.
    pub(crate) fn scan(&mut self, bytes: &[u8], visit: impl FnMut(Piece<'_>)) -> Result<(), Limit> {
        self.count(bytes)?;
        self.walk(bytes, visit)
    }

    /// Does the same, looking at nothing in it. Nearly all pairs are whole: a loop of their own halves the time.
    #[inline(never)]
    pub(crate) fn check(&mut self, bytes: &[u8]) -> Result<(), Limit> {
        self.count(bytes)?;
        let rest = if self.at_border() { self.visit_pairs(bytes, |_| ())? } else { bytes };
        if rest.is_empty() { Ok(()) } else { self.walk(rest, |_| ()) }
    }

    /// Walks over the whole of a stream; `true` if it ends where a pair ends.
    #[inline(never)] // A loop needs registers of its own.
    pub(crate) fn check_whole<'a>(&mut self, bytes: &'a [u8], visit: impl FnMut(Pair<'a>)) -> Result<bool, Limit> {
        self.count(bytes)?;
        self.visit_pairs(bytes, visit).map(<[u8]>::is_empty)
    }

    #[inline]
    fn count(&mut self, bytes: &[u8]) -> Result<(), Limit> {
        let left = u32::try_from(bytes.len()).ok().and_then(|len| self.bytes_left.checked_sub(len));
        self.bytes_left = left.ok_or(Limit::ParamsLen)?;
        Ok(())
    }

    #[inline(never)]
    fn walk(&mut self, mut bytes: &[u8], mut visit: impl FnMut(Piece<'_>)) -> Result<(), Limit> {
        loop {
            if self.at_border() {
                bytes = self.visit_pairs(bytes, |pair| {
                    visit(Piece::Name { bytes: pair.name, end: true });
                    visit(Piece::Value { bytes: pair.value, end: true });
                })?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            bytes = self.step(bytes, &mut visit)?;
        }
    }

    /// The usual case: pairs that lie whole in the piece. Gives what follows the last of them.
    #[inline]
    fn visit_pairs<'a>(&mut self, bytes: &'a [u8], mut visit: impl FnMut(Pair<'a>)) -> Result<&'a [u8], Limit> {
        let (mut pairs, mut count) = (Params::new(bytes).iter(), 0u32);
        for pair in pairs.by_ref() {
            visit(pair);
            count = count.wrapping_add(1); // there are fewer of them than bytes in a record
        }
        self.pairs_left = self.pairs_left.checked_sub(count).ok_or(Limit::Pairs)?;
        Ok(pairs.rest())
    }

    /// A pair that a piece of the stream cut: goes on by a length byte, or by what is there of the name or value.
    fn step<'a>(&mut self, bytes: &'a [u8], visit: &mut impl FnMut(Piece<'_>)) -> Result<&'a [u8], Limit> {
        match self.state {
            State::Lengths { mut have, bytes: mut lengths } => {
                let Some((&byte, rest)) = bytes.split_first() else { return Ok(bytes) };
                if have == 0 {
                    self.pairs_left = self.pairs_left.checked_sub(1).ok_or(Limit::Pairs)?;
                }
                if let Some(slot) = lengths.get_mut(usize::from(have)) {
                    *slot = byte;
                    have += 1;
                }
                self.state = State::Lengths { have, bytes: lengths };
                let known = lengths.get(..usize::from(have)).unwrap_or_default();
                // A length that cannot fit any more is refused before its bytes are waited for.
                let room = u64::from(self.bytes_left).saturating_add(rest.len() as u64);
                if let Some((name, value, _)) = split_lengths(known) {
                    if u64::from(name) + u64::from(value) > room {
                        return Err(Limit::ParamsLen);
                    }
                    self.enter_name(name, value, visit);
                } else if let Some((name, _)) = split_length(known) {
                    if u64::from(name) > room {
                        return Err(Limit::ParamsLen);
                    }
                }
                Ok(rest)
            }
            State::Name { left, value } => {
                let (piece, rest, left) = split_piece(bytes, left);
                visit(Piece::Name { bytes: piece, end: left == 0 });
                match left {
                    0 => self.enter_value(value, visit),
                    left => self.state = State::Name { left, value },
                }
                Ok(rest)
            }
            State::Value { left } => {
                let (piece, rest, left) = split_piece(bytes, left);
                visit(Piece::Value { bytes: piece, end: left == 0 });
                self.state = if left == 0 { State::BORDER } else { State::Value { left } };
                Ok(rest)
            }
        }
    }

    fn enter_name(&mut self, name: u32, value: u32, visit: &mut impl FnMut(Piece<'_>)) {
        if name > 0 {
            self.state = State::Name { left: name, value };
        } else {
            visit(Piece::Name { bytes: &[], end: true });
            self.enter_value(value, visit);
        }
    }

    fn enter_value(&mut self, value: u32, visit: &mut impl FnMut(Piece<'_>)) {
        if value > 0 {
            self.state = State::Value { left: value };
        } else {
            visit(Piece::Value { bytes: &[], end: true });
            self.state = State::BORDER;
        }
    }
}

/// Splits off at most `left` bytes; gives them, the rest, and how many of `left` are still to come.
fn split_piece(bytes: &[u8], left: u32) -> (&[u8], &[u8], u32) {
    let at_most = usize::try_from(left).unwrap_or(usize::MAX);
    let (piece, rest) = bytes.split_at_checked(at_most).unwrap_or((bytes, &[]));
    // `piece` is no longer than `left`, so neither conversion nor subtraction loses anything.
    (piece, rest, left.saturating_sub(piece.len() as u32))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    type Joined = Vec<(Vec<u8>, Vec<u8>)>;

    /// Scans pieces; joins names and values. Says whether the end was one between two pairs.
    fn scan(pieces: &[&[u8]], max_len: u32, max_pairs: u32) -> Result<(Joined, bool), Limit> {
        let mut scanner = Scanner::new(max_len, max_pairs);
        let (mut name, mut value, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
        for piece in pieces {
            scanner.scan(piece, |piece| match piece {
                Piece::Name { bytes, .. } => name.extend_from_slice(bytes),
                Piece::Value { bytes, end } => {
                    value.extend_from_slice(bytes);
                    if end {
                        pairs.push((core::mem::take(&mut name), core::mem::take(&mut value)));
                    }
                }
            })?;
        }
        Ok((pairs, scanner.at_border()))
    }

    fn pairs() -> Joined {
        let pair = |n: &[u8], v: &[u8]| (n.to_vec(), v.to_vec());
        std::vec![pair(b"ab", b"cde"), pair(b"", b""), pair(b"x", b""), pair(b"", b"y"), pair(b"q", &[b'v'; 130])]
    }

    fn wire() -> Vec<u8> {
        let mut wire = b"\x02\x03abcde\x00\x00\x80\x00\x00\x01\x00x\x00\x01y\x01\x80\x00\x00\x82q".to_vec();
        wire.extend([b'v'; 130]);
        wire
    }

    #[test]
    fn whole_at_every_cut_and_byte_by_byte() {
        let wire = wire();
        assert_eq!(scan(&[&wire], 1000, 100), Ok((pairs(), true)));
        for cut in 0..=wire.len() {
            assert_eq!(scan(&[&wire[..cut], &wire[cut..]], 1000, 100), Ok((pairs(), true)), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(scan(&bytes, 1000, 100), Ok((pairs(), true)));
    }

    #[test]
    fn an_end_inside_a_pair_is_seen() {
        let wire = wire();
        let borders = [0, 7, 9, 15, 18, wire.len()];
        for len in 0..=wire.len() {
            let (_, at_border) = scan(&[&wire[..len]], 1000, 100).expect("within limits");
            assert_eq!(at_border, borders.contains(&len), "after {len} bytes");
        }
    }

    #[test]
    fn the_byte_limit_is_inclusive() {
        let wire = wire();
        let len = wire.len() as u32;
        for cut in 0..=wire.len() {
            let pieces = [&wire[..cut], &wire[cut..]];
            assert!(scan(&pieces, len, 100).is_ok());
            assert_eq!(scan(&pieces, len - 1, 100), Err(Limit::ParamsLen));
        }
    }

    #[test]
    fn the_pair_limit_is_inclusive() {
        let wire = wire();
        for cut in 0..=wire.len() {
            let pieces = [&wire[..cut], &wire[cut..]];
            assert!(scan(&pieces, 1000, 5).is_ok());
            assert_eq!(scan(&pieces, 1000, 4), Err(Limit::Pairs));
        }
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_before_its_bytes_come() {
        assert_eq!(scan(&[b"\xff\xff\xff\xff"], 1000, 5), Err(Limit::ParamsLen));
        assert_eq!(scan(&[b"\x01\xff\xff\xff\xff"], 1000, 5), Err(Limit::ParamsLen));
        // Their sum and the eight bytes themselves do not fit 32 bits.
        assert_eq!(scan(&[b"\xff\xff\xff\xff\xff\xff\xff\xff"], u32::MAX, 5), Err(Limit::ParamsLen));
        assert_eq!(scan(&[b"\x80\x00\x00\x50\x50"], 164, 5), Err(Limit::ParamsLen));
        assert_eq!(scan(&[b"\x80\x00\x00\x50\x50"], 165, 5), Ok((Vec::new(), false)));
    }
}
