//! Users and groups as the C library finds them: in `/etc/passwd` and `/etc/group`, and with glibc wherever
//! `/etc/nsswitch.conf` sends it.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
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
    look_up(user, |entry, strings, found| {
        // SAFETY: a string, and room for an entry, for strings of that many bytes and for the answer: all outlive the call.
        unsafe { libc::getpwnam_r(name.as_ptr(), entry, strings.as_mut_ptr(), strings.len(), found) }
    })
}

/// The user with this number, if there is one.
pub(crate) fn user_by_id(uid: u32) -> io::Result<Option<User>> {
    look_up(user, |entry, strings, found| {
        // SAFETY: any number, and room for an entry, for strings of that many bytes and for the answer.
        unsafe { libc::getpwuid_r(uid, entry, strings.as_mut_ptr(), strings.len(), found) }
    })
}

fn user(entry: &libc::passwd) -> User {
    // SAFETY: each string of an entry ends in a NUL.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    User { name: name.into(), uid: entry.pw_uid, gid: entry.pw_gid }
}

/// The number of the group called `name`, if there is one.
pub(crate) fn group_by_name(name: &CStr) -> io::Result<Option<u32>> {
    let number = |entry: &libc::group| entry.gr_gid;
    look_up(number, |entry, strings, found| {
        // SAFETY: a string, and room for an entry, for strings of that many bytes and for the answer: all outlive the call.
        unsafe { libc::getgrnam_r(name.as_ptr(), entry, strings.as_mut_ptr(), strings.len(), found) }
    })
}

/// Takes what is wanted from the entry that `find` finds, with as much room for its strings as they need. Other threads
/// may look for others meanwhile.
fn look_up<E, T>(
    take: impl FnOnce(&E) -> T,
    find: impl Fn(*mut E, &mut [c_char], &mut *mut E) -> c_int,
) -> io::Result<Option<T>> {
    const MOST: usize = 64 << 20;
    let mut entry = MaybeUninit::uninit();
    let mut strings = vec![0; 1024];
    loop {
        let mut found = ptr::null_mut();
        match find(entry.as_mut_ptr(), &mut strings, &mut found) {
            // SAFETY: null, or the entry, filled in, whose strings are still there.
            0 => return Ok(unsafe { found.as_ref() }.map(take)),
            libc::EINTR => {}
            libc::ERANGE if strings.len() < MOST => strings.resize(2 * strings.len(), 0),
            // getpwnam(3): other ways to say that there is no such entry.
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn threads_do_not_disturb_each_other() {
        let names = [c"root", c"nobody", c"daemon", c"www-data"];
        let look = |name| (user_by_name(name).expect("looked up"), group_by_name(name).expect("looked up"));
        let alone = names.map(look);
        assert_eq!(alone[0], (Some(User { name: c"root".into(), uid: 0, gid: 0 }), Some(0)));
        thread::scope(|scope| {
            for (name, alone) in names.iter().zip(&alone) {
                scope.spawn(move || (0..200).for_each(|_| assert_eq!(look(name), *alone)));
            }
        });
    }
}
