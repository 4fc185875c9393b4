//! The way to a directory: walked step by step, so that each can be looked at.

use std::ffi::{CStr, CString, OsStr};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{self, Path, PathBuf};

use crate::error::Quoted;
use crate::sys::{self, Directory, Status};

/// As many symlinks as the kernel follows on one path.
const MAX_LINKS: usize = 40;

/// A directory that was walked to.
pub(super) struct Reached {
    pub(super) directory: Directory,
    /// Whether its path leads there as long as neither root nor we ourselves change that.
    pub(super) is_reliable: bool,
}

/// A directory that did not exist.
pub(super) struct Created {
    pub(super) parent: Directory,
    pub(super) name: CString,
    pub(super) path: PathBuf,
}

/// Walks to a directory. What does not exist is made and added to `made`, if given; every user may enter it, but for the
/// umask.
///
/// A symlink of another user than root and us leads only to a directory of that user, where it can do as it likes anyway:
/// a worker that owns a directory on the way cannot lead us elsewhere.
pub(super) fn walk(path: &Path, made: Option<&mut Vec<Created>>) -> io::Result<Reached> {
    let (at, from) = match path.is_absolute() {
        // The working directory may be one that we may not search.
        true => (Directory::root()?, PathBuf::from("/")),
        false => (Directory::working()?, path::absolute(".")?),
    };
    let mut walk = Walk { at, path: from, steps: Vec::new(), is_reliable: true, foreign: Vec::new(), made };
    walk.plan(path.as_os_str().as_bytes())?;
    let mut links = 0;
    while let Some(name) = walk.steps.pop() {
        if let Some(target) = walk.step(&name)? {
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            walk.plan(target.to_bytes())?;
        }
    }
    let owner = walk.at.status()?.uid;
    if let Some((path, uid)) = walk.foreign.iter().find(|(_, uid)| *uid != owner) {
        let path = Quoted(path.as_os_str());
        return Err(io::Error::other(format!("{path} is a symlink of uid {uid} to a directory of uid {owner}")));
    }
    Ok(Reached { directory: walk.at, is_reliable: walk.is_reliable })
}

struct Walk<'a> {
    at: Directory,
    /// Where that is.
    path: PathBuf,
    /// What is still to be walked, the next step last.
    steps: Vec<CString>,
    is_reliable: bool,
    /// The symlinks of other users that were followed.
    foreign: Vec<(PathBuf, u32)>,
    made: Option<&'a mut Vec<Created>>,
}

impl Walk<'_> {
    /// Puts a path in front of what is still to be walked.
    fn plan(&mut self, path: &[u8]) -> io::Result<()> {
        if path.starts_with(b"/") {
            self.at = Directory::root()?;
            self.path = PathBuf::from("/");
        }
        for step in path.split(|byte| *byte == b'/').rev().filter(|step| !step.is_empty() && *step != b".") {
            self.steps.push(CString::new(step)?);
        }
        Ok(())
    }

    /// Goes into a directory; of a symlink it gives the target.
    fn step(&mut self, name: &CStr) -> io::Result<Option<CString>> {
        let next = match self.at.directory(name) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.may_make() => self.make(name),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
                return self.follow(name, error).map(Some);
            }
            other => other,
        }?;
        self.is_reliable &= is_reliable(&self.at.status()?, &next.status()?);
        self.at = next;
        self.path.push(OsStr::from_bytes(name.to_bytes()));
        Ok(None)
    }

    /// Behind a symlink of another user nothing is made.
    fn may_make(&self) -> bool {
        self.made.is_some() && self.foreign.is_empty()
    }

    fn make(&mut self, name: &CStr) -> io::Result<Directory> {
        // Before it exists: what is made must be known, whatever fails afterwards.
        let parent = self.at.try_clone()?;
        match self.at.make_directory(name, 0o755) {
            Ok(()) => {
                let path = self.path.join(OsStr::from_bytes(name.to_bytes()));
                if let Some(made) = &mut self.made {
                    made.push(Created { parent, name: name.to_owned(), path });
                }
            }
            // Another process was quicker. If it is no directory the next step reports it.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        self.at.directory(name)
    }

    fn follow(&mut self, name: &CStr, not_a_directory: io::Error) -> io::Result<CString> {
        let handle = self.at.handle(name)?;
        let link = handle.status()?;
        if !link.is_symlink() {
            return Err(not_a_directory);
        }
        if !is_trusted(link.uid) {
            self.foreign.push((self.path.join(OsStr::from_bytes(name.to_bytes())), link.uid));
            self.is_reliable = false;
        }
        self.is_reliable &= is_reliable(&self.at.status()?, &link);
        handle.read_link()
    }
}

