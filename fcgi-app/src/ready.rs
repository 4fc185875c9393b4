//! Telling whoever started us that connections are accepted.

use std::env;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;

use crate::sys;

/// The socket or pipe that fcgi-spawn has given us: it stops a program that is being replaced only when the new one has
/// written a byte to it.
pub(crate) struct Ready(File);

impl Ready {
    const VARIABLE: &str = "FCGI_SPAWN_READY";

    /// Takes it over, if there is one: no program that we start gets it.
    pub(crate) fn take() -> Option<Self> {
        let number = env::var(Self::VARIABLE).ok()?.parse().ok()?;
        let file = File::from(sys::inherited(number).ok()?);
        sys::forget_variables(&[Self::VARIABLE]);
        // The variable may have come from afar, through a program that has closed it and opened something else.
        let kind = file.metadata().ok()?.file_type();
        (kind.is_socket() || kind.is_fifo()).then_some(Ready(file))
    }

    /// Says that we accept. That nobody wants to know any more is no fault.
    pub(crate) fn say(mut self) {
        let _ = self.0.write_all(&[1]);
    }
}
