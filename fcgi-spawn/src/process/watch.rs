//! Files whose change is a reason to reload.

use std::env;
use std::ffi::{CStr, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::process::candidates::Candidates;
use crate::{Config, Program, sys};

/// By so much the time of a change may be too early: the kernel takes it from its last tick.
const TICK: Duration = Duration::from_millis(20);

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// What tells a file from its next version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
    pub(crate) size: u64,
    /// Device and inode.
    pub(crate) file: (u64, u64),
}

impl Version {
    fn of_first(paths: &[PathBuf]) -> Option<Self> {
        Version::of(first(paths)?)
    }

    /// When the file was changed, or came to its place.
    fn changed(paths: &[PathBuf]) -> Option<Duration> {
        let path = first(paths)?;
        let metadata = fs::metadata(path).ok()?;
        Some(Duration::new(u64::try_from(metadata.ctime()).ok()?, u32::try_from(metadata.ctime_nsec()).ok()?))
    }

    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Version {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
            file: (metadata.dev(), metadata.ino()),
        })
    }
}

/// The first file that can be executed, as far as its mode tells, or else the first one.
fn first(paths: &[PathBuf]) -> Option<&PathBuf> {
    paths.iter().find(|path| is_executable(path)).or(paths.first())
}

/// The files and what is known of them.
pub(crate) struct Watch {
    /// Each by the paths at which it may be.
    files: Vec<(Vec<PathBuf>, Watched)>,
    next: Instant,
}

impl Watch {
    /// Of what the configuration says; `None` if that is nothing.
    pub(crate) fn of(config: &Config, now: Instant) -> Option<Self> {
        let program = if config.auto_update { program_paths(config) } else { None };
        if config.auto_update && program.is_none() {
            log::warn!("--auto-update: it is not clear which file the program is: name it with --watch");
        }
        let files = program.into_iter().chain(config.watch.iter().map(|path| vec![path.clone()]));
        let watched = |paths: Vec<_>| {
            let version = Version::of_first(&paths);
            (paths, Watched::new(version))
        };
        let files: Vec<_> = files.map(watched).collect();
        (!files.is_empty()).then_some(Watch { files, next: now + LOOK })
    }

    /// For workers of which the oldest has this age: a file that is younger was changed since.
    pub(crate) fn loaded_before(mut self, oldest: Option<Duration>) -> Self {
        let started = oldest.and_then(|age| sys::time_of_day().checked_sub(age));
        for (paths, watched) in &mut self.files {
            let changed = Version::changed(paths).zip(started);
            let changed = changed.is_some_and(|(changed, started)| changed + TICK > started);
            if changed {
                watched.loaded = None;
            }
        }
        self
    }

    /// When to look.
    pub(crate) fn deadline(&self) -> Instant {
        self.next
    }

    /// Looks if it is time: a file that has changed.
    pub(crate) fn look(&mut self, now: Instant) -> Option<PathBuf> {
        if now < self.next {
            return None;
        }
        self.next = now + LOOK;
        let mut changed = None;
        for (paths, watched) in &mut self.files {
            if watched.look(Version::of_first(paths)) {
                changed = changed.or(first(paths).cloned());
            }
        }
        changed
    }
}

/// Numbers the versions of the program's file.
pub(crate) struct Versions {
    paths: Vec<PathBuf>,
    last: Option<Version>,
    number: u32,
}

impl Versions {
    pub(crate) fn of(config: &Config) -> Self {
        Versions { paths: program_paths(config).unwrap_or_default(), last: None, number: 1 }
    }

    /// The number of the version that is there now: the same as before if the file is. It is not 0.
    pub(crate) fn current(&mut self) -> u32 {
        let version = Version::of_first(&self.paths);
        if version != self.last {
            (self.last, self.number) = (version, self.number + 1);
        }
        self.number
    }
}

/// What is known of one file.
#[derive(Debug, PartialEq, Eq)]
struct Watched {
    loaded: Option<Version>,
    seen: Option<Version>,
}

impl Watched {
    fn new(now: Option<Version>) -> Self {
        Watched { loaded: now, seen: now }
    }

    /// Whether there is another version, which has been there before: one that is just being written is not complete,
    /// and none at all is about to be replaced.
    fn look(&mut self, now: Option<Version>) -> bool {
        let settled = now.is_some() && now == self.seen && now != self.loaded;
        self.seen = now;
        if settled {
            self.loaded = now;
        }
        settled
    }
}

