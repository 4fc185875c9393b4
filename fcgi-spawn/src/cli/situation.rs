//! What decides whether an option is ignored.

use std::os::fd::RawFd;

use crate::cli::typed::Typed;
use crate::{Error, Mode};

/// Who runs the launcher, and how.
pub(crate) struct Caller<'a> {
    /// The name the launcher was called by.
    pub(crate) name: &'a str,
    pub(crate) is_root: bool,
    /// Finds the listening socket that the process was started with.
    pub(crate) inherited: fn() -> Result<Option<RawFd>, Error>,
}

impl Caller<'_> {
    pub(crate) fn is_spawn_fcgi(&self) -> bool {
        self.name == "spawn-fcgi"
    }

    /// The mode unless an option names it.
    pub(crate) fn mode(&self) -> Mode {
        if self.is_spawn_fcgi() { Mode::Once } else { Mode::Supervise }
    }
}

/// The whole of it.
pub(crate) struct Situation<'a> {
    pub(crate) caller: &'a Caller<'a>,
    pub(crate) typed: &'a Typed,
    pub(crate) mode: Mode,
    /// Whether the process was started with its listening socket.
    pub(crate) is_inherited: bool,
}

impl Situation<'_> {
    /// Whether a socket is made that has a path.
    pub(crate) fn has_socket_file(&self) -> bool {
        self.typed.value("socket").is_some_and(|path| !path.as_encoded_bytes().starts_with(b"@"))
    }
}
