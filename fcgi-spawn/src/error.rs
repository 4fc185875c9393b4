//! What ends the launcher: one line for a person, one status for a script.

use std::ffi::OsStr;
use std::fmt;
use std::io;

/// Why the launcher did not do what it was asked, as one line, with the exit status that says so.
///
/// The status is spawn-fcgi's: 255 for what goes wrong before the program runs, and the `errno`
/// when the program itself cannot be executed (2 if it does not exist, 13 if it may not be).
#[derive(Debug)]
pub struct Error {
    message: String,
    exit_status: u8,
}

impl Error {
    /// The status of every error but a program that cannot be executed.
    pub const SET_UP: u8 = 255;

    pub(crate) fn new(message: impl Into<String>) -> Self {
        Error { message: message.into(), exit_status: Self::SET_UP }
    }

    /// `cannot bind '/run/app.sock': Permission denied`
    pub(crate) fn io(tried: &str, with: impl AsRef<OsStr>, why: &io::Error) -> Self {
        Error::new(format!("cannot {tried} {}: {}", Quoted(with.as_ref()), Reason(why)))
    }

    /// `cannot fork: Resource temporarily unavailable`
    pub(crate) fn cannot(what: &str, why: &io::Error) -> Self {
        Error::new(format!("cannot {what}: {}", Reason(why)))
    }

    pub(crate) fn with_exit_status(self, exit_status: u8) -> Self {
        Error { exit_status, ..self }
    }

    /// What the process exits with.
    pub fn exit_status(&self) -> u8 {
        self.exit_status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Whether a system call failed for want of a process, memory or descriptors, which may be there the next time.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::ENOBUFS))
}

/// `-p '0': not a number from 1 to 65535`
pub(crate) fn invalid(option: &str, value: &OsStr, why: impl fmt::Display) -> Error {
    Error::new(format!("{option} {}: {why}", Quoted(value)))
}

/// Something that was typed, between quotes, and on one line whatever it contains.
pub(crate) struct Quoted<'a>(pub(crate) &'a OsStr);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", Escaped(self.0))
    }
}

/// The same without the quotes.
pub(crate) struct Escaped<'a>(pub(crate) &'a OsStr);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string_lossy().chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
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
    fn says_what_was_tried_with_what_and_why() {
        let error = Error::io("bind", "/run/a", &io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(error.to_string(), "cannot bind '/run/a': Permission denied");
        assert_eq!(error.exit_status(), 255);
    }

    #[test]
    fn stays_on_one_line() {
        assert_eq!(Quoted(OsStr::new("a\nb\u{1b}c")).to_string(), r"'a\nb\u{1b}c'");
    }

    #[test]
    fn a_shortage_is_nothing_that_the_program_is_to_blame_for() {
        for errno in [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::ENOBUFS] {
            assert!(is_shortage(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
        for errno in [libc::ENOENT, libc::EACCES, libc::ENOEXEC, libc::EPERM, libc::ELOOP, libc::E2BIG] {
            assert!(!is_shortage(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
        assert!(!is_shortage(&io::Error::other("no system call")));
    }
}
