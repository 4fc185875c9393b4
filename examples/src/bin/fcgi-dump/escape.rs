//! Bytes of params as text that can be turned back into the bytes.

use std::fmt;

/// A name or a value as people read it: a backslash is doubled, control bytes and what is not UTF-8 become `\xNN`.
pub(super) struct Escaped<'a>(pub(super) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str(r"\\")?,
                    _ if c.is_ascii_control() => write!(f, r"\x{:02x}", u32::from(c))?,
                    _ => write!(f, "{c}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, r"\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_byte() {
        for (bytes, want) in [
            (&b"plain = \"text\""[..], "plain = \"text\""),
            ("caf\u{e9} \u{1f980}".as_bytes(), "caf\u{e9} \u{1f980}"),
            (b"caf\xe9", r"caf\xe9"),
            (b"a\\xe9", r"a\\xe9"),
            (b"\0\t\r\n\x1b\x7f ", r"\x00\x09\x0d\x0a\x1b\x7f "),
            (b"\xf0\x9f\xa6", r"\xf0\x9f\xa6"),
            (b"", ""),
        ] {
            assert_eq!(Escaped(bytes).to_string(), want);
        }
    }
}
