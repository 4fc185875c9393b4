//! What a supervisor is told: that connections are accepted, and that all is well.

use std::env;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;

use crate::heartbeat::Heartbeat;
use crate::sys;

/// Names the pipe to fcgi-spawn: the number of a descriptor, and `,heartbeat` behind it if a heartbeat is expected.
const VARIABLE: &str = "FCGI_SPAWN_REPORT";

/// The pipe that fcgi-spawn has given us: it stops a program that is being replaced only when the new one has written a
/// byte to it.
pub(crate) struct Ready(File);

impl Ready {
    /// Reports that connections are accepted. A supervisor that has gone is no fault.
    pub(crate) fn say(mut self) {
        let _ = self.0.write_all(b"-");
    }
}

/// Takes the pipe over, if there is one: no program that we start gets it.
pub(crate) fn take() -> (Option<Ready>, Option<Heartbeat>) {
    let Some((pipe, is_watched)) = pipe() else { return (None, None) };
    let heartbeat = if is_watched { pipe.try_clone().ok().map(Heartbeat::new) } else { None };
    (Some(Ready(pipe)), heartbeat)
}

fn pipe() -> Option<(File, bool)> {
    let value = env::var(VARIABLE).ok()?;
    let (number, is_watched) = match value.split_once(',') {
        Some((number, what)) => (number, what == "heartbeat"),
        None => (&value[..], false),
    };
    let pipe = File::from(sys::inherited(number.parse().ok()?).ok()?);
    sys::forget_variables(&[VARIABLE]);
    // The variable may have been inherited through a program that has closed the pipe and opened something else.
    let kind = pipe.metadata().ok()?.file_type();
    (kind.is_fifo() || kind.is_socket()).then_some((pipe, is_watched))
}
