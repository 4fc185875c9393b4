//! Why there is no proper response: one line for a person, one status for a script.

use std::ffi::OsStr;
use std::fmt;
use std::io;

/// One line, and the exit status.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    exit_status: u8,
}

impl Error {
    pub(crate) fn new(exit_status: u8, message: impl Into<String>) -> Self {
        Error { message: message.into(), exit_status }
    }

    pub(crate) fn exit_status(&self) -> u8 {
        self.exit_status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Something that was typed, between quotes, and on one line whatever it contains.
pub(crate) struct Quoted<'a>(pub(crate) &'a OsStr);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("'")?;
        for c in self.0.to_string_lossy().chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        f.write_str("'")
    }
}

/// The words of an `errno` as `strerror` has them, without std's "(os error 2)" behind.
pub(crate) struct Reason<'a>(pub(crate) &'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_stays_on_one_line() {
        assert_eq!(Quoted(OsStr::new("a\nb\u{1b}c")).to_string(), r"'a\nb\u{1b}c'");
    }

    #[test]
    fn a_reason_is_the_words_of_the_system() {
        assert_eq!(Reason(&io::Error::from_raw_os_error(libc::EACCES)).to_string(), "Permission denied");
    }
}