/// Programs that are given the program to be.
const INTERPRETERS: [&str; 14] =
    ["sh", "bash", "dash", "ksh", "zsh", "python", "pypy", "perl", "ruby", "php", "lua", "node", "tclsh", "guile"];

/// Where the file is that the program is in: its own, or the script that an interpreter is given.
fn program_paths(config: &Config) -> Option<Vec<PathBuf>> {
    let words: Vec<&OsStr> = match &config.program {
        Program::File(words) => words.iter().map(|word| os_str(word)).collect(),
        Program::Shell(line) => {
            let words = line.to_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.map(OsStr::from_bytes).collect()
        }
    };
    let mut words = words.into_iter();
    let mut program = words.next()?;
    let is_env = file_name(program) == "env";
    if is_env {
        program = words.find(|word| !is_option(word) && !word.as_bytes().contains(&b'='))?;
    }
    let name = file_name(program);
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').trim_end_matches("-cgi");
    if INTERPRETERS.contains(&name) {
        // Without a script, such as php-cgi, it is the program.
        if let Some(script) = words.find(|word| !is_option(word)) {
            return Some(seen_from_outside(config, Path::new(script)))
                .filter(|path| path.is_file())
                .map(|path| vec![path]);
        }
    }
    if let (Program::File(words), false) = (&config.program, is_env) {
        let candidates = Candidates::new(config, words.first()?, env::var_os("PATH").as_deref());
        let paths = candidates.paths().iter().map(|path| seen_from_outside(config, Path::new(os_str(path))));
        return Some(paths.collect());
    }
    let path = seen_from_outside(config, Path::new(program));
    if path.is_file() {
        return Some(vec![path]);
    }
    // The shell or env finds it in PATH.
    let search = env::var_os("PATH").filter(|_| !program.as_bytes().contains(&b'/'))?;
    env::split_paths(&search)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .map(|path| vec![path])
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn os_str(string: &CStr) -> &OsStr {
    OsStr::from_bytes(string.to_bytes())
}

fn file_name(path: &OsStr) -> String {
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_option(word: &OsStr) -> bool {
    word.as_bytes().starts_with(b"-")
}

/// A path as a worker sees it, from where we are.
fn seen_from_outside(config: &Config, path: &Path) -> PathBuf {
    let in_folder = match (&config.directory, &config.chroot) {
        (Some(directory), _) => directory.join(path),
        (None, Some(_)) => Path::new("/").join(path),
        (None, None) => path.into(),
    };
    match &config.chroot {
        Some(root) => root.join(in_folder.strip_prefix("/").unwrap_or(&in_folder)),
        None => in_folder,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;
    use crate::Address;

    fn version(number: u64) -> Option<Version> {
        Some(Version { modified: (0, 0), size: number, file: (0, 0) })
    }

    #[test]
    fn a_change_counts_when_it_is_seen_twice() {
        let mut watched = Watched::new(version(1));
        assert!(!watched.look(version(1)));
        assert!(!watched.look(version(2)));
        assert!(!watched.look(version(3)), "it is still being written");
        assert!(watched.look(version(3)));
        assert!(!watched.look(version(3)), "once is enough");
        assert!(!watched.look(None) && !watched.look(None));
        assert!(!watched.look(version(3)), "it is back as it was");
        assert!(!watched.look(version(4)) && watched.look(version(4)));
    }

    #[test]
    fn a_file_that_was_not_there_changes_when_it_comes() {
        let mut watched = Watched::new(None);
        assert!(!watched.look(None) && !watched.look(version(1)) && watched.look(version(1)));
    }

    #[test]
    fn a_file_that_is_younger_than_the_oldest_worker_has_changed() {
        let now = Instant::now();
        let changes = |oldest| {
            let mut config = Config::new(Address::Unix("unused".into()), Vec::new());
            config.watch = vec!["/bin/sh".into()];
            Watch::of(&config, now).expect("something to watch").loaded_before(oldest).look(now + LOOK).is_some()
        };
        assert!(changes(Some(sys::time_of_day() - Duration::from_secs(1))));
        assert!(!changes(Some(Duration::ZERO)) && !changes(None));
    }

    #[test]
    fn looks_are_2_seconds_apart() {
        let now = Instant::now();
        let mut config = Config::new(Address::Unix("unused".into()), vec![c"/bin/sh".into()]);
        assert!(Watch::of(&config, now).is_none());
        config.auto_update = true;
        let mut watch = Watch::of(&config, now).expect("something to watch");
        assert_eq!(watch.deadline(), now + LOOK);
        assert!(watch.look(now).is_none() && watch.deadline() == now + LOOK);
        assert!(watch.look(now + LOOK).is_none() && watch.deadline() == now + 2 * LOOK);
    }

    #[test]
    fn the_script_is_what_is_watched() {
        let dir = env::temp_dir().join(format!("fcgi-spawn-watch-{}", std::process::id()));
        fs::create_dir(&dir).expect("a directory");
        let app = dir.join("app.py");
        fs::write(&app, "#!/usr/bin/env python3\n").expect("a file");
        let path = app.to_str().expect("a plain path");

        let file = |words: &[&str]| {
            let words = words.iter().map(|word| CString::new(*word).expect("no NUL"));
            program_paths(&Config::new(Address::Unix("unused".into()), words.collect()))
        };
        let script = Some(vec![app.clone()]);
        assert_eq!(file(&[path]), script);
        assert_eq!(file(&["/usr/bin/python3", path, "other"]), script);
        assert_eq!(file(&["/usr/bin/python3.11", "-u", path]), script);
        assert_eq!(file(&["/usr/bin/env", "A=1", "python3", path]), script);
        assert_eq!(file(&["/bin/sh"]), Some(vec!["/bin/sh".into()]));
        assert_eq!(file(&["/bin/cat", path]), Some(vec!["/bin/cat".into()]));
        assert_eq!(file(&["/nonexistent"]), Some(vec!["/nonexistent".into()]));
        assert_eq!(file(&["python3", path]), script);
        assert_eq!(file(&["/bin/sh", "/nonexistent"]), None);

        let mut config = Config::new(Address::Unix("unused".into()), Vec::new());
        config.program = Program::Shell(c"python3 app.py".into());
        config.directory = Some(dir.clone());
        assert_eq!(program_paths(&config), script);
        config.program = Program::File(vec![c"/app.py".into()]);
        (config.directory, config.chroot) = (None, Some(dir.clone()));
        assert_eq!(program_paths(&config), script);
        config.program = Program::Shell(c"sh".into());
        config.chroot = None;
        let paths = program_paths(&config).expect("it is in PATH");
        assert!(matches!(&paths[..], [path] if path.ends_with("sh")), "{paths:?}");
        fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn a_searched_name_is_watched_at_all_its_paths() {
        let mut config = Config::new(Address::Unix("unused".into()), vec![c"sh".into()]);
        let paths = program_paths(&config).expect("a program");
        assert!(paths.iter().all(|path| path.is_absolute() && path.ends_with("sh")), "{paths:?}");
        assert!(Version::of_first(&paths).is_some(), "none of {paths:?}");
        config.chroot = Some("/jail".into());
        let inside = program_paths(&config).expect("a program");
        assert!(inside.iter().all(|path| path.starts_with("/jail")) && inside.len() == paths.len(), "{inside:?}");
        config.search_path = false;
        assert_eq!(program_paths(&config), Some(vec!["/jail/sh".into()]));
    }

    #[test]
    fn the_first_executable_file_is_watched() {
        let dir = env::temp_dir().join(format!("fcgi-spawn-watch-first-{}", std::process::id()));
        fs::create_dir(&dir).expect("a directory");
        let paths = ["missing", "plain", "program", "second"].map(|name| dir.join(name));
        for (path, mode) in paths[1..].iter().zip([0o644, 0o755, 0o755]) {
            fs::write(path, "").expect("a file");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the file is ours");
        }
        let program = Version::of(&paths[2]);
        assert!(program.is_some() && program != Version::of(&paths[3]));
        assert_eq!(Version::of_first(&paths), program);
        // A file of data is the only one, and a missing one may come.
        assert_eq!(Version::of_first(&paths[1..2]), Version::of(&paths[1]));
        assert_eq!(Version::of_first(&paths[..1]), None);
        assert_eq!(Version::of_first(&[]), None);
        fs::remove_dir_all(&dir).expect("removed");
    }
}
