use crate::scanner::{Limit, Piece, Scanner};
use crate::{Header, Pair, RecordType};

/// The capacities of an application, as `FCGI_GET_VALUES` asks for them and its result gives them.
///
/// ```text
/// FCGI_GET_VALUES          name-value pairs whose values are ignored:   FCGI_MAX_CONNS ""   FCGI_MPXS_CONNS ""
/// FCGI_GET_VALUES_RESULT   the names that are known, each once:         FCGI_MAX_CONNS 256  FCGI_MPXS_CONNS 0
/// ```
///
/// `None` means "not asked" in a query's answer, and "not given" or no decimal number of 32 bits in a result. Names
/// compare byte by byte. Specification section 4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Values {
    /// `FCGI_MAX_CONNS`: connections the application takes at once.
    pub max_conns: Option<u32>,
    /// `FCGI_MAX_REQS`: requests it takes at once, over all connections.
    pub max_reqs: Option<u32>,
    /// `FCGI_MPXS_CONNS`: whether it takes several requests at once on a connection.
    pub mpxs_conns: Option<bool>,
}

const MAX_CONNS: &[u8] = b"FCGI_MAX_CONNS";
const MAX_REQS: &[u8] = b"FCGI_MAX_REQS";
const MPXS_CONNS: &[u8] = b"FCGI_MPXS_CONNS";

impl Values {
    /// The longest `FCGI_GET_VALUES_RESULT` record that [`record`](Self::record) writes, in bytes.
    pub const MAX_RECORD_LEN: usize = Header::LEN + 3 * 2 + 14 + 13 + 15 + 10 + 10 + 1;

    /// The `FCGI_GET_VALUES` record that asks for all three.
    pub const QUERY: [u8; Header::LEN + 48] =
        *b"\x01\x09\0\0\0\x30\0\0\x0e\0FCGI_MAX_CONNS\x0d\0FCGI_MAX_REQS\x0f\0FCGI_MPXS_CONNS";

    /// Writes the `FCGI_GET_VALUES_RESULT` record that gives what is `Some`, numbers in decimal.
    pub fn record<'o>(&self, out: &'o mut [u8; Self::MAX_RECORD_LEN]) -> &'o [u8] {
        let mut len = Header::LEN;
        let mut digits = [0; 10];
        let switch = self.mpxs_conns.map(u32::from);
        for (name, number) in [(MAX_CONNS, self.max_conns), (MAX_REQS, self.max_reqs), (MPXS_CONNS, switch)] {
            let Some(number) = number else { continue };
            let pair = Pair { name, value: decimal(number, &mut digits) };
            let written = out.get_mut(len..).and_then(|room| pair.encode(room)).unwrap_or_default();
            len = len.saturating_add(written);
        }
        let content = len.saturating_sub(Header::LEN) as u16; // below 256
        let header = Header::new(RecordType::GetValuesResult, 0, content).encode();
        if let Some(front) = out.first_chunk_mut() {
            *front = header;
        }
        out.get(..len).unwrap_or_default()
    }
}

/// Writes a number in decimal, without leading zeros.
fn decimal(mut number: u32, out: &mut [u8; 10]) -> &[u8] {
    let mut unused = out.len();
    for (at, digit) in out.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        unused = at;
        if number == 0 {
            break;
        }
    }
    out.get(unused..).unwrap_or_default()
}

/// Reads the content of `FCGI_GET_VALUES` or its result, in pieces cut anywhere.
#[derive(Debug, Clone)]
pub(crate) struct ValuesReader {
    scanner: Scanner,
    /// The name being read; one longer than the longest we know stays one byte too long.
    name: [u8; 16],
    name_len: u8,
    /// The value being read as a decimal number; `None` once it cannot be one.
    number: Option<u32>,
    /// The names met so far, each with its number if it was one.
    max_conns: Option<Option<u32>>,
    max_reqs: Option<Option<u32>>,
    mpxs_conns: Option<Option<u32>>,
}

impl ValuesReader {
    pub(crate) const fn new() -> Self {
        Self {
            scanner: Scanner::new(u32::MAX, u32::MAX),
            name: [0; 16],
            name_len: 0,
            number: None,
            max_conns: None,
            max_reqs: None,
            mpxs_conns: None,
        }
    }

    pub(crate) fn read(&mut self, content: &[u8]) {
        let mut scanner = self.scanner;
        // Only lengths that no record can hold go over these limits: the content ends inside that pair.
        let (Ok(()) | Err(Limit::ParamsLen | Limit::Pairs)) = scanner.scan(content, |piece| self.visit(piece));
        self.scanner = scanner;
    }

    /// What `application` answers to the names that were asked for; `None` if the content ended inside a pair.
    pub(crate) fn answer(&self, application: &Values) -> Option<Values> {
        self.scanner.at_border().then(|| Values {
            max_conns: self.max_conns.and(application.max_conns),
            max_reqs: self.max_reqs.and(application.max_reqs),
            mpxs_conns: self.mpxs_conns.and(application.mpxs_conns),
        })
    }

