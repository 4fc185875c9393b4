/// A name and its value, as bytes: both may be empty, repeat, and hold anything.
///
/// ```text
/// +------------+-------------+----------+-----------+
/// | nameLength | valueLength | name     | value     |
/// +------------+-------------+----------+-----------+
///   a length:  0xxxxxxx                              one byte, 0 to 127
///              1xxxxxxx xxxxxxxx xxxxxxxx xxxxxxxx   four bytes, big endian, 31 bits
/// ```
///
/// A four-byte length below 128 is accepted, and never written. Specification section 3.4, "Name-Value Pairs".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Pair<'a> {
    /// The longest name or value, in bytes: what 31 bits can say.
    pub const MAX_LEN: usize = 0x7fff_ffff;

    /// Takes one whole pair off the front of `bytes`; `None` if `bytes` ends inside it.
    #[inline]
    pub(crate) fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        match *bytes {
            [name, value, ref rest @ ..] if name | value < 128 => Self::split_at(rest, name.into(), value.into()),
            // Taken apart and put together, for what is returned as it is would go through memory, short pairs too.
            _ => match Self::split_long(bytes) {
                Some((pair, rest)) => Some((pair, rest)),
                None => None,
            },
        }
    }

    /// Does the same for lengths of any size.
    #[inline(never)]
    fn split_long(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (name, value, rest) = split_lengths(bytes)?;
        Self::split_at(rest, name.try_into().ok()?, value.try_into().ok()?)
    }

    #[inline]
    fn split_at(bytes: &'a [u8], name: usize, value: usize) -> Option<(Self, &'a [u8])> {
        let (pair, rest) = bytes.split_at_checked(name.checked_add(value)?)?;
        let (name, value) = pair.split_at_checked(name)?;
        Some((Self { name, value }, rest))
    }

    /// Bytes of the pair on the wire.
    pub const fn encoded_len(&self) -> usize {
        let lengths = length_len(self.name.len()) + length_len(self.value.len());
        lengths.saturating_add(self.name.len()).saturating_add(self.value.len())
    }

    /// Writes the pair at the front of `out` and gives its length; `None`, with `out` in an unspecified state, when
    /// `out` has not [`encoded_len`](Self::encoded_len) bytes or name or value is longer than
    /// [`MAX_LEN`](Self::MAX_LEN).
    #[inline]
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let room = out.len();
        let rest = put_length(out, self.name.len())?;
        let rest = put_length(rest, self.value.len())?;
        let rest = put(rest, self.name)?;
        let rest = put(rest, self.value)?;
        room.checked_sub(rest.len())
    }
}

/// The params of a request: name-value pairs, in place in the bytes they came in.
///
/// [`iter`](Self::iter) gives every pair in order, duplicates included; [`get`](Self::get) the *last* value of a name,
/// because server configurations override a variable by a later line of the same name. Nothing is decoded ahead: a
/// look-up walks the pairs, comparing lengths before bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Params<'a> {
    bytes: &'a [u8],
}

impl<'a> Params<'a> {
    /// The pairs encoded in `bytes`: the joined contents of a request's `FCGI_PARAMS` records.
    ///
    /// A [`Session`](crate::Session) has checked what it hands out. Of other bytes, the walk ends before the first
    /// pair that is cut; [`Pairs::rest`] tells.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The last value of `name`, compared byte by byte.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut last = None;
        for pair in self.iter() {
            if pair.name == name {
                last = Some(pair.value);
            }
        }
        last
    }

    /// All pairs in the order in which they came.
    #[inline]
    pub const fn iter(&self) -> Pairs<'a> {
        Pairs { rest: self.bytes }
    }

    /// The encoded pairs.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The pairs as people read them, other bytes escaped. By hand, since the standard library's way for maps can panic.
impl core::fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("{")?;
        let mut separator = "";
        for Pair { name, value } in self.iter() {
            write!(f, "{separator}\"{}\": \"{}\"", name.escape_ascii(), value.escape_ascii())?;
            separator = ", ";
        }
        f.write_str("}")
    }
}

impl<'a> IntoIterator for Params<'a> {
    type Item = Pair<'a>;
    type IntoIter = Pairs<'a>;

    fn into_iter(self) -> Pairs<'a> {
        self.iter()
    }
}

/// Iterator over the pairs of [`Params`].
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// What was not walked yet; after the end, the cut pair, which in valid params is empty.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Pair<'a>> {
        let (pair, rest) = Pair::split(self.rest)?;
        self.rest = rest;
        Some(pair)
    }
}

/// Memory the caller lends to join params that straddle its reads or outgrow its buffer.
///
/// Its length is a hard limit: what would exceed it is refused, and what was joined stays.
#[derive(Debug)]
pub struct ParamsBuffer<'m> {
    memory: &'m mut [u8],
    len: usize,
}

/// The memory lent to a [`ParamsBuffer`] is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no room left to join params")
    }
}

impl core::error::Error for Full {}

impl<'m> ParamsBuffer<'m> {
    /// An empty buffer over `memory`.
    pub const fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, len: 0 }
    }

    /// Appends a piece of the params stream.
    ///
    /// # Errors
    /// [`Full`], and nothing is appended.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Full> {
        let room = self.memory.get_mut(self.len..).ok_or(Full)?;
        put(room, piece).ok_or(Full)?;
        self.len = self.len.saturating_add(piece.len());
        Ok(())
    }

    /// The params joined so far.
    pub fn params(&self) -> Params<'_> {
        Params::new(self.memory.get(..self.len).unwrap_or_default())
    }

    /// Forgets what was joined, for the next request.
    pub const fn clear(&mut self) {
        self.len = 0;
    }
}

