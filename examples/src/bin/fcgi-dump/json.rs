//! A request as one line of JSON.

use std::fmt::{self, Write};

use super::escape::Escaped;
use super::requests::Request;

/// The line of a request.
pub(super) struct Line<'a>(pub(super) &'a Request);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line(request) = self;
        write!(f, r#"{{"id":{},"role":{},"flags":{}"#, request.id, request.begin.role, request.begin.flags)?;
        write!(f, r#","params_complete":{},"params":["#, request.params_complete())?;
        for (at, pair) in request.params().iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}[{},{}]", Quoted(pair.name), Quoted(pair.value))?;
        }
        write!(f, r#"],"stdin_length":{},"stdin_sha256":"{}""#, request.stdin_length, request.stdin_sha256())?;
        write!(f, r#","stdin_complete":{},"aborted":{}}}"#, request.stdin_complete, request.aborted)
    }
}

/// A JSON string. What JSON forbids in one, [`Escaped`] leaves only quotes and backslashes of.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in Escaped(self.0).to_string().chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        assert_eq!(Quoted(b"say \"hi\"").to_string(), r#""say \"hi\"""#);
        assert_eq!(Quoted(b"a\\b\n\xff").to_string(), r#""a\\\\b\\x0a\\xff""#);
        assert_eq!(Quoted("\u{e9}".as_bytes()).to_string(), "\"\u{e9}\"");
    }
}
