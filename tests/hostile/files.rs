//! Attacks on the supervisor's files, in a directory that its worker may write.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, FlockOperation, Mode, RenameFlags, flock, mknodat, renameat_with};

use crate::home::Home;

/// What takes the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trap {
    Symlink,
    /// Or a directory, each second time.
    Fifo,
    Link,
}

/// The names of files that the supervisor has, or is likely to have.
fn names(home: &Home) -> Vec<String> {
    let mut names: Vec<String> =
        ["status", "log", "pid", "app.sock", "app.sock.lock", "pid.lock", "status.lock"].map(str::to_owned).into();
    for pid in home.facts("supervisor") {
        names.extend(["status", "pid", "log"].map(|name| format!("{name}.{pid}")));
    }
    // Temporary files among them, while they are there.
    let present =
        fs::read_dir(home.run()).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.extend(present);
    names
}

/// Puts traps in the place of one file after the other, and takes them away again: a rename over a trap is
/// no attack.
pub(crate) fn replace(home: &Home, kind: Trap) {
    let (canary, trap) = (home.canary(), home.path(&format!("trap-{kind:?}")));
    for turn in 0.. {
        if home.is_over() {
            return;
        }
        for (at, name) in names(home).iter().enumerate() {
            let place = home.run().join(name);
            if !set(home, kind, turn + at, &canary.join(name), &trap) {
                continue;
            }
            if fs::rename(&trap, &place).is_err() {
                // A directory is in the way, or our trap is one.
                let _ = fs::rename(&place, home.path("away")).or_else(|_| fs::remove_dir(&place));
                let _ = fs::rename(&trap, &place);
                let _ = fs::remove_dir(home.path("away"));
            }
            if turn % 3 == 2 && kind != Trap::Link {
                let _ = fs::remove_file(&place).or_else(|_| fs::remove_dir(&place));
            }
        }
        if kind == Trap::Link {
            thread::sleep(Duration::from_millis([2, 30][turn % 2]));
            take_back(home, turn);
        }
        thread::sleep(Duration::from_micros(500));
    }
}

/// Puts the links that are left back into the pool: there are only so many.
fn take_back(home: &Home, turn: usize) {
    for name in names(home) {
        let place = home.run().join(&name);
        if fs::symlink_metadata(&place).is_ok_and(|file| file.is_file() && file.nlink() > 1) {
            let _ = fs::rename(&place, home.path("pool").join(format!("{turn}-{name}")));
        }
    }
}

/// Makes the trap, with a file of root's behind it.
fn set(home: &Home, kind: Trap, number: usize, target: &Path, trap: &Path) -> bool {
    let _ = fs::remove_file(trap).or_else(|_| fs::remove_dir(trap));
    match kind {
        Trap::Symlink if number % 2 == 0 => symlink(target.with_file_name("passwd"), trap).is_ok(),
        Trap::Symlink => symlink(target, trap).is_ok(),
        Trap::Fifo if number % 4 == 3 => fs::create_dir(trap).is_ok(),
        Trap::Fifo => mknodat(CWD, trap, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).is_ok(),
        // The kernel may refuse a link of our own making.
        Trap::Link => {
            let mut pool = fs::read_dir(home.path("pool")).into_iter().flatten();
            fs::hard_link(target, trap).is_ok()
                || pool.next().is_some_and(|link| link.is_ok_and(|link| fs::rename(link.path(), trap).is_ok()))
        }
    }
}

/// Has the path of the supervisor's directory lead to root's directory, or to an empty one, for moments.
pub(crate) fn exchange_directories(home: &Home) {
    let evil: [PathBuf; 2] = [home.path("evil"), home.path("empty")];
    let _ = symlink(home.canary(), &evil[0]);
    let _ = fs::create_dir(&evil[1]);
    for turn in 0.. {
        if home.is_over() {
            return;
        }
        let exchange = || renameat_with(CWD, &evil[turn % 2], CWD, home.run(), RenameFlags::EXCHANGE);
        if exchange().is_ok() {
            thread::sleep(Duration::from_millis([1, 20, 5][turn % 3]));
            // Tried until it succeeds: without its directory there is no more to attack.
            while exchange().is_err() && !home.is_over() {
                thread::sleep(Duration::from_millis(1));
            }
        }
        thread::sleep(Duration::from_millis(7));
    }
}

/// Holds locks on all that is there, or may be.
pub(crate) fn hold_locks(home: &Home) {
    while !home.is_over() {
        let mut held = Vec::new();
        for name in names(home).iter().filter(|name| name.ends_with(".lock")) {
            let path = home.run().join(name);
            let Ok(file) = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
            else {
                continue;
            };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                held.push(file);
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
}
