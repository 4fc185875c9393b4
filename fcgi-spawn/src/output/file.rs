//! The file that `--log` names.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{self, Path, PathBuf};

use crate::Error;
use crate::error::{Quoted, Reason};
use crate::output::stream::Stream;
use crate::sys;

/// A log that was opened as the administrator named it, and is reopened only where it was found then.
///
/// Workers may be able to write to its directory: what is in the log's place later is not trusted.
pub(crate) struct LogFile {
    pub(crate) stream: Stream,
    path: PathBuf,
    /// The name of a regular file in its directory. Anything else is not reopened.
    place: Option<(File, OsString)>,
    /// It is a descriptor that we were started with.
    is_given: bool,
}

/// Why a log is not reopened.
#[derive(Debug, PartialEq, Eq)]
struct Unfit(String);

impl LogFile {
    /// The mode of a log that we create.
    const MODE: u32 = 0o640;
    /// Nothing waits for the reader of a FIFO, the owner of a lease, or a modem.
    const FLAGS: i32 = libc::O_WRONLY | libc::O_APPEND | libc::O_NONBLOCK | libc::O_NOCTTY;
    /// More symlinks than the kernel follows.
    const LINKS: usize = 40;

    /// Opens the log: symlinks are followed, and it may be a FIFO or a device. `given` is the descriptor to use if the
    /// path is that of a descriptor, and another has its number now.
    pub(crate) fn open(path: &Path, given: Option<OwnedFd>) -> Result<Self, Error> {
        let failed = |error| Error::io("open log", path, &error);
        // The working directory may be another when it is reopened.
        let path = path::absolute(path).map_err(failed)?;
        let found = find(&path);
        let is_given = matches!(found, Found::Descriptor(_));
        let (stream, place) = match found {
            Found::Descriptor(fd) => {
                let own = given.map_or_else(|| sys::duplicate(fd), Ok);
                (own.and_then(Stream::shared).map_err(failed)?, None)
            }
            Found::Path(real, stranger) => {
                let (Some(directory), Some(name)) = (real.parent(), real.file_name()) else {
                    return Err(failed(io::Error::from_raw_os_error(libc::EISDIR)));
                };
                let directory = sys::open_directory(directory).map_err(failed)?;
                let file = open(&directory, name).and_then(|file| fit(file, stranger)).map_err(failed)?;
                let stream = Stream::own(file).map_err(failed)?;
                let place = stream.is_regular().then(|| (directory, name.to_owned()));
                (stream, place)
            }
        };
        Ok(LogFile { stream, path, place, is_given })
    }

    /// Opens or creates the file anew after it was moved away; returns whether this is a log that can be reopened.
    ///
    /// # Errors
    ///
    /// In the log's place is something else than a regular file with one link: the old file stays open.
    pub(crate) fn reopen(&mut self) -> Result<bool, Error> {
        let Some((directory, name)) = &self.place else { return Ok(false) };
        let reopened = open_again(directory, name)
            .and_then(|file| Stream::own(file).map_err(|error| Unfit(Reason(&error).to_string())));
        match reopened {
            Ok(stream) => {
                self.stream = stream;
                Ok(true)
            }
            Err(Unfit(why)) => {
                let path = Quoted(self.path.as_os_str());
                Err(Error::new(format!("cannot reopen log {path}: {why}; the old file stays open")))
            }
        }
    }

    /// Whether it is a regular file without a byte.
    pub(crate) fn is_empty(&self) -> bool {
        self.stream.is_empty()
    }

    /// Whether it is a descriptor that we were started with.
    pub(crate) fn is_given(&self) -> bool {
        self.is_given
    }
}

/// A descriptor of our own for the one that a path such as `/dev/stderr` means, if the path is that of a descriptor.
///
/// To open it by its name would need the rights of the process that opened it first, and a socket has no name.
pub(crate) fn given(path: &Path) -> Result<Option<OwnedFd>, Error> {
    let own = descriptor_of(path).map(sys::duplicate).transpose();
    own.map_err(|error| Error::io("open log", path, &error))
}

fn descriptor_of(path: &Path) -> Option<RawFd> {
    match path::absolute(path).map(|path| find(&path)) {
        Ok(Found::Descriptor(fd)) => Some(fd),
        _ => None,
    }
}

enum Found {
    Descriptor(RawFd),
    /// No symlink, at that moment; and the owner of one that led there, if that is neither root nor our user.
    Path(PathBuf, Option<u32>),
}

