use core::ops::Range;

use crate::{Header, ProtocolError, RecordType};

/// A piece of one record: its header, and as much of its content as the input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The header of the record, the same with each of its fragments.
    pub header: Header,
    /// The content, borrowed from the input. Empty only when the record's whole content is empty.
    pub content: &'a [u8],
    /// Whether the content begins here.
    pub first: bool,
    /// Whether the content ends here.
    pub last: bool,
}

impl<'a> Fragment<'a> {
    /// Takes a whole record off the front of `input`, behind the padding of the one before; gives what follows its
    /// content too.
    #[inline]
    pub(crate) fn split_whole(padding: u8, input: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = split_header(padding, input)?;
        let (content, rest) = rest.split_at_checked(usize::from(header.content))?;
        Some((Self { header, content, first: true, last: true }, rest))
    }
}

/// Takes a whole header off the front of `input`, behind the padding of the record before.
#[inline]
fn split_header(padding: u8, input: &[u8]) -> Option<(Header, &[u8])> {
    let (_, rest) = input.split_at_checked(usize::from(padding))?;
    let (bytes, rest) = rest.split_first_chunk()?;
    Some((Header::decode(bytes).ok()?, rest))
}

/// Splits a byte stream, cut anywhere, into records and their content.
///
/// The decoder copies and buffers no content: it hands out what is there as [`Fragment`]s of the caller's slice, so a
/// read buffer of any size serves records of 64 KiB. Only a header that was cut is kept, at most seven bytes.
/// Padding is skipped on every type of record, also on empty ones.
///
/// ```
/// use fcgi_proto::{Decoder, RecordType};
///
/// let mut decoder = Decoder::new();
/// let mut input: &[u8] = &[1, 5, 0, 1, 0, 5, 0, 0, b'H', b'e', b'l'];
/// let fragment = decoder.next(&mut input)?.expect("three bytes of content");
/// assert_eq!(fragment.header.kind, RecordType::Stdin);
/// assert_eq!(fragment.content, b"Hel");
/// assert!(fragment.first && !fragment.last);
/// assert!(input.is_empty() && decoder.next(&mut input)?.is_none()); // read more, then go on
/// # Ok::<(), fcgi_proto::ProtocolError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
}

/// Where in a record the next byte of input belongs.
#[derive(Debug, Clone, Copy)]
enum State {
    /// At its beginning, behind so many bytes of the padding of the one before that are still to come.
    Start { padding: u8 },
    /// In its header, of which `have` bytes came with earlier input.
    Header { have: u8, bytes: [u8; Header::LEN] },
    /// In its content, of which `left` bytes are to come; `first` until some of it was handed out.
    Content { header: Header, left: u16, first: bool },
    /// Nowhere: the two sides disagree for good.
    Broken(ProtocolError),
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub const fn new() -> Self {
        Self { state: State::Start { padding: 0 } }
    }

