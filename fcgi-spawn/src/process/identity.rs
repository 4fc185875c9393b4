//! Who the workers and the socket belong to: names become numbers here, and only here.

use std::ffi::{CString, OsStr};
use std::io;

use crate::cli::value::c_string;
use crate::error::{Reason, invalid};
use crate::sys::{self, Owner, User};
use crate::{Config, Error};

/// A user and groups. What is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// The supplementary groups; they go with `gid`.
    pub(crate) groups: Vec<u32>,
    /// The user's entry, if there is a user and it has one.
    entry: Option<User>,
}

/// The variables that name a user.
const VARIABLES: [&str; 3] = ["HOME=", "USER=", "LOGNAME="];

impl Identity {
    /// Of the workers.
    pub(crate) fn of_workers(config: &Config) -> Result<Self, Error> {
        Self::of_workers_for(config, sys::is_root(), sys::ids())
    }

    /// The same for a launcher that is root, or is not and has these ids.
    fn of_workers_for(config: &Config, root: bool, ours: (u32, u32)) -> Result<Self, Error> {
        let user = config.user.as_deref().map(|value| user("-u", value)).transpose()?;
        let group = config.group.as_deref().map(|value| group("-g", value)).transpose()?;
        if !root {
            only_ours("-u", config.user.as_deref(), user.as_ref().is_none_or(|user| user.uid == ours.0))?;
            only_ours("-g", config.group.as_deref(), group.is_none_or(|gid| gid == ours.1))?;
            return Ok(Identity { entry: user.and_then(|user| user.entry), ..Identity::default() });
        }
        let gid = match (group, &user) {
            (Some(gid), _) => Some(gid),
            (None, Some(user)) => Some(user.primary_group("-g")?),
            (None, None) => None,
        };
        let groups = match (gid, &user) {
            (Some(gid), Some(user)) => user.groups(gid)?,
            _ => Vec::new(),
        };
        let uid = user.as_ref().map(|user| user.uid);
        Ok(Identity { uid, gid, groups, entry: user.and_then(|user| user.entry) })
    }