/// Whether only root and we can put something else in the place of an entry of a directory.
fn is_reliable(directory: &Status, entry: &Status) -> bool {
    let others_write = directory.mode & 0o022 != 0;
    let is_sticky = directory.mode & libc::S_ISVTX != 0;
    is_trusted(directory.uid) && (!others_write || is_sticky && is_trusted(entry.uid))
}

/// Root's, or ours.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == sys::ids().0
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::files::scratch::Scratch;

    #[test]
    fn follows_symlinks_to_where_their_owner_may_lead() {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path("a/b")).expect("made");
        symlink("a/b", scratch.path("relative")).expect("linked");
        symlink(scratch.path("a"), scratch.path("absolute")).expect("linked");
        symlink("loop", scratch.path("loop")).expect("linked");
        let identity = |name: &str| {
            let reached = walk(&scratch.path(name), None)?;
            reached.directory.status().map(|status| status.identity)
        };
        let want = identity("a/b").expect("reached");
        for name in ["relative", "absolute/b", "absolute/../a/./b//", "relative/../b/."] {
            assert_eq!(identity(name).expect("reached"), want, "{name}");
        }
        assert_eq!(identity("loop").expect_err("endless").raw_os_error(), Some(libc::ELOOP));
        assert_eq!(identity("a/b/c").expect_err("missing").kind(), ErrorKind::NotFound);

        if sys::ids().0 == 0 {
            std::os::unix::fs::lchown(scratch.path("relative"), Some(65534), None).expect("given away");
            let why = identity("relative").expect_err("not followed").to_string();
            let link = scratch.path("relative");
            assert_eq!(why, format!("'{}' is a symlink of uid 65534 to a directory of uid 0", link.display()));
            let mut made = Vec::new();
            let missing = walk(&scratch.path("relative/c"), Some(&mut made)).err().expect("not made");
            assert!(missing.kind() == ErrorKind::NotFound && made.is_empty());
            std::os::unix::fs::chown(scratch.path("a/b"), Some(65534), None).expect("given away");
            assert_eq!(identity("relative").expect("to its owner's directory"), want);
            assert!(!walk(&scratch.path("relative"), None).expect("reached").is_reliable);
            std::os::unix::fs::chown(scratch.path("a/b"), Some(65533), None).expect("given away");
            identity("relative").expect_err("to another user's");
        }
    }

    #[test]
    fn a_path_that_others_can_change_is_not_reliable() {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path("a/b")).expect("made");
        let is_reliable = || walk(&scratch.path("a/b"), None).expect("reached").is_reliable;
        assert!(is_reliable());
        let set_mode = |mode| fs::set_permissions(scratch.path("a"), fs::Permissions::from_mode(mode)).expect("set");
        for (mode, want) in [(0o777, false), (0o775, false), (0o1777, true), (0o755, true)] {
            set_mode(mode);
            assert_eq!(is_reliable(), want, "{mode:o}");
        }
        if sys::ids().0 == 0 {
            std::os::unix::fs::chown(scratch.path("a/b"), Some(65534), None).expect("given away");
            assert!(is_reliable(), "only its own content can be changed");
            set_mode(0o1777);
            assert!(!is_reliable(), "it can be renamed");
            std::os::unix::fs::chown(scratch.path("a"), Some(65534), None).expect("given away");
            set_mode(0o755);
            assert!(!is_reliable(), "its parent is another user's");
        }
    }
}
