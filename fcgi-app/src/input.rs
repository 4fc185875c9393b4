use std::ops::Range;

use crate::budget::{Budget, Bytes, Exhausted};

/// The read buffer of a connection: params of the request under way in front, then what was read and not yet used.
///
/// ```text
///   0        params.start   params.end     start        end           buffer.len()
///   +--------+--------------+--------------+------------+-------------+
///   | used   | params       | used         | unread     | room        |
///   +--------+--------------+--------------+------------+-------------+
/// ```
pub(crate) struct Input<'b> {
    buffer: &'b mut [u8],
    budget: &'b Budget,
    start: usize,
    end: usize,
    params: Params<'b>,
}

/// Where the params joined so far are.
enum Params<'b> {
    /// Still where they were read, as long as they fit half the buffer.
    InPlace(Range<usize>),
    /// Moved out.
    Moved(Bytes<'b>),
}

impl<'b> Input<'b> {
    pub(crate) fn new(buffer: &'b mut [u8], budget: &'b Budget) -> Self {
        Self { buffer, budget, start: 0, end: 0, params: Params::InPlace(0..0) }
    }

    /// What was read and not yet used.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Says that all of the unread bytes but the last `left` were used.
    pub(crate) fn used_but(&mut self, left: usize) {
        self.start = self.end - left;
    }

    /// Makes room for a read and gives it. There must be nothing unread: a session uses all it is given.
    pub(crate) fn room(&mut self) -> Result<&mut [u8], Exhausted> {
        debug_assert!(self.unread().is_empty(), "a session leaves nothing when it wants more");
        self.make_room()?;
        Ok(&mut self.buffer[self.start..])
    }

    /// Says how many bytes were read into the room.
    pub(crate) fn filled(&mut self, read: usize) {
        self.end = self.start + read;
    }

    /// Forgets the params of the request before.
    pub(crate) fn clear_params(&mut self) {
        self.params = Params::InPlace(0..0);
    }

    /// Adds the `len` bytes just used to the params.
    pub(crate) fn keep_params(&mut self, len: usize) -> Result<(), Exhausted> {
        let piece = self.start - len..self.start;
        match &mut self.params {
            Params::Moved(params) => params.extend(&self.buffer[piece])?,
            Params::InPlace(params) if params.start == params.end => *params = piece,
            Params::InPlace(params) => {
                // Between the two lies a record header and padding, or nothing when only our reads cut the record.
                let end = params.end + len;
                self.buffer.copy_within(piece, params.end);
                params.end = end;
            }
        }
        Ok(())
    }

    /// Sees to it that a body has half the buffer to flow through, whatever the params take of it: they move to its
    /// front, or out.
    pub(crate) fn settle_params(&mut self) -> Result<(), Exhausted> {
        let half = self.buffer.len() / 2;
        let Params::InPlace(params) = &mut self.params else { return Ok(()) };
        if self.buffer.len() - params.end >= half {
            return Ok(());
        }
        if params.len() > half {
            let mut moved = Bytes::new(self.budget);
            moved.extend(&self.buffer[params.clone()])?;
            self.params = Params::Moved(moved);
            return Ok(());
        }
        let unread = self.start..self.end;
        self.buffer.copy_within(params.clone(), 0);
        *params = 0..params.len();
        self.buffer.copy_within(unread.clone(), params.end);
        (self.start, self.end) = (params.end, params.end + unread.len());
        Ok(())
    }

    /// Parts the params from the rest of the input, which goes on while they are looked at. Give the rest back
    /// with [`rejoin`](Self::rejoin).
    pub(crate) fn part(&mut self) -> (fcgi_proto::Params<'_>, Input<'_>) {
        match &self.params {
            Params::Moved(params) => {
                let rest = Input {
                    buffer: self.buffer,
                    budget: self.budget,
                    start: self.start,
                    end: self.end,
                    params: Params::InPlace(0..0),
                };
                (fcgi_proto::Params::new(params.as_slice()), rest)
            }
            Params::InPlace(range) => {
                let (front, back) = self.buffer.split_at_mut(range.end);
                let (start, end) = (self.start - range.end, self.end - range.end);
                let rest = Input { buffer: back, budget: self.budget, start, end, params: Params::InPlace(0..0) };
                (fcgi_proto::Params::new(&front[range.clone()]), rest)
            }
        }
    }

