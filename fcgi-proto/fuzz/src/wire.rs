//! The wire format once more, without the library: records, name-value pairs, and where to cut.

use fcgi_proto::{Header, ProtocolError, RecordType, Values};

/// Splits a stream into records, one byte at a time.
#[derive(Clone)]
pub(crate) struct Wire {
    /// The header being read, as far as it came.
    head: Vec<u8>,
    /// The last header.
    header: Header,
    content_left: u16,
    padding_left: u8,
}

/// What a byte of the stream is.
pub(crate) enum Part {
    /// Padding, or of a header, but not as below.
    Between,
    /// The last of the header of a record without content.
    Empty(Header),
    /// Of a record's content, and whether it is its first or its last byte.
    Content { header: Header, first: bool, last: bool },
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self { head: Vec::new(), header: Header::new(RecordType::Other(0), 0, 0), content_left: 0, padding_left: 0 }
    }

    pub(crate) fn read(&mut self, byte: u8) -> Result<Part, ProtocolError> {
        if self.content_left > 0 {
            let first = self.content_left == self.header.content;
            self.content_left -= 1;
            return Ok(Part::Content { header: self.header, first, last: self.content_left == 0 });
        }
        if self.padding_left > 0 {
            self.padding_left -= 1;
            return Ok(Part::Between);
        }
        self.head.push(byte);
        match self.head[..] {
            [1, kind, id1, id0, content1, content0, padding, _] => {
                let number = |high, low| u16::from(high) << 8 | u16::from(low);
                let (id, content) = (number(id1, id0), number(content1, content0));
                self.header = Header { kind: RecordType::from_wire(kind), id, content, padding };
                self.head.clear();
                self.content_left = content;
                self.padding_left = padding;
                Ok(if content == 0 { Part::Empty(self.header) } else { Part::Between })
            }
            [1, ..] => Ok(Part::Between),
            _ => Err(ProtocolError::Version(self.head[0])),
        }
    }

    /// Whether part of a header has come.
    pub(crate) fn is_in_header(&self) -> bool {
        !self.head.is_empty()
    }

    /// Bytes up to the end of the content of the record that begins at the front of `input`, behind padding of the one
    /// before, if all of them are there.
    pub(crate) fn whole_record(&self, input: &[u8]) -> Option<usize> {
        if self.is_in_header() || self.content_left > 0 {
            return None;
        }
        let mut wire = self.clone();
        for (at, &byte) in input.iter().enumerate() {
            if let Part::Empty(_) | Part::Content { last: true, .. } = wire.read(byte).ok()? {
                return Some(at + 1);
            }
        }
        None
    }

    pub(crate) fn end_of_input(&self) -> Result<(), ProtocolError> {
        match (self.head.len(), u32::from(self.content_left) + u32::from(self.padding_left)) {
            (0, 0) => Ok(()),
            (0, left) => Err(ProtocolError::CutRecord(left)),
            (have, _) => Err(ProtocolError::CutHeader(have as u8)),
        }
    }
}

/// Splits off pairs as long as they are whole: those, and what is left.
pub(crate) fn split_pairs(mut bytes: &[u8]) -> (Vec<NameValue<'_>>, &[u8]) {
    let mut pairs = Vec::new();
    while let Some(pair) = split_pair(&mut bytes) {
        pairs.push(pair);
    }
    (pairs, bytes)
}

pub(crate) type NameValue<'a> = (&'a [u8], &'a [u8]);

fn split_pair<'a>(bytes: &mut &'a [u8]) -> Option<NameValue<'a>> {
    let (name_len, value_len, used) = lengths(bytes)?;
    let (pair, rest) = bytes[used..].split_at_checked(name_len + value_len)?;
    *bytes = rest;
    Some(pair.split_at(name_len))
}

/// The two lengths at the front of `bytes` and how many bytes say them; `None` if they end inside them.
pub(crate) fn lengths(bytes: &[u8]) -> Option<(usize, usize, usize)> {
    let (name_len, name_used) = length(bytes)?;
    let (value_len, value_used) = length(&bytes[name_used..])?;
    Some((name_len, value_len, name_used + value_used))
}

/// The length at the front of `bytes` and how many bytes say it; `None` if they end inside it.
pub(crate) fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [short, ..] if short < 128 => Some((usize::from(short), 1)),
        [a, b, c, d, ..] => {
            Some(([a - 128, b, c, d].iter().fold(0, |number, &byte| number << 8 | usize::from(byte)), 4))
        }
        _ => None,
    }
}

/// A pair as it goes over the wire.
pub(crate) fn encode_pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for len in [name.len(), value.len()] {
        match len {
            0..=127 => out.push(len as u8),
            _ => out.extend([128 | (len >> 24) as u8, (len >> 16) as u8, (len >> 8) as u8, len as u8]),
        }
    }
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out
}

/// A record without padding.
pub(crate) fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let mut out = vec![1, kind, (id >> 8) as u8, id as u8, (content.len() >> 8) as u8, content.len() as u8, 0, 0];
    out.extend_from_slice(content);
    out
}

/// The `FCGI_GET_VALUES_RESULT` that gives these values.
pub(crate) fn values_record(values: &Values) -> Vec<u8> {
    let mut content = Vec::new();
    let numbers = [
        ("FCGI_MAX_CONNS", values.max_conns),
        ("FCGI_MAX_REQS", values.max_reqs),
        ("FCGI_MPXS_CONNS", values.mpxs_conns.map(u32::from)),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            content.extend(encode_pair(name.as_bytes(), number.to_string().as_bytes()));
        }
    }
    record(10, 0, &content)
}

/// Reads of two sizes in turn; 0 stands for all there is.
#[derive(Clone, Copy)]
pub(crate) struct Cuts(pub(crate) [u8; 2]);

impl Cuts {
    pub(crate) const WHOLE: Self = Self([0, 0]);
    pub(crate) const BYTES: Self = Self([1, 1]);

    pub(crate) fn pieces<'a>(&self, mut bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut sizes = self.0.into_iter().cycle();
        std::iter::from_fn(move || {
            let at_most = match sizes.next() {
                Some(size @ 1..) => usize::from(size),
                _ => bytes.len(),
            };
            let (piece, rest) = bytes.split_at(at_most.min(bytes.len()));
            bytes = rest;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// Checks that `got`, which equals `want`, is no copy of it.
#[track_caller]
pub(crate) fn assert_borrowed(got: &[u8], want: &[u8]) {
    assert!(want.is_empty() || std::ptr::eq(got, want), "copied: {}", got.escape_ascii());
}
