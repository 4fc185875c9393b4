//! Rights, and how to lose them for good.

use std::cell::Cell;
use std::ffi::CString;
use std::io;

use super::Step;

/// Who a process becomes, and where: all of it looked up, so that a child only makes system calls.
pub(crate) struct Privileges {
    pub(crate) gid: Option<u32>,
    /// The supplementary groups, sorted; they are set when `gid` is.
    groups: Vec<u32>,
    /// Room to compare them with what the kernel says they are, and for one more.
    seen: Vec<Cell<u32>>,
    pub(crate) root: Option<CString>,
    pub(crate) uid: Option<u32>,
    /// The working directory, entered last of all.
    pub(crate) directory: Option<CString>,
}

impl Privileges {
    pub(crate) fn new(
        uid: Option<u32>,
        gid: Option<u32>,
        groups: Vec<u32>,
        root: Option<CString>,
        directory: Option<CString>,
    ) -> Self {
        let seen = vec![Cell::new(0); groups.len() + 1];
        Privileges { gid, groups, seen, root, uid, directory }
    }

    /// Whether there is anything that needs root, and is gone afterwards.
    pub(crate) fn are_less(&self) -> bool {
        self.gid.is_some() || self.uid.is_some() || self.root.is_some()
    }

    /// Takes this process there. There is no way back from a failure either.
    pub(crate) fn take_on(&self) -> Result<(), (Step, io::Error)> {
        self.change().map_err(|step| (step, io::Error::last_os_error()))
    }

    /// The way there, which may also be gone by a forked child: system calls and nothing else.
    /// `errno` says why a step failed.
    pub(super) fn change(&self) -> Result<(), Step> {
        let did = |done: libc::c_int, step| if done == -1 { Err(step) } else { Ok(()) };
        if let Some(gid) = self.gid {
            // SAFETY: a number.
            did(unsafe { libc::setgid(gid) }, Step::Gid)?;
            // SAFETY: as many numbers as the array has.
            did(unsafe { libc::setgroups(self.groups.len() as _, self.groups.as_ptr()) }, Step::Groups)?;
        }
        if let Some(root) = &self.root {
            // SAFETY: a string that ends in NUL.
            did(unsafe { libc::chroot(root.as_ptr()) }, Step::Root)?;
            // SAFETY: as above.
            did(unsafe { libc::chdir(c"/".as_ptr()) }, Step::Root)?;
        }
        if let Some(uid) = self.uid {
            // SAFETY: a number.
            did(unsafe { libc::setuid(uid) }, Step::Uid)?;
            did(clear_capabilities(), Step::Capabilities)?;
        }
        if !self.are_final() {
            // SAFETY: no arguments.
            let errno = unsafe { libc::__errno_location() };
            // SAFETY: a valid pointer to a variable of this thread.
            unsafe { *errno = libc::EPERM };
            return Err(Step::Final);
        }
        if let Some(directory) = &self.directory {
            // SAFETY: a string that ends in NUL.
            did(unsafe { libc::chdir(directory.as_ptr()) }, Step::Directory)?;
        }
        Ok(())
    }

    /// Whether the kernel agrees on who we are, and does not let us back.
    fn are_final(&self) -> bool {
        let (mut real, mut effective, mut saved) = (0, 0, 0);
        if let Some(gid) = self.gid {
            // SAFETY: three variables of the size it writes.
            unsafe { libc::getresgid(&mut real, &mut effective, &mut saved) };
            // SAFETY: room for as many numbers as we say, in cells, which may be written to.
            let count = unsafe { libc::getgroups(self.seen.len() as _, self.seen.as_ptr().cast_mut().cast()) };
            let groups = self.groups.iter().zip(&self.seen).all(|(want, seen)| seen.get() == *want);
            if [real, effective, saved] != [gid; 3] || usize::try_from(count) != Ok(self.groups.len()) || !groups {
                return false;
            }
        }
        if let Some(uid) = self.uid {
            // SAFETY: three variables of the size it writes.
            unsafe { libc::getresuid(&mut real, &mut effective, &mut saved) };
            // SAFETY: a number. That it fails is what is wanted.
            if [real, effective, saved] != [uid; 3] || unsafe { libc::setuid(0) } != -1 {
                return false;
            }
        }
        true
    }
}

/// Takes all capabilities from this process. A change of the user leaves those that programs inherit, and the kernel takes
/// the ambient ones with them. No allocation: it also runs in a forked child.
fn clear_capabilities() -> libc::c_int {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    /// Effective, permitted and inheritable ones, 32 of each.
    type Sets = [u32; 3];
    /// Two structures of sets, since Linux 2.6.26.
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION_3, pid: 0 };
    let none: [Sets; 2] = [[0; 3]; 2];
    // SAFETY: a header and the two structures that its version asks for; both outlive the call.
    unsafe { libc::syscall(libc::SYS_capset, &raw mut header, none.as_ptr()) as libc::c_int }
}

/// Whether root started us.
pub(crate) fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getuid() == 0 }
}

/// Our uid and gid.
pub(crate) fn ids() -> (u32, u32) {
    // SAFETY: no arguments, cannot fail.
    let uid = unsafe { libc::geteuid() };
    // SAFETY: no arguments, cannot fail.
    (uid, unsafe { libc::getegid() })
}

/// Whether our file has a set-uid or set-gid bit that works.
pub(crate) fn is_set_uid() -> bool {
    // SAFETY: no arguments, cannot fail.
    let uid = unsafe { libc::getuid() };
    // SAFETY: no arguments, cannot fail.
    (uid, unsafe { libc::getgid() }) != ids()
}
