//! A byte stream, cut anywhere, as whole records.

use fcgi_proto::{Header, ProtocolError};

/// A whole record: its header, its content, and the padding that came with it.
pub(super) struct Record<'a> {
    pub(super) header: Header,
    pub(super) content: &'a [u8],
}

/// Collects records, one at a time, in at most 64 KiB.
///
/// An application would rather take content as it comes, as [`fcgi_proto::Decoder`] gives it out. But what a recording
/// holds of a record that was cut is its tail, and must count as nothing else.
#[derive(Default)]
pub(super) struct Records {
    /// What came of the current record.
    bytes: Vec<u8>,
    /// Whether that is all of it, and it was handed out.
    whole: bool,
    /// Where in the stream it begins.
    offset: u64,
}

impl Records {
    /// Takes input off the front of `input` until a record is whole; `None` means that more is needed.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Record<'_>>, ProtocolError> {
        if self.whole {
            self.offset += self.bytes.len() as u64;
            self.bytes.clear();
            self.whole = false;
        }
        self.fill_up_to(Header::LEN, input);
        if let Some(&version @ (0 | 2..)) = self.bytes.first() {
            return Err(ProtocolError::Version(version));
        }
        let Some(header) = self.bytes.first_chunk() else { return Ok(None) };
        let header = Header::decode(header)?;
        let end_of_content = Header::LEN + usize::from(header.content);
        let len = end_of_content + usize::from(header.padding);
        self.fill_up_to(len, input);
        self.whole = self.bytes.len() == len;
        Ok(self.whole.then(|| Record { header, content: &self.bytes[Header::LEN..end_of_content] }))
    }

    /// Bytes of a record that did not come whole.
    pub(super) fn tail(&self) -> usize {
        if self.whole { 0 } else { self.bytes.len() }
    }

    /// Where in the stream the record begins that was handed out or refused last.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    fn fill_up_to(&mut self, len: usize, input: &mut &[u8]) {
        let missing = len.saturating_sub(self.bytes.len());
        let (front, rest) = input.split_at(missing.min(input.len()));
        self.bytes.extend_from_slice(front);
        *input = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two records, the second padded, and the front of a third.
    const WIRE: &[u8] = b"\x01\x05\0\x01\0\x02\0\0ab\x01\x05\0\x01\0\0\x03\0PAD\x01\x05\0\x01\0\x02\x01";

    #[test]
    fn whole_records_and_the_tail_at_every_cut() {
        for cut in 0..=WIRE.len() {
            let mut records = Records::default();
            let mut seen = Vec::new();
            for mut input in [&WIRE[..cut], &WIRE[cut..]] {
                while let Some(record) = records.next(&mut input).expect("valid") {
                    seen.push((record.content.to_vec(), records.offset()));
                }
                assert!(input.is_empty());
            }
            assert_eq!(seen, [(b"ab".to_vec(), 0), (Vec::new(), 10)], "cut at {cut}");
            assert_eq!((records.tail(), records.offset()), (7, 21), "cut at {cut}");
        }
    }

    #[test]
    fn a_record_without_all_of_its_padding_is_a_tail() {
        let mut records = Records::default();
        assert!(records.next(&mut &WIRE[10..20]).expect("valid").is_none());
        assert_eq!(records.tail(), 10);
        assert!(records.next(&mut &WIRE[20..21]).expect("valid").is_some());
        assert_eq!(records.tail(), 0);
    }

    #[test]
    fn a_wrong_version_is_refused_at_its_first_byte() {
        let mut records = Records::default();
        assert_eq!(records.next(&mut &b"1"[..]).err(), Some(ProtocolError::Version(b'1')));
    }
}
