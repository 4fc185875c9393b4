//! Why a line is not written.

use std::io;

#[derive(Debug)]
pub(crate) enum WriteError {
    /// There is no room now.
    Full,
    /// The receiver is not there now. If it returns, the line begins anew.
    Away(io::Error),
    /// The line cannot be written.
    Failed(io::Error),
}
