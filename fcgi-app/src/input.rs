use std::ops::Range;

use crate::budget::{BodyBuffer, Budget, Bytes, Exhausted};

/// The read buffer of a connection: params of the request under way in front, then what was read and not yet used.
///
/// ```text
///   0        params.start   params.end     start        end           buffer.len()
///   +--------+--------------+--------------+------------+-------------+
///   | used   | params       | used         | unread     | room        |
///   +--------+--------------+--------------+------------+-------------+
/// ```
pub(crate) struct Input<'b, 'm> {
    small: &'b mut [u8],
    /// The one in use while a body flows, if the budget had one.
    large: Option<BodyBuffer<'m>>,
    budget: &'m Budget,
    start: usize,
    end: usize,
    params: Params<'m>,
}

/// Where the params joined so far are.
enum Params<'m> {
    /// Still where they were read, as long as they fit half the buffer.
    InPlace(Range<usize>),
    /// Moved out.
    Moved(Bytes<'m>),
}

/// What a request left of the input it had.
pub(crate) struct Rest<'m> {
    large: Option<BodyBuffer<'m>>,
    /// How many bytes are unread.
    unread: usize,
    /// How much room is behind them.
    room: usize,
}

impl<'b, 'm> Input<'b, 'm> {
    pub(crate) fn new(buffer: &'b mut [u8], budget: &'m Budget) -> Self {
        Self { small: buffer, large: None, budget, start: 0, end: 0, params: Params::InPlace(0..0) }
    }

    /// All of the buffer. Bytes that were used stay where they are until there is room for a read again.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.large.as_deref().unwrap_or(self.small)
    }

    /// What was read and not yet used.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes()[self.start..self.end]
    }

    /// Where the unread bytes end.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// Says that all of the unread bytes but the last `left` were used.
    pub(crate) fn used_but(&mut self, left: usize) {
        self.start = self.end - left;
    }

    /// Makes room for a read: the params move to the front, or out once they fill half the buffer. There must be nothing
    /// unread: a session uses all it is given.
    pub(crate) fn make_room(&mut self) -> Result<(), Exhausted> {
        debug_assert!(self.unread().is_empty(), "a session leaves nothing when it wants more");
        self.start = match &mut self.params {
            Params::InPlace(params) if params.start == params.end => {
                self.large = None;
                0
            }
            Params::InPlace(params) => {
                let buffer = in_use(self.small, &mut self.large);
                if params.len() > buffer.len() / 2 {
                    self.params = Params::Moved(moved(&buffer[params.clone()], self.budget)?);
                    0
                } else {
                    buffer.copy_within(params.clone(), 0);
                    *params = 0..params.len();
                    params.end
                }
            }
            Params::Moved(_) => 0,
        };
        self.end = self.start;
        Ok(())
    }

    /// Room for a read, which was [made](Self::make_room).
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut in_use(self.small, &mut self.large)[self.start..]
    }

    /// The same while there is a body and no params. When the last read took all the room there was, more is likely
    /// to come, and a large buffer takes over, if the budget has one.
    pub(crate) fn body_room(&mut self) -> &mut [u8] {
        debug_assert!(self.unread().is_empty(), "a session leaves nothing when it wants more");
        if self.large.is_none() && self.end == self.small.len() {
            self.large = BodyBuffer::take(self.budget).ok();
        }
        (self.start, self.end) = (0, 0);
        in_use(self.small, &mut self.large)
    }

    /// Says how many bytes were read into the room.
    pub(crate) fn filled(&mut self, read: usize) {
        self.end = self.start + read;
    }

    /// Says that all of the unread bytes but the last `left` were used, and that those in `params` are params.
    pub(crate) fn open(&mut self, params: Range<usize>, left: usize) {
        self.params = Params::InPlace(self.start + params.start..self.start + params.end);
        self.used_but(left);
    }

    /// Forgets the params of the request before.
    pub(crate) fn clear_params(&mut self) {
        self.params = Params::InPlace(0..0);
    }

    /// Adds the `len` bytes just used to the params.
    pub(crate) fn keep_params(&mut self, len: usize) -> Result<(), Exhausted> {
        let piece = self.start - len..self.start;
        let buffer = in_use(self.small, &mut self.large);
        match &mut self.params {
            Params::Moved(params) => params.extend(&buffer[piece])?,
            Params::InPlace(params) if params.start == params.end => *params = piece,
            Params::InPlace(params) => {
                // Between the two lies a record header and padding, or nothing when only our reads cut the record.
                let end = params.end + len;
                buffer.copy_within(piece, params.end);
                params.end = end;
            }
        }
        Ok(())
    }

    /// Sees to it that a body has half the buffer to flow through, whatever the params take of it: they move to its
    /// front, or out.
    pub(crate) fn settle_params(&mut self) -> Result<(), Exhausted> {
        let buffer = in_use(self.small, &mut self.large);
        let half = buffer.len() / 2;
        let Params::InPlace(params) = &mut self.params else { return Ok(()) };
        if buffer.len() - params.end >= half {
            return Ok(());
        }
        if params.len() > half {
            self.params = Params::Moved(moved(&buffer[params.clone()], self.budget)?);
            return Ok(());
        }
        let unread = self.start..self.end;
        buffer.copy_within(params.clone(), 0);
        *params = 0..params.len();
        buffer.copy_within(unread.clone(), params.end);
        (self.start, self.end) = (params.end, params.end + unread.len());
        Ok(())
    }

    /// The params of the request under way.
    pub(crate) fn params(&self) -> fcgi_proto::Params<'_> {
        fcgi_proto::Params::new(match &self.params {
            Params::Moved(params) => params.as_slice(),
            Params::InPlace(range) => &self.bytes()[range.clone()],
        })
    }

    /// Parts the params from the rest of the input, which goes on while they are looked at. Give what that leaves back
    /// with [`rejoin`](Self::rejoin).
    pub(crate) fn part(&mut self) -> (fcgi_proto::Params<'_>, Input<'_, 'm>) {
        let buffer = in_use(self.small, &mut self.large);
        let (params, buffer, used) = match &self.params {
            Params::Moved(params) => (params.as_slice(), buffer, 0),
            Params::InPlace(range) => {
                let (front, back) = buffer.split_at_mut(range.end);
                (&front[range.clone()], back, range.end)
            }
        };
        let rest = Input { start: self.start - used, end: self.end - used, ..Input::new(buffer, self.budget) };
        (fcgi_proto::Params::new(params), rest)
    }

    /// What is left of the part of an input that [`part`](Self::part) gave.
    pub(crate) fn rest(&mut self) -> Rest<'m> {
        let (unread, room) = (self.end - self.start, self.bytes().len() - self.end);
        Rest { large: self.large.take(), unread, room }
    }

    /// Takes back what a request left, and forgets its params. A large buffer is given up unless too much is in it.
    pub(crate) fn rejoin(&mut self, rest: Rest<'m>) {
        self.clear_params();
        self.large = rest.large.or(self.large.take());
        self.end = self.bytes().len() - rest.room;
        self.start = self.end - rest.unread;
        let fits = self.small.get_mut(..rest.unread);
        if let (Some(large), Some(fits)) = (&self.large, fits) {
            fits.copy_from_slice(&large[self.start..self.end]);
            (self.start, self.end) = (0, rest.unread);
            self.large = None;
        }
    }
}