/// Reads one length; `None` if `bytes` ends inside it.
#[inline]
pub(crate) fn split_length(bytes: &[u8]) -> Option<(u32, &[u8])> {
    match *bytes {
        [short @ 0..=127, ref rest @ ..] => Some((u32::from(short), rest)),
        [b3, b2, b1, b0, ref rest @ ..] => Some((u32::from_be_bytes([b3 & 0x7f, b2, b1, b0]), rest)),
        _ => None,
    }
}

/// Reads the two lengths in front of a pair; `None` if `bytes` ends inside them.
pub(crate) fn split_lengths(bytes: &[u8]) -> Option<(u32, u32, &[u8])> {
    let (name, rest) = split_length(bytes)?;
    let (value, rest) = split_length(rest)?;
    Some((name, value, rest))
}

const fn length_len(len: usize) -> usize {
    if len < 128 { 1 } else { 4 }
}

/// Writes a length at the front of `out` and gives what is left of it.
fn put_length(out: &mut [u8], len: usize) -> Option<&mut [u8]> {
    let len = u32::try_from(len).ok().filter(|&len| len <= 0x7fff_ffff)?;
    match u8::try_from(len) {
        Ok(short @ 0..=127) => put(out, &[short]),
        _ => put(out, &(len | 0x8000_0000).to_be_bytes()),
    }
}

/// Writes `bytes` at the front of `out` and gives what is left of it.
#[inline]
fn put<'o>(out: &'o mut [u8], bytes: &[u8]) -> Option<&'o mut [u8]> {
    let (front, rest) = out.split_at_mut_checked(bytes.len())?;
    front.copy_from_slice(bytes);
    Some(rest)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[track_caller]
    fn check(wire: &[u8], want: &[(&[u8], &[u8])]) {
        let params = Params::new(wire);
        let got: Vec<_> = params.iter().map(|pair| (pair.name, pair.value)).collect();
        assert_eq!(got, want);
        let mut pairs = params.iter();
        while pairs.next().is_some() {}
        assert_eq!(pairs.rest(), b"");
    }

    #[test]
    fn short_lengths() {
        check(b"\x01\x02abc\x00\x00\x03\x00xyz", &[(b"a", b"bc"), (b"", b""), (b"xyz", b"")]);
        check(b"", &[]);
    }

    #[test]
    fn four_byte_lengths_also_below_128() {
        check(b"\x80\x00\x00\x01\x02abc", &[(b"a", b"bc")]);
        check(b"\x01\x80\x00\x00\x02abc", &[(b"a", b"bc")]);
        check(b"\x80\x00\x00\x00\x80\x00\x00\x00", &[(b"", b"")]);
        let mut wire = vec![0x01, 0x80, 0x00, 0x01, 0x2c, b'n'];
        wire.extend([b'v'; 300]);
        check(&wire, &[(b"n", &[b'v'; 300])]);
    }

    #[test]
    fn a_cut_pair_is_the_rest() {
        let wire = b"\x01\x01ab\x80\x00\x00\x02\x7fcd";
        for len in 4..wire.len() {
            let mut pairs = Params::new(&wire[..len]).iter();
            assert_eq!(pairs.next(), Some(Pair { name: b"a", value: b"b" }));
            assert_eq!(pairs.next(), None);
            assert_eq!(pairs.rest(), &wire[4..len]);
        }
    }

    #[test]
    fn the_largest_declared_lengths_are_only_numbers() {
        let wire = b"\xff\xff\xff\xff\xff\xff\xff\xffab";
        assert_eq!(Params::new(wire).iter().next(), None);
        // Bytes that make two lengths of 128, if each were one byte.
        assert_eq!(Params::new(&[0x80; 300]).iter().next(), None);
    }

    #[test]
    fn lookup_gives_the_last_of_a_name() {
        let params = Params::new(b"\x01\x01a1\x01\x01b2\x01\x01a3");
        assert_eq!(params.get(b"a"), Some(&b"3"[..]));
        assert_eq!(params.get(b"b"), Some(&b"2"[..]));
        assert_eq!(params.get(b"A"), None);
        assert_eq!(std::format!("{params:?}"), r#"{"a": "1", "b": "2", "a": "3"}"#);
    }

    #[test]
    fn encoding() {
        let mut out = [0u8; 400];
        let pair = Pair { name: b"ab", value: b"c" };
        assert_eq!(pair.encode(&mut out), Some(5));
        assert_eq!(&out[..5], b"\x02\x01abc");
        assert_eq!(pair.encoded_len(), 5);
        let pair = Pair { name: &[b'n'; 127], value: &[b'v'; 128] };
        assert_eq!(pair.encode(&mut out), Some(1 + 4 + 127 + 128));
        assert_eq!(&out[..6], b"\x7f\x80\x00\x00\x80n");
        assert_eq!(pair.encoded_len(), 260);
        assert_eq!(pair.encode(&mut out[..259]), None);
    }

    #[test]
    fn joining_stops_at_the_end_of_the_memory() {
        let mut memory = [0u8; 6];
        let mut joined = ParamsBuffer::new(&mut memory);
        assert_eq!(joined.push(b"\x01"), Ok(()));
        assert_eq!(joined.push(b"\x01ab"), Ok(()));
        assert_eq!(joined.push(b"xyz"), Err(Full));
        assert_eq!(joined.params().get(b"a"), Some(&b"b"[..]));
        joined.clear();
        assert_eq!(joined.push(b"\x00\x04abcd"), Ok(()));
        assert_eq!(joined.params().get(b""), Some(&b"abcd"[..]));
        assert_eq!(std::format!("{Full}"), "no room left to join params");
    }
}
