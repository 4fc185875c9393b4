//! Which program a process executes, from /proc, and so what it is to a worker: a part of it, or a helper.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::process::connections::has_open;
use crate::sys::directory_of;

/// Names of shells. Of what they start nothing has their program, though it may serve in their place.
const SHELLS: [&[u8]; 12] =
    [b"sh", b"ash", b"bash", b"busybox", b"dash", b"ksh", b"ksh93", b"lksh", b"mksh", b"posh", b"yash", b"zsh"];

/// What a process executes: of a script it is the interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    device: u64,
    inode: u64,
    is_shell: bool,
}

impl Program {
    /// `None` if that cannot be seen.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let link = format!("{}/exe", directory_of(pid));
        let (file, path) = (fs::metadata(&link).ok()?, fs::read_link(&link).ok()?);
        let name = path.file_name().unwrap_or_default().as_bytes();
        let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
        Some(Program { device: file.dev(), inode: file.ino(), is_shell: SHELLS.contains(&name) })
    }

    /// Whether this process is a part of a worker that executes this: it executes the same, or serves in the place of a
    /// shell, with the listening socket of this inode. So many descriptors are looked at, counted down; what is more is a
    /// part.
    pub(crate) fn has_part(self, pid: u32, listener: Option<u64>, left: &mut usize) -> bool {
        let serves = |listener| has_open(pid, listener, left) || *left == 0;
        Program::of(pid) == Some(self) || self.is_shell && listener.is_some_and(serves)
    }
}

/// Where to find the next version of our own program: the path we were called by, so that a symlink may lead elsewhere then, or the file
/// that we are.
pub(crate) fn own(called: &OsStr) -> PathBuf {
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let us = identity(Path::new("/proc/self/exe"));
    let places = match called.as_bytes().contains(&b'/') {
        true => vec![env::current_dir().unwrap_or_default()],
        false => env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect(),
    };
    let named = places.iter().map(|place| place.join(called)).find(|path| us.is_some() && identity(path) == us);
    named.or_else(|| env::current_exe().ok()).unwrap_or_else(|| called.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_same_file_is_the_same_program() {
        let us = std::process::id();
        let ours = Program::of(us).expect("seen");
        assert!(!ours.is_shell && ours.has_part(us, None, &mut 100));
        let mut sleep = Command::new("sleep").arg("20").spawn().expect("sleep is there");
        assert!(!ours.has_part(sleep.id(), None, &mut 100));
        sleep.kill().expect("killed");
        sleep.wait().expect("it ends");
        assert_eq!(Program::of(sleep.id()), None);
    }

    #[test]
    fn what_serves_in_the_place_of_a_shell_is_a_part_of_it() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("bound");
        let inode = crate::process::connections::inode(socket.as_raw_fd());
        let start = |stdin: Stdio| Command::new("sleep").arg("20").stdin(stdin).spawn().expect("sleep is there");
        let serves = start(OwnedFd::from(socket.try_clone().expect("a copy")).into());
        let helper = start(Stdio::null());
        let mut shell =
            Command::new("sh").args(["-c", "read line"]).stdin(Stdio::piped()).spawn().expect("sh is there");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let program = loop {
            let program = Program::of(shell.id()).expect("seen");
            if program.is_shell || std::time::Instant::now() > end {
                break program;
            }
        };
        let parts = [&serves, &helper].map(|process| program.has_part(process.id(), inode, &mut 100));
        assert_eq!((program.is_shell, parts), (true, [true, false]));
        assert!(!program.has_part(serves.id(), None, &mut 100));
        assert!(program.has_part(helper.id(), inode, &mut 1), "it has more descriptors than that");
        for mut process in [serves, helper] {
            process.kill().expect("killed");
            process.wait().expect("it ends");
        }
        drop(shell.stdin.take());
        shell.wait().expect("it ends");
    }
}