/// The buffer that is read into.
fn in_use<'s>(small: &'s mut [u8], large: &'s mut Option<BodyBuffer<'_>>) -> &'s mut [u8] {
    large.as_deref_mut().unwrap_or(small)
}

fn moved<'m>(params: &[u8], budget: &'m Budget) -> Result<Bytes<'m>, Exhausted> {
    let mut moved = Bytes::new(budget);
    moved.extend(params)?;
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts bytes into the input as a read would.
    fn put(input: &mut Input<'_, '_>, bytes: &[u8]) {
        input.make_room().expect("a budget");
        input.room()[..bytes.len()].copy_from_slice(bytes);
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
            assert!(rest.bytes().len() >= 8, "{skipped} {value}: {}", rest.bytes().len());
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
        let rest = rest.rest();
        input.rejoin(rest);
        assert_eq!(input.unread(), b"t");
    }

    #[test]
    fn a_body_flows_through_a_large_buffer() {
        let (mut buffer, budget) = ([0; 16], Budget::new(1 << 20));
        let mut input = Input::new(&mut buffer, &budget);
        put(&mut input, b"h\x01\x01abrest");
        input.used_but(4);
        input.keep_params(4).expect("a budget");
        for left in [0, 16, 17] {
            let (_, mut rest) = input.part();
            rest.used_but(0);
            let room = rest.body_room().len();
            assert!(room < 16 || left > 0, "nothing says that more will come");
            rest.filled(room);
            rest.used_but(0);
            let room = rest.body_room();
            assert!(room.len() > 10_000);
            room[..100].fill(b'x');
            rest.filled(100);
            rest.used_but(left);
            let rest = rest.rest();
            input.rejoin(rest);
            assert_eq!(input.unread(), &b"xxxxxxxxxxxxxxxxx"[..left]);
            assert_eq!(input.large.is_some(), left > 16, "what does not fit stays where it is");
        }
        input.used_but(0);
        input.make_room().expect("a budget");
        assert!(input.room().len() == 16 && input.large.is_none());
    }
}