    /// Takes the next fragment off the front of `input`, which shrinks by what was used: afterwards it begins where
    /// the fragment's content ends.
    ///
    /// `None` means that all of `input` was used and more is needed.
    ///
    /// # Errors
    /// [`ProtocolError::Version`], as soon as the byte is there, and from then on at every call.
    #[inline]
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Fragment<'a>>, ProtocolError> {
        match self.peek_whole(input) {
            Some((fragment, rest)) => {
                self.pass(fragment.header);
                *input = rest;
                Ok(Some(fragment))
            }
            None => self.resume(input),
        }
    }

    /// The usual case, kept short: the input holds the next record whole. Gives it and what follows its content, and
    /// takes nothing; in every other case, `None`.
    #[inline]
    pub(crate) fn peek_whole<'a>(&self, input: &'a [u8]) -> Option<(Fragment<'a>, &'a [u8])> {
        let State::Start { padding } = self.state else { return None };
        Fragment::split_whole(padding, input)
    }

    /// Goes on behind the content of the record with this header.
    #[inline]
    pub(crate) const fn pass(&mut self, header: Header) {
        self.state = State::Start { padding: header.padding };
    }

    /// Takes what is there of the contents of records of this request and type, as long as they come next and `take`,
    /// told where in the input they are, says that it has room for more.
    #[inline(never)] // A loop needs registers of its own.
    pub(crate) fn next_contents(
        &mut self,
        id: u16,
        kind: RecordType,
        input: &mut &[u8],
        mut take: impl FnMut(Range<usize>) -> bool,
    ) {
        let is_wanted = |header: Header| header.id == id && header.kind == kind;
        let len = input.len();
        let mut take = |content: &[u8], rest: &[u8]| {
            let end = len.saturating_sub(rest.len());
            take(end.saturating_sub(content.len())..end)
        };
        // What is left of a record that was cut, then whole ones, then what is there of the next.
        if let State::Content { header, left, .. } = self.state {
            let (content, rest) = split_at_most(input, usize::from(left));
            if !is_wanted(header) || content.is_empty() {
                return;
            }
            *input = rest;
            self.pass_content(header, left, content);
            if !take(content, rest) {
                return;
            }
        }
        while let Some((Fragment { header, content, .. }, rest)) = self.peek_whole(input) {
            if !is_wanted(header) || content.is_empty() {
                return;
            }
            *input = rest;
            self.pass(header);
            if !take(content, rest) {
                return;
            }
        }
        let State::Start { padding } = self.state else { return };
        if let Some((header, content)) = split_header(padding, input) {
            if is_wanted(header) && !content.is_empty() {
                *input = &[];
                self.pass_content(header, header.content, content);
                take(content, &[]);
            }
        }
    }

    /// Goes on behind a piece of the content of a record of which `left` bytes were to come; `true` if it was the last.
    #[inline]
    const fn pass_content(&mut self, header: Header, left: u16, content: &[u8]) -> bool {
        // `content` is no longer than `left`, so the subtraction is exact.
        let left = left.saturating_sub(content.len() as u16);
        self.state = match left {
            0 => State::Start { padding: header.padding },
            left => State::Content { header, left, first: false },
        };
        left == 0
    }

    /// What no input gives: nothing, as content that is wanted never has no length.
    #[inline]
    pub(crate) fn on_nothing<T>(&self) -> Result<Option<T>, ProtocolError> {
        match self.state {
            State::Broken(error) => Err(error),
            State::Start { .. } | State::Header { .. } | State::Content { .. } => Ok(None),
        }
    }

    /// Every case there is, at any cut.
    #[inline(never)]
    pub(crate) fn resume<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Fragment<'a>>, ProtocolError> {
        loop {
            match self.state {
                State::Start { padding } => {
                    let (skipped, rest) = split_at_most(input, usize::from(padding));
                    *input = rest;
                    self.state = State::Start { padding: padding.saturating_sub(skipped.len() as u8) };
                    if input.is_empty() {
                        return Ok(None);
                    }
                    self.collect_header(0, [0; Header::LEN], input)?;
                }
                State::Header { .. } if input.is_empty() => return Ok(None),
                State::Header { have, bytes } => self.collect_header(have, bytes, input)?,
                State::Content { header, left, first } => {
                    if input.is_empty() && left > 0 {
                        return Ok(None);
                    }
                    let (content, rest) = split_at_most(input, usize::from(left));
                    *input = rest;
                    let last = self.pass_content(header, left, content);
                    return Ok(Some(Fragment { header, content, first, last }));
                }
                State::Broken(error) => return Err(error),
            }
        }
    }

    /// Says what the end of the input means here.
    ///
    /// # Errors
    /// [`ProtocolError::CutHeader`] or [`ProtocolError::CutRecord`] when a record was under way, or the error that
    /// broke the stream before.
    pub const fn end_of_input(&self) -> Result<(), ProtocolError> {
        match self.state {
            State::Start { padding: 0 } => Ok(()),
            State::Start { padding } => Err(ProtocolError::CutRecord(padding as u32)),
            State::Header { have, .. } => Err(ProtocolError::CutHeader(have)),
            State::Content { header, left, .. } => Err(ProtocolError::CutRecord(left as u32 + header.padding as u32)),
            State::Broken(error) => Err(error),
        }
    }

    /// Ends decoding for good: every later call gives this error.
    pub(crate) const fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        self.state = State::Broken(error);
        error
    }

    /// Adds to a header of which `have` bytes came, and enters its record once it is whole.
    fn collect_header(
        &mut self,
        mut have: u8,
        mut bytes: [u8; Header::LEN],
        input: &mut &[u8],
    ) -> Result<(), ProtocolError> {
        while let (Some(slot), Some((&byte, rest))) = (bytes.get_mut(usize::from(have)), input.split_first()) {
            *slot = byte;
            *input = rest;
            have = have.saturating_add(1);
        }
        let [version, ..] = bytes;
        if version != 1 {
            return Err(self.fail(ProtocolError::Version(version)));
        }
        self.state = match Header::decode(&bytes) {
            Ok(header) if usize::from(have) == Header::LEN => {
                State::Content { header, left: header.content, first: true }
            }
            _ => State::Header { have, bytes },
        };
        Ok(())
    }
}

