//! Literal records, and checks of what the shortcuts take of them.

use std::ops::Range;

use fcgi_proto::{Config, Opening, Params, Role, Session};

use crate::both::{Both, Outcome, Setup, Stream};

pub(crate) const BEGIN: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0";
pub(crate) const AUTHORIZER: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x02\x01\0\0\0\0\0";
pub(crate) const FILTER: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x03\x01\0\0\0\0\0";
pub(crate) const NO_KEEP_CONN: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0";
pub(crate) const PARAMS: &[u8] = b"\x01\x04\0\x01\0\x0b\0\0\x01\x02abc\x03\x01xyz1";
pub(crate) const PARAMS_END: &[u8] = b"\x01\x04\0\x01\0\0\0\0";
pub(crate) const STDIN: &[u8] = b"\x01\x05\0\x01\0\x04\0\0body";
pub(crate) const STDIN_END: &[u8] = b"\x01\x05\0\x01\0\0\0\0";
pub(crate) const DATA: &[u8] = b"\x01\x08\0\x01\0\x02\0\0da";
pub(crate) const DATA_END: &[u8] = b"\x01\x08\0\x01\0\0\0\0";
pub(crate) const REQUEST: [&[u8]; 4] = [BEGIN, PARAMS, PARAMS_END, STDIN_END];

/// Where the params of `PARAMS` are behind a `BEGIN` without padding.
pub(crate) const AT: Range<usize> = 24..35;

pub(crate) fn opening(id: u16, role: Role, params: Range<usize>) -> Opening {
    Opening { id, role, keep_conn: true, params }
}

pub(crate) fn responder() -> Opening {
    opening(1, Role::Responder, AT)
}

/// Copies a record with one byte of its header changed.
pub(crate) fn with(record: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut record = record.to_vec();
    record[at] = byte;
    record
}

/// The same record of request `id`.
pub(crate) fn of(id: u8, record: &[u8]) -> Vec<u8> {
    with(record, 3, id)
}

/// The same record as one of another type.
pub(crate) fn as_type(kind: u8, record: &[u8]) -> Vec<u8> {
    with(record, 1, kind)
}

/// All defined types and some others, except this one.
pub(crate) fn types_but(kind: u8) -> impl Iterator<Item = u8> {
    (0..=12).chain([0x7f, 0xff]).filter(move |&other| other != kind)
}

/// The same record with padding that looks like the end of the body.
pub(crate) fn padded(record: &[u8]) -> Vec<u8> {
    [&with(record, 6, 8), STDIN_END].concat()
}

/// A session of `N` requests at once that has read `before`.
pub(crate) struct At<const N: usize> {
    setup: Setup,
    before: Vec<u8>,
}

/// At the start of a connection.
pub(crate) const fn start<const N: usize>() -> At<N> {
    let config = Config { max_params_len: 1000, max_pairs: 100, max_conns: 1, max_reqs: 1 };
    At { setup: Setup { config, ends_requests: false, room: usize::MAX }, before: Vec::new() }
}

impl<const N: usize> At<N> {
    pub(crate) fn after(self, records: &[&[u8]]) -> Self {
        Self { before: records.concat(), ..self }
    }

    /// The application ends each request as soon as it can.
    pub(crate) fn ending_requests(mut self) -> Self {
        self.setup.ends_requests = true;
        self
    }

    pub(crate) fn with_limits(mut self, max_params_len: u32, max_pairs: u32) -> Self {
        self.setup.config = Config { max_params_len, max_pairs, ..self.setup.config };
        self
    }

    pub(crate) fn session(&self) -> Session<N> {
        let mut both = Both::new(self.setup);
        let _ = both.feed(&Stream { wire: self.before.clone(), ends: Vec::new() }, []); // in a record, or broken
        both.into_plain()
    }

    /// Checks that `next_request` takes a request off the front of `input` and leaves the last `rest` bytes.
    #[track_caller]
    pub(crate) fn takes(&self, input: &[&[u8]], want: &Opening, rest: usize) {
        let input = input.concat();
        let (mut session, mut left, mut pairs) = (self.session(), &input[..], Vec::new());
        assert_eq!(session.next_request(&mut left, |pair| pairs.push(pair)).as_ref(), Some(want));
        assert_eq!(left, &input[input.len() - rest..]);
        assert!(Params::new(&input[want.params.clone()]).iter().eq(pairs));
        self.at_every_cut(&input);
    }

    /// Checks that `next_request` takes nothing.
    #[track_caller]
    pub(crate) fn leaves(&self, input: &[&[u8]]) {
        let input = input.concat();
        let mut left = &input[..];
        assert_eq!(self.session().next_request(&mut left, |_| ()), None);
        assert_eq!(left, input);
        self.at_every_cut(&input);
    }

    /// Checks that `next_contents` takes these pieces of the body of request 1 off the front of `input`, and leaves the
    /// last `rest` bytes.
    #[track_caller]
    pub(crate) fn takes_contents(&self, input: &[&[u8]], want: &[&[u8]], rest: usize) {
        let input = input.concat();
        let (mut left, mut pieces) = (&input[..], Vec::new());
        self.session().next_contents(1, &mut left, |piece| {
            pieces.push(&input[piece]);
            true
        });
        assert_eq!(pieces, want);
        assert_eq!(left, &input[input.len() - rest..]);
        self.at_every_cut(&input);
    }

    /// Compares the paths over the stream as a whole, cut at every byte, and in pieces of many sizes.
    #[track_caller]
    fn at_every_cut(&self, input: &[u8]) {
        let stream = Stream { wire: [&self.before, input].concat(), ends: Vec::new() };
        let want = Outcome::of::<N>(&stream, self.setup);
        for cut in 0..=stream.wire.len() {
            want.check::<N>(&stream, self.setup, [cut]);
        }
        for size in [1, 2, 3, 5, 8, 13, 21, 34] {
            want.check::<N>(&stream, Setup { room: 1, ..self.setup }, std::iter::repeat(size));
        }
    }

    /// Compares the paths over `before`, cut at every two bytes.
    #[track_caller]
    pub(crate) fn at_every_two_cuts(&self) {
        let stream = Stream { wire: self.before.clone(), ends: Vec::new() };
        let want = Outcome::of::<N>(&stream, self.setup);
        for first in 0..stream.wire.len() {
            for second in 1..stream.wire.len() - first {
                want.check::<N>(&stream, Setup { room: 2, ..self.setup }, [first, second]);
            }
        }
    }
}
