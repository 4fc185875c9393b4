//! A lock between processes that lasts for a moment and leaves nothing.

use std::fs::File;
use std::io;

use crate::error::{Quoted, Reason};
use crate::files::place::{Place, not_regular, twice};
use crate::sys::{self, Status};

/// An empty file beside another one, locked, and removed when this is dropped.
///
/// It may stay behind if we are killed, and does no harm then. A lock on the directory itself would leave nothing at
/// all, but every user who may read the directory could hold it against us.
pub(crate) struct Lock {
    place: Place,
    /// Locked, with its device and inode.
    file: Option<(File, (u64, u64))>,
}

impl Lock {
    /// Takes the lock `PATH.lock`; `None` if another process has it.
    ///
    /// Where it cannot be had, because the file system has no locks or a worker has put something else there, that is
    /// reported and done without.
    pub(crate) fn take(beside: &Place) -> io::Result<Option<Self>> {
        Self::take_by(beside, sys::try_lock)
    }

    fn take_by(beside: &Place, try_lock: impl Fn(&File) -> io::Result<bool>) -> io::Result<Option<Self>> {
        let place = beside.with_suffix(".lock")?;
        let without = |place: Place, file: Option<(File, (u64, u64))>, why: &io::Error| {
            let path = Quoted(place.path().as_os_str());
            log::warn!("cannot lock {path}: {}; going on without the lock", Reason(why));
            Ok(Some(Lock { place, file }))
        };
        loop {
            let file = match place.open_to_write(libc::O_CREAT, 0o600) {
                Ok(file) => file,
                Err(error) => match error.raw_os_error() {
                    // A symlink, a FIFO or a socket, a directory.
                    Some(libc::ELOOP | libc::ENXIO | libc::EISDIR) => return without(place, None, &not_regular()),
                    _ => return Err(error),
                },
            };
            let status = twice(|| Status::of(&file))?;
            if !status.is_regular() {
                return without(place, None, &not_regular());
            }
            if status.uid != sys::ids().0 || !status.has_one_name {
                return without(place, None, &io::Error::other("it is not ours"));
            }
            match try_lock(&file) {
                Ok(false) => return Ok(None),
                // Its former owner has removed it when it was not ours yet.
                Ok(true) if !place.has(status.identity) => {}
                Ok(true) => return Ok(Some(Lock { place, file: Some((file, status.identity)) })),
                Err(error) => return without(place, Some((file, status.identity)), &error),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let Some((file, identity)) = &self.file else { return };
        // What has something in it was not made by a launcher.
        if twice(|| Status::of(file)).is_ok_and(|now| now.size == 0) {
            self.place.remove_file(*identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;
    use crate::files::scratch::Scratch;

    fn take(beside: &Path) -> Option<Lock> {
        Lock::take(&Place::of(beside).expect("a directory")).expect("tried")
    }

    #[test]
    fn there_is_one_at_a_time() {
        let scratch = Scratch::new();
        let (path, lock_path) = (scratch.path("s"), scratch.path("s.lock"));
        let lock = take(&path).expect("not taken yet");
        assert!(lock_path.exists());
        assert!(take(&path).is_none());
        drop(lock);
        assert!(!lock_path.exists());
        assert!(take(&path).is_some());
    }

    #[test]
    fn removes_what_was_left_and_nothing_else() {
        let scratch = Scratch::new();
        let (path, lock_path) = (scratch.path("s"), scratch.path("s.lock"));
        fs::write(&lock_path, "").expect("written");
        assert!(take(&path).is_some());
        assert!(!lock_path.exists());

        fs::write(&lock_path, "precious").expect("written");
        assert!(take(&path).is_some());
        assert_eq!(fs::read_to_string(&lock_path).expect("read"), "precious");
    }

    #[test]
    fn goes_on_without_a_lock_where_something_else_is() {
        let scratch = Scratch::new();
        let (path, lock_path, target) = (scratch.path("s"), scratch.path("s.lock"), scratch.path("target"));
        symlink(&target, &lock_path).expect("linked");
        assert!(take(&path).is_some());
        assert!(lock_path.is_symlink() && !target.exists());
        fs::remove_file(&lock_path).expect("removed");

        fs::write(&target, "").expect("written");
        fs::hard_link(&target, &lock_path).expect("linked");
        assert!(take(&path).is_some_and(|lock| lock.file.is_none()));
        assert!(sys::try_lock(&File::open(&target).expect("open")).expect("tried"), "it was not locked");
        fs::remove_file(&lock_path).expect("removed");

        let socket = UnixListener::bind(&lock_path).expect("bound");
        assert!(take(&path).is_some());
        drop(socket);
        fs::remove_file(&lock_path).expect("removed");

        fs::create_dir(&lock_path).expect("made");
        assert!(take(&path).is_some());
        assert!(lock_path.is_dir());
    }

    #[test]
    fn goes_on_without_a_lock_where_the_file_system_has_none() {
        let scratch = Scratch::new();
        let place = Place::of(&scratch.path("s")).expect("a directory");
        let lock = Lock::take_by(&place, |_| Err(io::Error::from_raw_os_error(libc::ENOLCK))).expect("tried");
        assert!(lock.is_some());
        drop(lock);
        assert_eq!(scratch.names(), [""; 0]);
    }
}