    /// Takes back what [`part`](Self::part) gave out, of which this many bytes at the end of the buffer are room and
    /// this many in front of them unread.
    pub(crate) fn rejoin(&mut self, (unread, room): (usize, usize)) {
        self.end = self.buffer.len() - room;
        self.start = self.end - unread;
    }

    /// How many bytes are unread, and how much room is behind them: what [`rejoin`](Self::rejoin) wants.
    pub(crate) fn extent(&self) -> (usize, usize) {
        (self.end - self.start, self.buffer.len() - self.end)
    }

    /// Moves `start` to where the next read may go: behind the params, which themselves move to the front, or out
    /// once they fill half the buffer.
    fn make_room(&mut self) -> Result<(), Exhausted> {
        self.start = match &mut self.params {
            Params::InPlace(params) if params.len() > self.buffer.len() / 2 => {
                let mut moved = Bytes::new(self.budget);
                moved.extend(&self.buffer[params.clone()])?;
                self.params = Params::Moved(moved);
                0
            }
            Params::InPlace(params) => {
                if params.start > 0 {
                    self.buffer.copy_within(params.clone(), 0);
                    *params = 0..params.len();
                }
                params.end
            }
            Params::Moved(_) => 0,
        };
        self.end = self.start;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts bytes into the input as a read would.
    fn put(input: &mut Input<'_>, bytes: &[u8]) {
        input.room().expect("a budget")[..bytes.len()].copy_from_slice(bytes);
        input.filled(bytes.len());
    }

    #[test]
    fn params_are_joined_in_place_then_moved() {
        let (mut buffer, budget) = ([0; 16], Budget::new(100));
        let mut input = Input::new(&mut buffer, &budget);
        put(&mut input, b"hd\x01\x03apad");
        input.used_but(3);
        input.keep_params(3).expect("a budget");
        input.used_but(0);
        put(&mut input, b"h\x31h\x32\x33");
        input.used_but(3);
        input.keep_params(1).expect("a budget");
        input.used_but(0);
        input.keep_params(2).expect("a budget");
        assert_eq!(input.part().0.get(b"a"), Some(&b"123"[..]));
        assert!(matches!(input.params, Params::InPlace(_)));

        input.clear_params();
        put(&mut input, b"\x01\x0ca12345678");
        input.used_but(0);
        input.keep_params(11).expect("a budget");
        put(&mut input, b"9abc");
        input.used_but(0);
        input.keep_params(4).expect("a budget");
        assert!(matches!(input.params, Params::Moved(_)));
        assert_eq!(input.part().0.get(b"a"), Some(&b"123456789abc"[..]));
    }

    #[test]
    fn a_body_has_half_the_buffer() {
        for (skipped, value) in [(8, "ab"), (2, "0123456789"), (0, "ab")] {
            let (mut buffer, budget) = ([0; 16], Budget::new(100));
            let mut input = Input::new(&mut buffer, &budget);
            let pair = [&[1, value.len() as u8, b'a'], value.as_bytes()].concat();
            put(&mut input, &[&vec![b'h'; skipped], &pair[..], b"u"].concat());
            input.used_but(1);
            input.keep_params(pair.len()).expect("a budget");
            input.settle_params().expect("a budget");
            assert_eq!(input.unread(), b"u");
            let (params, rest) = input.part();
            assert_eq!(params.get(b"a"), Some(value.as_bytes()));
            assert_eq!(rest.unread(), b"u");
            assert!(rest.buffer.len() >= 8, "{skipped} {value}: {}", rest.buffer.len());
        }
    }

    #[test]
    fn the_rest_comes_back_where_it_was() {
        let (mut buffer, budget) = ([0; 16], Budget::new(100));
        let mut input = Input::new(&mut buffer, &budget);
        put(&mut input, b"h\x01\x01abrest");
        input.used_but(4);
        input.keep_params(4).expect("a budget");
        let (params, mut rest) = input.part();
        assert_eq!(params.get(b"a"), Some(&b"b"[..]));
        assert_eq!(rest.unread(), b"rest");
        rest.used_but(1);
        let extent = rest.extent();
        drop(rest);
        input.rejoin(extent);
        assert_eq!(input.unread(), b"t");
    }
}
