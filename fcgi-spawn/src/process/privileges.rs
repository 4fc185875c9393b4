//! What a worker is and has when it executes the program.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;

use crate::cli::value::c_string;
use crate::error::Reason;
use crate::process::identity::Identity;
use crate::sys::{self, Privileges, Step};
use crate::{Config, Error};

/// Everything that is given up on the way, with all names looked up.
pub(crate) fn of_workers(config: &Config, identity: &Identity) -> Result<Privileges, Error> {
    let path = |option, path: &Option<_>| path.clone().map(|path| c_string(option, path)).transpose();
    let (root, directory) = (path("-c", &config.chroot)?, path("-d", &config.directory)?);
    Ok(Privileges::new(identity.uid, identity.gid, identity.groups.clone(), root, directory))
}

/// Gives it all up in this process.
pub(crate) fn take_on(privileges: &Privileges) -> Result<(), Error> {
    privileges.take_on().map_err(|(step, errno)| failed(privileges, step, &errno))
}

/// What went wrong at one of the steps of [`Privileges`].
pub(crate) fn failed(privileges: &Privileges, step: Step, errno: &io::Error) -> Error {
    let path = |path: &Option<CString>| OsStr::from_bytes(path.as_deref().unwrap_or_default().to_bytes()).to_owned();
    let number = |id: Option<u32>| id.unwrap_or_default();
    let reason = Reason(errno);
    match step {
        Step::Gid => Error::new(format!("cannot change to gid {}: {reason}", number(privileges.gid))),
        Step::Groups => Error::new(format!("cannot change the supplementary groups: {reason}")),
        Step::Root => Error::io("chroot to", path(&privileges.root), errno),
        Step::Uid => Error::new(format!("cannot change to uid {}: {reason}", number(privileges.uid))),
        Step::Capabilities => Error::new(format!("cannot clear the inheritable capabilities: {reason}")),
        Step::Directory => Error::io("change to the directory", path(&privileges.directory), errno),
        _ => {
            let (uid, gid) = ids(Some(privileges));
            Error::new(format!("the kernel does not keep us at uid {uid}, gid {gid}"))
        }
    }
}

/// The uid and the gid that a program runs with.
pub(crate) fn ids(privileges: Option<&Privileges>) -> (u32, u32) {
    let (uid, gid) = sys::ids();
    match privileges {
        Some(privileges) => (privileges.uid.unwrap_or(uid), privileges.gid.unwrap_or(gid)),
        None => (uid, gid),
    }
}
