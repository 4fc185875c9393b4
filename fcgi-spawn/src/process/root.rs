//! Another root directory for a while.

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::chroot;
use std::path::Path;

use crate::{Error, sys};

/// Does something as if `root` were `/`, and the working directory too; without a `root`, where we are.
///
/// # Errors
///
/// If we cannot go there, or not back.
pub(crate) fn within<T>(root: Option<&Path>, run: impl FnOnce() -> T) -> Result<T, Error> {
    let Some(root) = root else { return Ok(run()) };
    let failed = |error: io::Error| Error::io("chroot to", root, &error);

    let outside = File::open("/").map_err(failed)?;
    let directory = File::open(".").map_err(failed)?;
    chroot(root).map_err(failed)?;
    let done = env::set_current_dir("/").map(|()| run());
    // Root may leave a chroot by the handle of a directory outside.
    let leave = || sys::change_directory(&outside).and_then(|()| chroot("."));
    leave().or_else(|_| leave()).map_err(failed)?;
    sys::change_directory(&directory).or_else(|_| sys::change_directory(&directory)).map_err(failed)?;
    done.map_err(failed)
}
