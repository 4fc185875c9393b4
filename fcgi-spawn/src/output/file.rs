//! The file that `--log` names.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{self, Path, PathBuf};

use crate::Error;
use crate::error::{Quoted, Reason};
use crate::output::stream::Stream;
use crate::sys::{self, Handle, Status};

/// A log that was opened as the administrator named it, and is reopened only where it was found then.
///
/// Workers may be able to write to its directory: what is in the log's place later is not trusted.
pub(crate) struct LogFile {
    pub(crate) stream: Stream,
    path: PathBuf,
    /// The name of a regular file in its directory. Anything else is not reopened.
    place: Option<Place>,
    /// It is a descriptor that we were started with.
    is_given: bool,
}

/// A directory and a name in it.
type Place = (File, OsString);

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
        let is_given = matches!(found, Found::Descriptor(..));
        let (stream, place) = open_found(found, given).map_err(failed)?;
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
    let failed = |error| Error::io("open log", path, &error);
    match path::absolute(path).map(|path| find(&path)) {
        Ok(Found::Descriptor(fd, stranger)) => own_descriptor(fd, stranger, None).map(Some).map_err(failed),
        // What cannot be found is reported when the log is opened.
        Ok(Found::Path(..)) | Err(_) => Ok(None),
    }
}

/// What a path leads to; and the owner of a symlink on the way, if that is neither root nor our user. A worker may have
/// made such a link before the start.
enum Found {
    Descriptor(RawFd, Option<u32>),
    /// No symlink, at that moment.
    Path(PathBuf, Option<u32>),
}

/// Follows the symlinks of a path's last component.
fn find(path: &Path) -> Found {
    let (mut path, mut stranger) = (path.to_owned(), None);
    for _ in 0..LogFile::LINKS {
        if let Some(fd) = descriptor(&path) {
            return Found::Descriptor(fd, stranger);
        }
        let (Some(parent), Some((target, owner))) = (path.parent(), link(&path)) else { break };
        let target = parent.join(target);
        if is_in_proc(&path) && fs::symlink_metadata(&target).is_err() {
            break;
        }
        stranger = stranger.or(Some(owner).filter(|owner| ![0, sys::ids().0].contains(owner)));
        path = target;
    }
    Found::Path(path, stranger)
}

/// Where a symlink leads, and its owner: both of one link, whatever takes its place meanwhile.
fn link(path: &Path) -> Option<(PathBuf, u32)> {
    let directory = sys::open_directory(path.parent()?).ok()?;
    let link = sys::open_at(directory, path.file_name()?, libc::O_PATH | libc::O_NOFOLLOW, 0).ok()?;
    let link = Handle::from(OwnedFd::from(link));
    let target = OsString::from_vec(link.read_link().ok()?.into_bytes());
    Some((target.into(), link.status().ok()?.uid))
}

/// What has no name, such as the pipe of another process, is where its link in /proc leads all the same.
fn is_in_proc(path: &Path) -> bool {
    path.starts_with("/proc")
}

/// Opens what was found for the first time. `given` is the descriptor to use in place of a descriptor's number.
fn open_found(found: Found, given: Option<OwnedFd>) -> io::Result<(Stream, Option<Place>)> {
    let (real, stranger) = match found {
        Found::Descriptor(fd, stranger) => {
            return Ok((Stream::shared(own_descriptor(fd, stranger, given)?)?, None));
        }
        Found::Path(real, stranger) => (real, stranger),
    };
    let (Some(directory), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    };
    let directory = sys::open_directory(directory)?;
    let file = match stranger {
        Some(stranger) => open_of(stranger, &directory, name)?,
        None => open(&directory, name, if is_in_proc(&real) { 0 } else { libc::O_NOFOLLOW })?,
    };
    let metadata = file.metadata()?;
    // A worker may have given another file this name before the start.
    if metadata.is_file() && metadata.nlink() > 1 {
        return Err(io::Error::other(format!("the file has {} names", metadata.nlink())));
    }
    let stream = Stream::own(file)?;
    let place = stream.is_regular().then(|| (directory, name.to_owned()));
    Ok((stream, place))
}

/// `given`, or else a copy of this descriptor, unless another user's symlink leads to it.
fn own_descriptor(fd: RawFd, stranger: Option<u32>, given: Option<OwnedFd>) -> io::Result<OwnedFd> {
    match stranger {
        Some(stranger) => Err(leads_to(stranger, "a descriptor of ours")),
        None => given.map_or_else(|| sys::duplicate(fd), Ok),
    }
}

