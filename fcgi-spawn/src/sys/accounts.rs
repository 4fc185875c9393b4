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
    pub(crate) home: CString,
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
    // SAFETY: as above.
    let home = unsafe { CStr::from_ptr(entry.pw_dir) };
    User { name: name.into(), uid: entry.pw_uid, gid: entry.pw_gid, home: home.into() }
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
pub(crate) fn groups_of(user: &CStr, gid: u32) -> io::Result<Vec<u32>> {
    let mut groups = all_groups(|groups, count| {
        // SAFETY: a string, and room for as many groups as `count` says; all outlive the call.
        unsafe { libc::getgrouplist(user.as_ptr(), gid, groups.as_mut_ptr(), count) }
    })?;
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}

/// What getgrouplist(3) finds. With too little room it fails, and says how much it needs; musl also fails where it
/// cannot read the groups, and leaves the number as it is then.
fn all_groups(find: impl Fn(&mut [u32], &mut c_int) -> c_int) -> io::Result<Vec<u32>> {
    /// The kernel takes no more, and `gid` may be named twice.
    const MOST: usize = 65_536 + 1;
    let mut groups = vec![0; 32];
    loop {
        let mut count = c_int::try_from(groups.len()).unwrap_or(c_int::MAX);
        let found = find(&mut groups, &mut count);
        let needed = usize::try_from(count).unwrap_or_default();
        if found >= 0 {
            groups.truncate(needed);
            return Ok(groups);
        }
        if needed <= groups.len() {
            return Err(io::Error::last_os_error());
        }
        if needed > MOST {
            return Err(io::Error::other(format!("{needed} groups, and the kernel takes {}", MOST - 1)));
        }
        groups.resize(needed, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::thread;

    /// A user who is in so many groups, and what is found with how many calls.
    fn in_groups(all: usize) -> (Option<usize>, u32) {
        let calls = Cell::new(0);
        let found = all_groups(|groups, count| {
            calls.set(calls.get() + 1);
            *count = c_int::try_from(all).expect("few");
            if all <= groups.len() { *count } else { -1 }
        });
        (found.ok().map(|groups| groups.len()), calls.get())
    }

    #[test]
    fn there_is_room_for_all_groups() {
        assert_eq!(in_groups(3), (Some(3), 1));
        assert_eq!(in_groups(32), (Some(32), 1));
        assert_eq!(in_groups(33), (Some(33), 2));
        assert_eq!(in_groups(65_537), (Some(65_537), 2));
        assert_eq!(in_groups(65_538), (None, 1));
    }

    /// musl, when it has no descriptor for /etc/group.
    #[test]
    fn a_list_that_cannot_be_read_is_an_error_at_once() {
        let calls = Cell::new(0);
        let error = all_groups(|_, _| {
            calls.set(calls.get() + 1);
            // SAFETY: no arguments.
            let errno = unsafe { libc::__errno_location() };
            // SAFETY: a valid pointer to a variable of this thread.
            unsafe { *errno = libc::EMFILE };
            -1
        });
        assert_eq!((error.expect_err("no list").raw_os_error(), calls.get()), (Some(libc::EMFILE), 1));
    }

    #[test]
    fn threads_do_not_disturb_each_other() {
        let names = [c"root", c"nobody", c"daemon", c"www-data"];
        let look = |name| (user_by_name(name).expect("looked up"), group_by_name(name).expect("looked up"));
        let alone = names.map(look);
        assert_eq!(alone[0], (Some(User { name: c"root".into(), uid: 0, gid: 0, home: c"/root".into() }), Some(0)));
        thread::scope(|scope| {
            for (name, alone) in names.iter().zip(&alone) {
                scope.spawn(move || (0..200).for_each(|_| assert_eq!(look(name), *alone)));
            }
        });
    }
}
