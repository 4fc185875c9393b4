//! Who the workers and the socket belong to: names become numbers here, and only here.

use std::ffi::OsStr;
use std::io;

use crate::config::{c_string, invalid};
use crate::error::Reason;
use crate::sys::{self, Owner, User};
use crate::{Config, Error};

/// A user and groups. What is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// The supplementary groups; they go with `gid`.
    pub(crate) groups: Vec<u32>,
}

impl Identity {
    /// Of the workers.
    pub(crate) fn of_workers(config: &Config) -> Result<Self, Error> {
        let user = config.user.as_deref().map(|value| user("-u", value)).transpose()?;
        let gid = match (&config.group, &user) {
            (Some(value), _) => Some(group("-g", value)?),
            (None, Some(user)) => Some(user.primary_group("-g")?),
            (None, None) => None,
        };
        let groups = match (gid, user.as_ref().and_then(|user| user.entry.as_ref())) {
            (Some(gid), Some(entry)) => sys::groups_of(&entry.name, gid),
            _ => Vec::new(),
        };
        Ok(Identity { uid: user.map(|user| user.uid), gid, groups })
    }

    /// Of the unix socket: what is not given is the workers'.
    pub(crate) fn of_socket(config: &Config, workers: &Identity) -> Result<Owner, Error> {
        let user = config.socket_user.as_deref().map(|value| user("-U", value)).transpose()?;
        let gid = match (&config.socket_group, &user) {
            (Some(value), _) => Some(group("-G", value)?),
            (None, Some(user)) if user.entry.is_some() || workers.gid.is_none() => Some(user.primary_group("-G")?),
            (None, _) => workers.gid,
        };
        Ok(Owner { uid: user.map(|user| user.uid).or(workers.uid), gid })
    }
}

/// A user that was asked for; a number needs no entry.
struct Asked<'a> {
    option: &'static str,
    value: &'a OsStr,
    uid: u32,
    entry: Option<User>,
}

impl Asked<'_> {
    /// The group when none is given with `group_option`.
    fn primary_group(&self, group_option: &str) -> Result<u32, Error> {
        match &self.entry {
            Some(entry) if entry.gid != 0 => Ok(entry.gid),
            Some(_) => {
                let why = format_args!("its group is root's, which is refused: name another with {group_option}");
                Err(invalid(self.option, self.value, why))
            }
            None => {
                let why = format_args!("no such user, so its group has to be named with {group_option}");
                Err(invalid(self.option, self.value, why))
            }
        }
    }
}

fn user<'a>(option: &'static str, value: &'a OsStr) -> Result<Asked<'a>, Error> {
    let failed = |why| cannot_look_up(option, value, &why);
    let (uid, entry) = match id(value) {
        Some(uid) => (uid, sys::user_by_id(uid).map_err(failed)?),
        None => match sys::user_by_name(&c_string(option, value)?).map_err(failed)? {
            Some(entry) => (entry.uid, Some(entry)),
            None => return Err(invalid(option, value, "no such user")),
        },
    };
    if uid == 0 {
        return Err(invalid(option, value, "root is refused"));
    }
    Ok(Asked { option, value, uid, entry })
}

fn group(option: &'static str, value: &OsStr) -> Result<u32, Error> {
    let gid = match id(value) {
        Some(gid) => gid,
        None => sys::group_by_name(&c_string(option, value)?)
            .map_err(|why| cannot_look_up(option, value, &why))?
            .ok_or_else(|| invalid(option, value, "no such group"))?,
    };
    if gid == 0 {
        return Err(invalid(option, value, "root's group is refused"));
    }
    Ok(gid)
}

/// The value as a number. The greatest one stands for "none" in system calls, and is none here.
fn id(value: &OsStr) -> Option<u32> {
    let digits = value.to_str().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    digits?.parse().ok().filter(|id| *id != u32::MAX)
}

fn cannot_look_up(option: &str, value: &OsStr, why: &io::Error) -> Error {
    invalid(option, value, format_args!("cannot be looked up: {}", Reason(why)))
}
