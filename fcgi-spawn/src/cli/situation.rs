//! What decides whether an option is ignored.

use std::os::fd::RawFd;

use crate::{Error, Mode};

/// Who runs the launcher, and how.
pub(crate) struct Caller<'a> {
    /// The name the launcher was called by.
    pub(crate) name: &'a str,
    pub(crate) is_root: bool,
    /// Finds the listening socket that the process was started with.
    pub(crate) inherited: &'a dyn Fn() -> Result<Option<RawFd>, Error>,
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
    pub(crate) mode: Mode,
    /// The long names of the options that were typed.
    pub(crate) options: Vec<&'static str>,
    /// Whether a socket is made that has a path.
    pub(crate) has_socket_file: bool,
    /// Whether there are words of a program.
    pub(crate) has_program: bool,
    /// Whether the process was started with its listening socket.
    pub(crate) is_inherited: bool,
}

impl Situation<'_> {
    pub(crate) fn has(&self, long: &str) -> bool {
        self.options.contains(&long)
    }
}
