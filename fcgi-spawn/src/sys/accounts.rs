//! Users and groups as the C library finds them: in `/etc/passwd` and `/etc/group`, and with glibc wherever
//! `/etc/nsswitch.conf` sends it.

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::ptr;

/// An entry of the user database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: CString,
    pub(crate) uid: u32,
    /// The primary group.
    pub(crate) gid: u32,
}

/// The user called `name`, if there is one.
pub(crate) fn user_by_name(name: &CStr) -> io::Result<Option<User>> {
    clear_errno();
    // SAFETY: a string that outlives the call.
    found_user(unsafe { libc::getpwnam(name.as_ptr()) })
}

/// The user with this number, if there is one.
pub(crate) fn user_by_id(uid: u32) -> io::Result<Option<User>> {
    clear_errno();
    // SAFETY: any number is valid.
    found_user(unsafe { libc::getpwuid(uid) })
}

fn found_user(entry: *const libc::passwd) -> io::Result<Option<User>> {
    // SAFETY: null, or the C library's own entry, which stays as it is until it is asked for the next one.
    let Some(entry) = (unsafe { entry.as_ref() }) else { return not_found() };
    // SAFETY: each string of an entry ends in a NUL.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    Ok(Some(User { name: name.into(), uid: entry.pw_uid, gid: entry.pw_gid }))
}

/// The number of the group called `name`, if there is one.
pub(crate) fn group_by_name(name: &CStr) -> io::Result<Option<u32>> {
    clear_errno();
    // SAFETY: a string that outlives the call.
    let entry = unsafe { libc::getgrnam(name.as_ptr()) };
    // SAFETY: null, or the C library's own entry, which stays as it is until it is asked for the next one.
    match unsafe { entry.as_ref() } {
        Some(entry) => Ok(Some(entry.gr_gid)),
        None => not_found(),
    }
}

/// All groups the user is in, and `gid`, sorted.
pub(crate) fn groups_of(user: &CStr, gid: u32) -> Vec<u32> {
    let mut groups = vec![0; 32];
    loop {
        let room = c_int::try_from(groups.len()).expect("a user is in fewer groups");
        let mut count = room;
        // SAFETY: the string outlives the call, and `count` says how many groups there is room for.
        let all = unsafe { libc::getgrouplist(user.as_ptr(), gid, groups.as_mut_ptr(), &mut count) };
        if all >= 0 {
            groups.truncate(count.max(0) as usize);
            groups.sort_unstable();
            groups.dedup();
            return groups;
        }
        // Now `count` is how many there are; an old C library leaves it alone.
        groups.resize(count.max(room.saturating_mul(2)) as usize, 0);
    }
}

/// An `errno` of 0 is how the look-ups tell "there is none" from "I cannot say".
fn clear_errno() {
    let errno = errno();
    // SAFETY: this thread's own errno.
    unsafe { ptr::write(errno, 0) };
}

fn errno() -> *mut c_int {
    // SAFETY: no arguments.
    unsafe { libc::__errno_location() }
}

fn not_found<T>() -> io::Result<Option<T>> {
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // getpwnam(3): the second row are other ways to say that there is no such entry.
        Some(0 | libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM) => Ok(None),
        _ => Err(error),
    }
}