/// Splits off the first `n` bytes, or all when there are fewer.
#[inline]
fn split_at_most(bytes: &[u8], n: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(n).unwrap_or((bytes, &[]))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// Two records with padding, one of them empty, and one without.
    const WIRE: &[u8] = &[
        1, 4, 0, 1, 0, 3, 2, 0, b'a', b'b', b'c', 0xee, 0xee, //
        1, 4, 0, 1, 0, 0, 1, 0, 0xee, //
        1, 5, 0, 1, 0, 2, 0, 0xff, b'x', b'y',
    ];

    /// Decodes pieces of input; joins the fragments of each record.
    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(RecordType, Vec<u8>)> {
        let mut decoder = Decoder::new();
        let mut records: Vec<(RecordType, Vec<u8>)> = Vec::new();
        let mut open = false;
        for mut piece in pieces {
            while let Some(fragment) = decoder.next(&mut piece).expect("valid") {
                assert_eq!(fragment.first, !open);
                if fragment.first {
                    records.push((fragment.header.kind, Vec::new()));
                }
                records.last_mut().expect("one").1.extend_from_slice(fragment.content);
                open = !fragment.last;
            }
            assert!(piece.is_empty());
        }
        assert_eq!(decoder.end_of_input(), Ok(()));
        records
    }

    fn want() -> Vec<(RecordType, Vec<u8>)> {
        std::vec![
            (RecordType::Params, b"abc".to_vec()),
            (RecordType::Params, b"".to_vec()),
            (RecordType::Stdin, b"xy".to_vec()),
        ]
    }

    #[test]
    fn whole_at_every_cut_and_byte_by_byte() {
        assert_eq!(decode([WIRE]), want());
        for cut in 0..=WIRE.len() {
            assert_eq!(decode([&WIRE[..cut], &WIRE[cut..]]), want(), "cut at {cut}");
        }
        assert_eq!(decode(WIRE.chunks(1)), want());
    }

    #[test]
    fn content_is_borrowed() {
        let mut input = WIRE;
        let fragment = Decoder::new().next(&mut input).expect("valid").expect("whole");
        assert!(core::ptr::eq(fragment.content, &WIRE[8..11]));
    }

    #[test]
    fn a_wrong_version_is_seen_at_its_first_byte_and_for_ever() {
        let mut decoder = Decoder::new();
        let mut input: &[u8] = b"G";
        assert_eq!(decoder.next(&mut input), Err(ProtocolError::Version(b'G')));
        assert_eq!(decoder.next(&mut { WIRE }), Err(ProtocolError::Version(b'G')));
        assert_eq!(decoder.end_of_input(), Err(ProtocolError::Version(b'G')));
    }

    #[test]
    fn the_end_of_input_names_what_is_missing() {
        for (len, want) in [
            (0, Ok(())),
            (5, Err(ProtocolError::CutHeader(5))),
            (8, Err(ProtocolError::CutRecord(5))),
            (9, Err(ProtocolError::CutRecord(4))),
            (11, Err(ProtocolError::CutRecord(2))),
            (12, Err(ProtocolError::CutRecord(1))),
            (13, Ok(())),
        ] {
            let mut decoder = Decoder::new();
            let mut input = &WIRE[..len];
            while decoder.next(&mut input).expect("valid").is_some() {}
            assert_eq!(decoder.end_of_input(), want, "after {len} bytes");
        }
    }
}