/// Follows the symlinks of a path's last component.
fn find(path: &Path) -> Found {
    let (mut path, mut stranger) = (path.to_owned(), None);
    for _ in 0..LogFile::LINKS {
        if let Some(fd) = descriptor(&path) {
            return Found::Descriptor(fd);
        }
        match (path.parent(), fs::read_link(&path)) {
            (Some(parent), Ok(target)) => {
                let target = parent.join(target);
                // What has no name, such as the pipe of another process, is where its link in /proc leads all the same.
                if path.starts_with("/proc") && fs::symlink_metadata(&target).is_err() {
                    break;
                }
                let owner = fs::symlink_metadata(&path).map_or(0, |link| link.uid());
                stranger = stranger.or(Some(owner).filter(|owner| ![0, sys::ids().0].contains(owner)));
                path = target;
            }
            _ => break,
        }
    }
    Found::Path(path, stranger)
}

/// A worker may have put it there before the start: by a second name of another file, or by a symlink to one.
fn fit(file: File, stranger: Option<u32>) -> io::Result<File> {
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.nlink() > 1 {
        return Err(io::Error::other(format!("the file has {} names", metadata.nlink())));
    }
    match stranger.filter(|stranger| *stranger != metadata.uid()) {
        Some(stranger) => Err(io::Error::other(format!("a symlink of uid {stranger} leads to a file of another user"))),
        None => Ok(file),
    }
}

/// The descriptor that a path names, by its letters.
fn descriptor(path: &Path) -> Option<RawFd> {
    match path.to_str()? {
        "/dev/stdin" => return Some(libc::STDIN_FILENO),
        "/dev/stdout" => return Some(libc::STDOUT_FILENO),
        "/dev/stderr" => return Some(libc::STDERR_FILENO),
        _ => {}
    }
    let number = path.strip_prefix("/dev/fd").or_else(|_| path.strip_prefix("/proc/self/fd")).ok()?;
    number.to_str()?.parse().ok().filter(|fd| *fd >= 0)
}

/// Opens a log for the first time.
fn open(directory: &File, name: &OsStr) -> io::Result<File> {
    let open = |flags| sys::open_at(directory, name, flags, LogFile::MODE);
    let opened = match open(LogFile::FLAGS) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return sys::with_umask(0, || open(LogFile::FLAGS | libc::O_CREAT));
        }
        opened => opened,
    };
    // With a FIFO's other end, too, it needs no reader, now or later.
    let both = || open(LogFile::FLAGS & !libc::O_WRONLY | libc::O_RDWR);
    match opened {
        Ok(file) if file.metadata()?.file_type().is_fifo() => Ok(both().unwrap_or(file)),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => both().map_err(|_| error),
        opened => opened,
    }
}

/// Opens or creates the file that is to be in the place of the log, if nothing else is there.
fn open_again(directory: &File, name: &OsStr) -> Result<File, Unfit> {
    let flags = LogFile::FLAGS | libc::O_NOFOLLOW;
    let open = |flags| sys::open_at(directory, name, flags, LogFile::MODE);
    let opened = match open(flags) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            sys::with_umask(0, || open(flags | libc::O_CREAT | libc::O_EXCL))
        }
        opened => opened,
    };
    let unfit = |why: &str| Err(Unfit(why.into()));
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            return match error.raw_os_error() {
                Some(libc::ELOOP) => unfit("it is a symbolic link"),
                Some(libc::EISDIR) => unfit("it is a directory"),
                // A FIFO that is not read, or a socket.
                Some(libc::ENXIO) => unfit("it is not a regular file"),
                _ => unfit(&Reason(&error).to_string()),
            };
        }
    };
    match file.metadata() {
        Ok(file) if !file.is_file() => unfit("it is not a regular file"),
        Ok(file) if file.nlink() != 1 => unfit(&format!("it has {} links", file.nlink())),
        Ok(_) => Ok(file),
        Err(error) => unfit(&Reason(&error).to_string()),
    }
}