    /// What the values that were given mean; `None` if the content ended inside a pair.
    pub(crate) fn result(&self) -> Option<Values> {
        self.scanner.at_border().then(|| Values {
            max_conns: self.max_conns.flatten(),
            max_reqs: self.max_reqs.flatten(),
            mpxs_conns: match self.mpxs_conns.flatten() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
        })
    }

    fn visit(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Name { bytes, end } => {
                for &byte in bytes {
                    if let Some(slot) = self.name.get_mut(usize::from(self.name_len)) {
                        *slot = byte;
                        self.name_len = self.name_len.saturating_add(1);
                    }
                }
                if end {
                    self.number = Some(0);
                }
            }
            Piece::Value { bytes, end } => {
                // Only of an empty value is a piece empty, and that is no number.
                if bytes.is_empty() {
                    self.number = None;
                }
                for &byte in bytes {
                    self.number = self.number.and_then(|number| append_digit(number, byte));
                }
                if end {
                    let known = match self.name.get(..usize::from(self.name_len)) {
                        Some(MAX_CONNS) => Some(&mut self.max_conns),
                        Some(MAX_REQS) => Some(&mut self.max_reqs),
                        Some(MPXS_CONNS) => Some(&mut self.mpxs_conns),
                        _ => None,
                    };
                    if let Some(known) = known {
                        *known = Some(self.number);
                    }
                    self.name_len = 0;
                }
            }
        }
    }
}

fn append_digit(number: u32, byte: u8) -> Option<u32> {
    let digit = char::from(byte).to_digit(10)?;
    number.checked_mul(10)?.checked_add(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPLICATION: Values = Values { max_conns: Some(256), max_reqs: Some(u32::MAX), mpxs_conns: Some(false) };

    #[track_caller]
    fn check(query: &[u8], want: Option<&[u8]>) {
        for cut in 0..=query.len() {
            let mut reader = ValuesReader::new();
            reader.read(&query[..cut]);
            reader.read(&query[cut..]);
            let mut out = [0xee; Values::MAX_RECORD_LEN];
            let answer = reader.answer(&APPLICATION);
            assert_eq!(answer.as_ref().map(|answer| answer.record(&mut out)), want, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_asked_is_answered_once() {
        check(b"", Some(b"\x01\x0a\0\0\0\0\0\0"));
        check(b"\x0f\0FCGI_MPXS_CONNS", Some(b"\x01\x0a\0\0\0\x12\0\0\x0f\x01FCGI_MPXS_CONNS0"));
        check(
            b"\x0e\x03FCGI_MAX_CONNSabc\x0e\0FCGI_MAX_CONNS",
            Some(b"\x01\x0a\0\0\0\x13\0\0\x0e\x03FCGI_MAX_CONNS256"),
        );
    }

    #[test]
    fn unknown_names_are_not_answered() {
        check(b"\x0e\0fcgi_max_conns\x10\0FCGI_MPXS_CONNSX\x00\x00\x0d\0FCGI_MAX_CONN", Some(b"\x01\x0a\0\0\0\0\0\0"));
    }

    #[test]
    fn a_cut_query_has_no_answer() {
        check(b"\x0f\0FCGI_MPXS_CONN", None);
        check(b"\x0f", None);
    }

    #[test]
    fn the_query_asks_for_all_and_the_longest_result_fits() {
        check(
            &Values::QUERY[8..],
            Some(
                b"\x01\x0a\0\0\0\x3e\0\0\x0e\x03FCGI_MAX_CONNS256\x0d\x0aFCGI_MAX_REQS4294967295\x0f\x01FCGI_MPXS_CONNS0",
            ),
        );
        let most = Values { max_conns: Some(u32::MAX), max_reqs: Some(u32::MAX), mpxs_conns: Some(true) };
        assert_eq!(most.record(&mut [0; Values::MAX_RECORD_LEN]).len(), Values::MAX_RECORD_LEN);
    }

    #[test]
    fn results_are_read_back() {
        let mut reader = ValuesReader::new();
        reader.read(b"\x0e\x03FCGI_MAX_CONNS256\x0d\x02FCGI_MAX_REQSxx\x0f\x01FCGI_MPXS_CONNS1");
        assert_eq!(reader.result(), Some(Values { max_conns: Some(256), max_reqs: None, mpxs_conns: Some(true) }));
    }

    #[test]
    fn an_empty_value_is_no_number() {
        let content = b"\x0d\x00FCGI_MAX_REQS\x0e\x01FCGI_MAX_CONNS1\x0e\x00FCGI_MAX_CONNS";
        for cut in 0..=content.len() {
            let mut reader = ValuesReader::new();
            reader.read(&content[..cut]);
            reader.read(&content[cut..]);
            assert_eq!(reader.result(), Some(Values::default()), "cut at {cut}");
        }
    }
}