    /// Names the user of the workers in their environment, in place of ours. A number without an entry has no name and
    /// no home. `SHELL` stays: that of a service's user is nologin, which breaks programs that use it.
    pub(crate) fn name_user(&self, environment: &mut Vec<CString>) {
        if self.uid.is_none() && self.entry.is_none() {
            return;
        }
        let is_name =
            |variable: &CString| VARIABLES.iter().any(|name| variable.to_bytes().starts_with(name.as_bytes()));
        environment.retain(|variable| !is_name(variable));
        if let Some(entry) = &self.entry {
            for (name, value) in VARIABLES.into_iter().zip([&entry.home, &entry.name, &entry.name]) {
                let variable = [name.as_bytes(), value.to_bytes()].concat();
                environment.push(CString::new(variable).expect("two strings without a NUL"));
            }
        }
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
    /// All groups, with this one.
    fn groups(&self, gid: u32) -> Result<Vec<u32>, Error> {
        let Some(entry) = &self.entry else { return Ok(Vec::new()) };
        sys::groups_of(&entry.name, gid).map_err(|why| {
            invalid(self.option, self.value, format_args!("the user's groups cannot be looked up: {}", Reason(&why)))
        })
    }

    /// The group when none is given with `group_option`.
    fn primary_group(&self, group_option: &str) -> Result<u32, Error> {
        match &self.entry {
            Some(entry) if entry.gid != 0 => Ok(entry.gid),
            Some(_) => {
                let why = format!("its group is root's, which is refused: name another with {group_option}");
                Err(invalid(self.option, self.value, why))
            }
            None => {
                let why = format!("no such user, so its group has to be named with {group_option}");
                Err(invalid(self.option, self.value, why))
            }
        }
    }
}

/// Refuses what only root can have.
fn only_ours(option: &str, value: Option<&OsStr>, is_ours: bool) -> Result<(), Error> {
    match value {
        Some(value) if !is_ours => {
            let why = "only root may run workers as another user or group";
            Err(invalid(option, value, format_args!("{why}: run this as root, or leave {option} out")))
        }
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    fn config(user: Option<&str>, group: Option<&str>) -> Config {
        let mut config = Config::new(Address::Unix("unused".into()), Vec::new());
        config.user = user.map(Into::into);
        config.group = group.map(Into::into);
        config
    }

    /// As root has them.
    fn workers(user: Option<&str>, group: Option<&str>) -> Result<Identity, String> {
        Identity::of_workers_for(&config(user, group), true, (0, 0)).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_looked_up_for_nothing() {
        assert_eq!(workers(None, None), Ok(Identity::default()));
    }

    #[test]
    fn a_number_needs_no_entry() {
        let numbers = |uid, gid| Identity { uid, gid, ..Identity::default() };
        assert_eq!(workers(Some("54321"), Some("54322")), Ok(numbers(Some(54321), Some(54322))));
        assert_eq!(workers(None, Some("54322")), Ok(numbers(None, Some(54322))));
        let message = "-u '54321': no such user, so its group has to be named with -g";
        assert_eq!(workers(Some("54321"), None), Err(message.into()));
    }

    #[test]
    fn a_name_needs_one() {
        let nobody = workers(Some("nobody"), None).expect("every system has nobody");
        assert!(nobody.uid.is_some() && nobody.gid.is_some_and(|gid| nobody.groups.contains(&gid)));
        for name in ["no-such-name", "", "-5", "4294967295", "4294967296", "0x21", " 33"] {
            assert_eq!(workers(Some(name), Some("1")), Err(format!("-u '{name}': no such user")));
            assert_eq!(workers(None, Some(name)), Err(format!("-g '{name}': no such group")));
        }
    }

    #[test]
    fn root_is_refused() {
        for root in ["root", "0", "00"] {
            assert_eq!(workers(Some(root), Some("1")), Err(format!("-u '{root}': root is refused")));
            assert_eq!(workers(None, Some(root)), Err(format!("-g '{root}': root's group is refused")));
        }
    }

    #[test]
    fn others_than_root_have_only_themselves() {
        let nobody = workers(Some("nobody"), None).expect("every system has nobody");
        let ids = (nobody.uid.expect("a user"), nobody.gid.expect("a group"));
        let others = |user: Option<&str>, group: Option<&str>| {
            Identity::of_workers_for(&config(user, group), false, ids).map_err(|error| error.to_string())
        };
        assert_eq!(others(None, None), Ok(Identity::default()));
        let stays = Identity { entry: nobody.entry, ..Identity::default() };
        assert_eq!(others(Some("nobody"), None), Ok(stays));
        assert_eq!(others(None, Some(&ids.1.to_string())), Ok(Identity::default()));
        let why = "only root may run workers as another user or group: run this as root, or leave";
        assert_eq!(others(Some("54321"), None), Err(format!("-u '54321': {why} -u out")));
        assert_eq!(others(Some("nobody"), Some("54322")), Err(format!("-g '54322': {why} -g out")));
        assert_eq!(others(Some("no-such-name"), None), Err("-u 'no-such-name': no such user".into()));
    }

    #[test]
    fn variables_name_the_user() {
        let named = |identity: &Identity| {
            let mut environment = ["HOME=/root", "A=b", "USER=root", "LOGNAME=root", "HOMER=1", "SHELL=/bin/sh"]
                .map(|variable| CString::new(variable).expect("no NUL"))
                .to_vec();
            identity.name_user(&mut environment);
            environment.into_iter().map(|variable| variable.into_string().expect("plain text")).collect::<Vec<_>>()
        };
        let entry = User { name: c"app".into(), uid: 10, gid: 20, home: c"/srv/app".into() };
        let app = Identity { uid: Some(10), entry: Some(entry), ..Identity::default() };
        let want = ["A=b", "HOMER=1", "SHELL=/bin/sh", "HOME=/srv/app", "USER=app", "LOGNAME=app"];
        assert_eq!(named(&app), want);
        assert_eq!(named(&Identity { uid: Some(10), ..Identity::default() }), want[..3]);
        assert_eq!(named(&Identity { gid: Some(20), ..Identity::default() }).len(), 6);
    }

    #[test]
    fn the_socket_is_the_workers_unless_said_otherwise() {
        let check = |user: Option<&str>, group: Option<&str>, want: Result<(Option<u32>, Option<u32>), &str>| {
            let workers = Identity { uid: Some(10), gid: Some(20), groups: vec![20, 30], entry: None };
            let mut config = config(None, None);
            config.socket_user = user.map(Into::into);
            config.socket_group = group.map(Into::into);
            let owner = Identity::of_socket(&config, &workers).map_err(|error| error.to_string());
            assert_eq!(owner.map(|owner| (owner.uid, owner.gid)), want.map_err(String::from));
        };
        check(None, None, Ok((Some(10), Some(20))));
        check(Some("54321"), None, Ok((Some(54321), Some(20))));
        check(None, Some("54322"), Ok((Some(10), Some(54322))));
        check(Some("54321"), Some("54322"), Ok((Some(54321), Some(54322))));
        check(Some("root"), None, Err("-U 'root': root is refused"));
        check(None, Some("root"), Err("-G 'root': root's group is refused"));
    }
}