impl AsFd for LogFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("fcgi-spawn-log-file-{test}-{}", std::process::id()));
            fs::create_dir(&path).expect("a directory");
            Directory(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn fifo(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().is_ok_and(|status| status.success()));
    }

    #[test]
    fn it_may_be_the_pipe_of_another_process() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let path = format!("/proc/{}/fd/{}", std::process::id(), writer.as_fd().as_raw_fd());
        let mut log = LogFile::open(Path::new(&path), None).expect("opened");
        assert!(!log.reopen().expect("it stays"));
        log.stream.write(b"line\n").expect("written");
        drop((log, writer));
        assert_eq!(io::read_to_string(&mut reader).expect("read"), "line\n");
    }

    #[test]
    fn file_with_two_names_is_not_opened() {
        let dir = Directory::new("names");
        fs::write(dir.path("other"), "precious").expect("written");
        fs::hard_link(dir.path("other"), dir.path("log")).expect("linked");
        let refused = LogFile::open(&dir.path("log"), None).err().expect("refused").to_string();
        assert!(refused.ends_with("the file has 2 names"), "{refused}");
        assert_eq!(fs::read(dir.path("other")).expect("read"), b"precious");
    }

    #[test]
    fn symlink_of_another_user_leads_to_files_of_that_user_only() {
        if sys::ids().0 != 0 {
            return; // Only root can give a link away.
        }
        let dir = Directory::new("stranger");
        fs::write(dir.path("other"), "precious").expect("written");
        symlink("other", dir.path("log")).expect("linked");
        std::os::unix::fs::lchown(dir.path("log"), Some(65534), None).expect("given away");
        let refused = LogFile::open(&dir.path("log"), None).err().expect("refused").to_string();
        assert!(refused.ends_with("a symlink of uid 65534 leads to a file of another user"), "{refused}");
        std::os::unix::fs::chown(dir.path("other"), Some(65534), None).expect("given away");
        assert!(LogFile::open(&dir.path("log"), None).is_ok());
    }

    #[test]
    fn names_of_descriptors_are_recognized() {
        let check = |path: &str, fd| assert_eq!(descriptor(Path::new(path)), fd, "{path}");
        check("/dev/stdout", Some(1));
        check("/dev/stderr", Some(2));
        check("/dev/fd/7", Some(7));
        check("/proc/self/fd/12", Some(12));
        for other in ["/dev/fd", "/dev/fd/x", "/dev/fd/-1", "/dev/fd/7/x", "/dev/null", "dev/stderr", "/proc/1/fd/2"] {
            check(other, None);
        }
        let directory = Directory::new("descriptors");
        symlink("/dev/stderr", directory.path("first")).expect("linked");
        symlink("first", directory.path("second")).expect("linked");
        assert_eq!(descriptor_of(&directory.path("second")), Some(2));
        symlink("loop", directory.path("loop")).expect("linked");
        assert_eq!(descriptor_of(&directory.path("loop")), None);
    }

    #[test]
    fn mode_is_fixed() {
        let directory = Directory::new("mode");
        let path = directory.path("log");
        let mut log = LogFile::open(&path, None).expect("opened");
        let mode = || fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(), 0o640);
        fs::remove_file(&path).expect("removed");
        assert!(log.reopen().expect("reopened"));
        assert_eq!(mode(), 0o640);
        // That of a file that was there is left alone.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        assert!(log.reopen().expect("reopened"));
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn only_a_file_of_one_link_is_reopened() {
        let directory = Directory::new("links");
        let path = directory.path("log");
        let mut log = LogFile::open(&path, None).expect("opened");
        let mut check = |why: &str| {
            let error = log.reopen().expect_err("refused").to_string();
            let want = format!("cannot reopen log '{}': {why}; the old file stays open", path.display());
            assert_eq!(error, want);
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).expect("removed");
        };
        fs::hard_link(&path, directory.path("other")).expect("linked");
        check("it has 2 links");
        symlink("other", &path).expect("linked");
        check("it is a symbolic link");
        symlink("missing", &path).expect("linked");
        check("it is a symbolic link");
        fifo(&path);
        check("it is not a regular file");
        fifo(&path);
        let reader = sys::open_at(sys::open_directory(&directory.0).expect("open"), "log".as_ref(), libc::O_RDWR, 0);
        check("it is not a regular file");
        drop(reader);
        let _socket = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        check("it is not a regular file");
        fs::create_dir(&path).expect("a directory");
        check("it is a directory");
        assert!(!directory.path("missing").exists());
        assert!(log.reopen().expect("reopened"));
    }

    #[test]
    fn fifo_needs_no_reader_and_is_not_reopened() {
        let directory = Directory::new("fifo");
        fifo(&directory.path("fifo"));
        symlink("fifo", directory.path("log")).expect("linked");
        let mut log = LogFile::open(&directory.path("log"), None).expect("opened");
        assert_eq!(log.stream.write(b"line\n").expect("written"), 5);
        assert!(!log.reopen().expect("nothing to do"));
    }

    #[test]
    fn missing_target_of_a_symlink_is_created() {
        let directory = Directory::new("dangling");
        fs::create_dir(directory.path("data")).expect("a directory");
        symlink("data/app.log", directory.path("log")).expect("linked");
        let mut log = LogFile::open(&directory.path("log"), None).expect("opened");
        fs::remove_file(directory.path("data/app.log")).expect("it was created");
        assert!(log.reopen().expect("reopened"));
        assert!(directory.path("data/app.log").is_file());
    }

    #[test]
    fn what_cannot_be_a_log_is_refused() {
        let directory = Directory::new("refused");
        let check = |name: &str, why: &str| {
            let path = directory.path(name);
            let error = LogFile::open(&path, None).err().expect("refused").to_string();
            assert_eq!(error, format!("cannot open log '{}': {why}", path.display()));
        };
        check("", "Is a directory");
        check("..", "Is a directory");
        check("missing/log", "No such file or directory");
        let error = LogFile::open(Path::new("/dev/fd/9999"), None).err().expect("refused").to_string();
        assert_eq!(error, "cannot open log '/dev/fd/9999': Bad file descriptor");
    }
}
