//! The lock by which a monitor sees that the writer of a page lives: of any user, in any namespace of pids, and without
//! `/proc`.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::files::place::{Place, not_regular, twice};
use crate::sys::{self, Status};

/// Everyone may look.
const MODE: u32 = 0o644;

/// `PAGE.lock`, locked as long as this lives, which also removes it.
pub(crate) struct PageLock {
    place: Place,
    file: File,
    identity: (u64, u64),
}

/// What became of it.
pub(crate) enum Taken {
    Ours(PageLock),
    /// Another process writes this page.
    InUse,
    /// A process that may only read the file keeps us from it.
    Refused,
}

impl PageLock {
    /// # Errors
    ///
    /// The file system has no locks, or something else is in the lock's place.
    pub(crate) fn take(page: &Place) -> io::Result<Taken> {
        let place = page.with_suffix(".lock")?;
        loop {
            let file = match place.open_to_write(libc::O_CREAT, MODE) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO | libc::EISDIR)) => {
                    return Err(not_regular());
                }
                opened => opened?,
            };
            let status = twice(|| Status::of(&file))?;
            if !status.is_regular() {
                return Err(not_regular());
            }
            if status.uid != sys::ids().0 || !status.has_one_name {
                return Err(io::Error::other("it is not ours"));
            }
            if !sys::try_record_lock(&file)? {
                return Ok(if sys::record_lock_of(&file)?.is_some() { Taken::InUse } else { Taken::Refused });
            }
            // Its former owner may have removed it when it was not ours yet.
            if place.has(status.identity) {
                if status.mode & 0o7777 != MODE {
                    let _ = file.set_permissions(Permissions::from_mode(MODE));
                }
                return Ok(Taken::Ours(PageLock { place, file, identity: status.identity }));
            }
        }
    }

    /// The lock of a predecessor in this process, which it still has; it stays where it is if that fails.
    pub(crate) fn adopt(page: &Place, file: &mut Option<OwnedFd>) -> io::Result<Option<Self>> {
        let place = page.with_suffix(".lock")?;
        let Some(fd) = file.take() else { return Ok(None) };
        let lock = File::from(fd);
        match twice(|| Status::of(&lock)) {
            Ok(status) => Ok(Some(PageLock { place, file: lock, identity: status.identity })),
            Err(error) => {
                *file = Some(lock.into());
                Err(error)
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Whether monitors find it.
    pub(crate) fn is_there(&self) -> bool {
        self.place.has(self.identity)
    }

    /// The process that has the lock of this page: 0 if that is in another namespace of pids.
    ///
    /// # Errors
    ///
    /// There is no such file, or it cannot be asked.
    pub(crate) fn holder(page: &Place) -> io::Result<Option<u32>> {
        sys::record_lock_of(&page.with_suffix(".lock")?.open()?)
    }
}

impl AsFd for PageLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for PageLock {
    fn drop(&mut self) {
        self.place.remove_file(self.identity);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files::scratch::Scratch;

    #[test]
    fn it_is_there_as_long_as_it_is_held() {
        let scratch = Scratch::new();
        let (page, lock) = (Place::of(&scratch.path("page")).expect("a directory"), scratch.path("page.lock"));
        assert_eq!(PageLock::holder(&page).map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
        // What a process that was killed has left.
        fs::write(&lock, "").expect("written");
        fs::set_permissions(&lock, Permissions::from_mode(0o600)).expect("ours");
        assert_eq!(PageLock::holder(&page).expect("asked"), None);
        let Ok(Taken::Ours(taken)) = PageLock::take(&page) else { panic!("not taken") };
        assert_eq!(fs::metadata(&lock).expect("it is there").permissions().mode() & 0o7777, 0o644);
        drop(taken);
        assert!(!lock.exists());
    }

    #[test]
    fn what_is_no_lock_is_refused() {
        let scratch = Scratch::new();
        let (page, lock) = (Place::of(&scratch.path("page")).expect("a directory"), scratch.path("page.lock"));
        symlink("target", &lock).expect("linked");
        assert!(PageLock::take(&page).is_err() && !scratch.path("target").exists());
        fs::remove_file(&lock).expect("removed");
        fs::create_dir(&lock).expect("made");
        assert!(PageLock::take(&page).is_err());
        fs::remove_dir(&lock).expect("removed");
        fs::write(scratch.path("target"), "").expect("written");
        fs::hard_link(scratch.path("target"), &lock).expect("linked");
        assert!(PageLock::take(&page).is_err());
    }
}
