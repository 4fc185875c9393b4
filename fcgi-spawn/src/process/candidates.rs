//! The paths at which a program may be, found by its name.

use std::env;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::Config;
use crate::error::{Escaped, Quoted, Reason};

/// Searched when `PATH` is not set.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The paths of a program, in the order in which they are tried.
///
/// A name with a slash is a path. A name without one is searched for in `PATH` if the configuration says so, but only
/// in absolute directories: a relative one depends on the working directory of the worker, which may be anywhere.
pub(crate) struct Candidates {
    name: CString,
    paths: Vec<CString>,
    /// The directories of `PATH` that are searched; `None` if the name is the path.
    searched: Option<Vec<PathBuf>>,
    /// Where a relative path begins, inside `root`. Both are only for messages, and not in spawn-fcgi's of a name.
    directory: Option<PathBuf>,
    root: Option<PathBuf>,
}

impl Candidates {
    /// For the program `name` of a worker, with this value of `PATH`.
    pub(crate) fn new(config: &Config, name: &CStr, path: Option<&OsStr>) -> Self {
        let bytes = name.to_bytes();
        let is_path = bytes.contains(&b'/');
        let is_searched = config.search_path && !is_path && !bytes.is_empty();
        let searched = is_searched.then(|| directories(path.unwrap_or(OsStr::new(DEFAULT_PATH))));
        let paths = match &searched {
            Some(directories) => directories.iter().map(|directory| join(directory, name)).collect(),
            None => vec![name.into()],
        };
        Candidates {
            name: name.into(),
            paths,
            searched,
            directory: working_directory(config).filter(|_| is_path && !bytes.starts_with(b"/")),
            root: config.chroot.clone().filter(|_| is_path || is_searched),
        }
    }

    pub(crate) fn name(&self) -> Quoted<'_> {
        Quoted(os_str(&self.name))
    }

    pub(crate) fn paths(&self) -> &[CString] {
        &self.paths
    }

    /// The path of this index, or the name.
    pub(crate) fn path(&self, index: Option<usize>) -> Quoted<'_> {
        Quoted(os_str(index.and_then(|index| self.paths.get(index)).unwrap_or(&self.name)))
    }

    /// The directory of `PATH` that leads to the path of this index.
    pub(crate) fn directory(&self, index: usize) -> Option<Quoted<'_>> {
        Some(Quoted(self.searched.as_ref()?.get(index)?.as_os_str()))
    }

    /// The name, if it is searched for.
    pub(crate) fn searched(&self) -> Option<&CStr> {
        self.searched.as_ref().map(|_| &*self.name)
    }

    /// Why no file is at any of the paths. `is_here`: a file of that name is in the working directory.
    pub(crate) fn not_found(&self, errno: &io::Error, is_here: bool) -> String {
        let inside = self.inside();
        let Some(directories) = &self.searched else {
            let directory = self.directory.as_ref().filter(|_| errno.kind() == io::ErrorKind::NotFound);
            let directory = directory.map(|directory| format!(" in {}", Quoted(directory.as_os_str())));
            return format!("{}{}{inside}", Reason(errno), directory.unwrap_or_default());
        };
        let directories = match env::join_paths(directories) {
            Ok(list) if !list.is_empty() => Escaped(&list).to_string(),
            _ => "no absolute directories".into(),
        };
        let hint = match is_here {
            true => {
                let path = Path::new("./").join(os_str(&self.name));
                format!("; it is in the working directory: write {}", Quoted(path.as_os_str()))
            }
            false => String::new(),
        };
        format!("not found in PATH ({directories}){inside}{hint}")
    }

    /// The root directory in which the paths are, in the words of a message.
    pub(crate) fn inside(&self) -> String {
        self.root.as_ref().map(|root| format!(" inside {}", Quoted(root.as_os_str()))).unwrap_or_default()
    }
}

/// The absolute elements of a `PATH`.
fn directories(path: &OsStr) -> Vec<PathBuf> {
    env::split_paths(path).filter(|directory| directory.is_absolute()).collect()
}

fn join(directory: &Path, name: &CStr) -> CString {
    let path = directory.join(os_str(name));
    CString::new(path.into_os_string().into_vec()).expect("two strings without a NUL")
}

/// The working directory of a worker, as the worker sees it.
fn working_directory(config: &Config) -> Option<PathBuf> {
    let start = match config.chroot {
        Some(_) => "/".into(),
        None => env::current_dir().ok()?,
    };
    let directory = start.join(config.directory.as_deref().unwrap_or(Path::new("")));
    // Without the dots of `-d .` and the like.
    Some(directory.components().collect())
}