fn leads_to(stranger: u32, what: &str) -> io::Error {
    io::Error::other(format!("a symlink of uid {stranger} leads to {what}"))
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

/// Opens a log for the first time. `no_follow` is `O_NOFOLLOW` unless what has this name is to be followed.
fn open(directory: &File, name: &OsStr, no_follow: i32) -> io::Result<File> {
    let open = |flags| sys::open_at(directory, name, flags | no_follow, LogFile::MODE);
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

/// Opens a log to which a symlink of this user leads: a regular file of the same user. Nothing else is opened or created.
fn open_of(stranger: u32, directory: &File, name: &OsStr) -> io::Result<File> {
    let seen = match sys::open_at(directory, name, libc::O_PATH | libc::O_NOFOLLOW, 0) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(leads_to(stranger, "no file")),
        seen => Status::of(seen?)?,
    };
    if !seen.is_regular() {
        return Err(leads_to(stranger, "something else than a regular file"));
    }
    if seen.uid != stranger {
        return Err(leads_to(stranger, "a file of another user"));
    }
    let file = sys::open_at(directory, name, LogFile::FLAGS | libc::O_NOFOLLOW, 0)?;
    match Status::of(&file)?.identity == seen.identity {
        true => Ok(file),
        false => Err(leads_to(stranger, "a file that was replaced meanwhile")),
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

    fn pipe() -> (File, OwnedFd) {
        let (reader, writer) = sys::pipe().expect("a pipe");
        (reader.into(), writer)
    }

    /// What was written to a pipe. It may not have ended: a child of another test has a copy of the other end until it
    /// executes its program.
    fn written(reader: &mut File) -> String {
        let mut bytes = Vec::new();
        match io::Read::read_to_end(reader, &mut bytes) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
            _ => String::from_utf8(bytes).expect("text"),
        }
    }

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
        let (mut reader, writer) = pipe();
        let path = format!("/proc/{}/fd/{}", std::process::id(), writer.as_fd().as_raw_fd());
        let mut log = LogFile::open(Path::new(&path), None).expect("opened");
        assert!(!log.reopen().expect("it stays"));
        log.stream.write(b"line\n").expect("written");
        drop((log, writer));
        assert_eq!(written(&mut reader), "line\n");
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

    const STRANGER: u32 = 65534;

    /// Makes a symlink of another user; `None` if we may not.
    fn stranger_link(target: impl AsRef<Path>, link: &Path) -> Option<()> {
        if sys::ids().0 != 0 {
            return None; // Only root can give a link away.
        }
        symlink(target, link).expect("linked");
        std::os::unix::fs::lchown(link, Some(STRANGER), None).expect("given away");
        Some(())
    }

    #[track_caller]
    fn check_refused(path: &Path, why: &str) {
        let refused = LogFile::open(path, None).err().expect("refused").to_string();
        assert_eq!(
            refused,
            format!("cannot open log '{}': a symlink of uid {STRANGER} leads to {why}", path.display())
        );
    }

    #[test]
    fn symlink_of_another_user_leads_to_files_of_that_user_only() {
        let dir = Directory::new("stranger");
        let (log, other) = (dir.path("log"), dir.path("other"));
        fs::write(&other, "precious").expect("written");
        let Some(()) = stranger_link("other", &log) else { return };
        check_refused(&log, "a file of another user");
        std::os::unix::fs::chown(&other, Some(STRANGER), None).expect("given away");
        let mut opened = LogFile::open(&log, None).expect("opened");
        assert_eq!(opened.stream.write(b"line\n").expect("written"), 5);
        assert_eq!(fs::read(&other).expect("read"), b"preciousline\n");
    }

    #[test]
    fn symlink_of_another_user_leads_to_no_descriptor_of_ours() {
        let dir = Directory::new("stranger-descriptor");
        let (mut reader, writer) = pipe();
        let log = dir.path("log");
        let Some(()) = stranger_link(format!("/proc/self/fd/{}", writer.as_raw_fd()), &log) else { return };
        check_refused(&log, "a descriptor of ours");
        let refused = given(&log).expect_err("refused").to_string();
        assert!(refused.ends_with("a symlink of uid 65534 leads to a descriptor of ours"), "{refused}");
        // Nor behind a link of root's.
        symlink("log", dir.path("second")).expect("linked");
        check_refused(&dir.path("second"), "a descriptor of ours");
        drop(writer);
        assert_eq!(written(&mut reader), "");
    }

    #[test]
    fn symlink_of_another_user_has_no_file_created() {
        let dir = Directory::new("stranger-missing");
        let Some(()) = stranger_link("missing", &dir.path("log")) else { return };
        check_refused(&dir.path("log"), "no file");
        assert!(!dir.path("missing").exists());
    }

    #[test]
    fn symlink_of_another_user_leads_to_regular_files_only() {
        let dir = Directory::new("stranger-fifo");
        let Some(()) = stranger_link("fifo", &dir.path("log")) else { return };
        fifo(&dir.path("fifo"));
        std::os::unix::fs::chown(dir.path("fifo"), Some(STRANGER), None).expect("given away");
        check_refused(&dir.path("log"), "something else than a regular file");
        stranger_link("/dev/null", &dir.path("device")).expect("linked");
        check_refused(&dir.path("device"), "something else than a regular file");
        let (_reader, writer) = pipe();
        let pipe = format!("/proc/{}/fd/{}", std::process::id(), writer.as_raw_fd());
        stranger_link(pipe, &dir.path("pipe")).expect("linked");
        check_refused(&dir.path("pipe"), "something else than a regular file");
    }

    #[test]
    fn symlink_that_appears_after_the_look_is_not_followed() {
        let dir = Directory::new("late");
        let Found::Path(real, None) = find(&dir.path("log")) else { panic!("it is no link yet") };
        symlink("victim", dir.path("log")).expect("linked");
        let error = open_found(Found::Path(real, None), None).err().expect("refused");
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
        assert!(!dir.path("victim").exists());
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
        assert!(matches!(find(&directory.path("second")), Found::Descriptor(2, None)));
        symlink("loop", directory.path("loop")).expect("linked");
        assert!(matches!(find(&directory.path("loop")), Found::Path(_, None)));
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