fn os_str(string: &CStr) -> &OsStr {
    OsStr::from_bytes(string.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    fn config() -> Config {
        Config::new(Address::Unix("unused".into()), Vec::new())
    }

    fn candidates(name: &CStr, path: Option<&str>) -> Candidates {
        Candidates::new(&config(), name, path.map(OsStr::new))
    }

    fn not_found(candidates: &Candidates, errno: i32) -> String {
        candidates.not_found(&io::Error::from_raw_os_error(errno), false)
    }

    #[track_caller]
    fn check(name: &CStr, path: Option<&str>, want: &[&str]) {
        let candidates = candidates(name, path);
        let paths: Vec<_> = candidates.paths().iter().map(|path| path.to_str().expect("plain text")).collect();
        assert_eq!(paths, want, "{name:?} in {path:?}");
    }

    #[test]
    fn a_name_is_searched_in_absolute_directories_in_order() {
        check(c"app", Some("/b:/a/"), &["/b/app", "/a/app"]);
        check(c"app", Some("/"), &["/app"]);
        check(c"app", None, &["/usr/local/bin/app", "/usr/bin/app", "/bin/app"]);
        check(c"app", Some(":.:bin:/a::./b:~/c:"), &["/a/app"]);
        check(c"app", Some(""), &[]);
    }

    #[test]
    fn a_path_is_not_searched() {
        for path in [c"/app", c"./app", c"bin/app", c"app/", c""] {
            check(path, Some("/a"), &[path.to_str().expect("plain text")]);
            assert!(candidates(path, Some("/a")).searched().is_none());
        }
        let config = Config { search_path: false, ..config() };
        let candidates = Candidates::new(&config, c"app", Some(OsStr::new("/a")));
        assert_eq!(candidates.paths(), [c"app".to_owned()]);
    }

    #[test]
    fn a_message_names_the_searched_directories() {
        let message = |path| not_found(&candidates(c"app", path), libc::ENOENT);
        assert_eq!(message(None), "not found in PATH (/usr/local/bin:/usr/bin:/bin)");
        assert_eq!(message(Some("/b:x::/a")), "not found in PATH (/b:/a)");
        assert_eq!(message(Some("/a\nb")), r"not found in PATH (/a\nb)");
        assert_eq!(message(Some("x:")), "not found in PATH (no absolute directories)");

        let config = Config { chroot: Some("/jail".into()), ..config() };
        let message = not_found(&Candidates::new(&config, c"app", Some(OsStr::new("/a"))), libc::ENOENT);
        assert_eq!(message, "not found in PATH (/a) inside '/jail'");
    }

    #[test]
    fn a_message_says_how_to_execute_a_file_in_the_working_directory() {
        let message = candidates(c"a\nb", Some("/a")).not_found(&io::Error::from_raw_os_error(libc::ENOENT), true);
        assert_eq!(message, r"not found in PATH (/a); it is in the working directory: write './a\nb'");
    }

    #[test]
    fn a_message_names_the_directory_in_which_a_relative_path_begins() {
        let here = env::current_dir().expect("a directory");
        let here = here.to_str().expect("a plain path");
        let check = |name: &CStr, directory: Option<&str>, root: Option<&str>, want: &str| {
            let config = Config { directory: directory.map(Into::into), chroot: root.map(Into::into), ..config() };
            let message = not_found(&Candidates::new(&config, name, None), libc::ENOENT);
            assert_eq!(message, format!("No such file or directory{want}"));
        };
        check(c"bin/app", None, None, &format!(" in '{here}'"));
        check(c"bin/app", Some("./sub/."), None, &format!(" in '{here}/sub'"));
        check(c"./app", Some("/srv"), None, " in '/srv'");
        check(c"bin/app", None, Some("/jail"), " in '/' inside '/jail'");
        check(c"bin/app", Some("srv"), Some("/jail"), " in '/srv' inside '/jail'");
        check(c"/bin/app", Some("srv"), Some("/jail"), " inside '/jail'");
        check(c"/bin/app", Some("srv"), None, "");
        let config = Config { search_path: false, chroot: Some("/jail".into()), ..config() };
        let unsearched = Candidates::new(&config, c"app", None);
        assert_eq!(not_found(&unsearched, libc::ENOENT), "No such file or directory");
        assert_eq!(not_found(&candidates(c"./app/x", None), libc::ENOTDIR), "Not a directory");
    }
}
