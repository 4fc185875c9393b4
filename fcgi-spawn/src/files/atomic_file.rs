//! A small file that its readers find whole or not at all: each new content is written beside it and renamed into place.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::files::place::{Place, not_regular, twice};
use crate::sys::{self, Status};

/// What the name of a temporary file has behind the name of the file; then 16 digits follow.
const INFIX: &str = ".fcgi-spawn-";

/// How often a temporary file that disappears is made anew.
const TRIES: usize = 3;

/// The permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileMode {
    /// 0644, whatever the umask.
    Exact,
    /// 0644, less the umask.
    LessUmask,
}

impl FileMode {
    const BITS: u32 = 0o644;
}

/// A regular file that we write, removed when this is dropped, unless another took its place.
pub(crate) struct AtomicFile {
    place: Place,
    mode: FileMode,
    /// The next content, as long as it is not complete.
    next: Option<Temporary>,
    /// What we have put there, with its device and inode. Open, so that the kernel gives that to no other file.
    current: Option<(File, (u64, u64))>,
}

impl AtomicFile {
    /// Refuses at once what cannot be written, or exists and is not a regular file. What exists stays for now.
    ///
    /// The temporary files that a killed predecessor left are removed.
    pub(crate) fn new(place: Place, mode: FileMode) -> io::Result<Self> {
        if place.status()?.is_some_and(|there| !there.is_regular()) {
            return Err(not_regular());
        }
        remove_leftovers(&place);
        let next = Temporary::new(&place, mode)?;
        Ok(AtomicFile { place, mode, next: Some(next), current: None })
    }

    /// The file that a predecessor wrote, if its content is this.
    ///
    /// # Errors
    ///
    /// It cannot be known; one that is missing or not ours is no error.
    pub(crate) fn adopt(place: Place, mode: FileMode, content: &[u8]) -> io::Result<Self> {
        let mut current = None;
        if place.status()?.is_some_and(|there| there.is_regular()) {
            let (file, mut found) = (place.open()?, Vec::new());
            (&file).take(content.len() as u64 + 1).read_to_end(&mut found)?;
            let status = Status::of(&file)?;
            let is_ours = found == content && belongs_to_us(&status);
            current = is_ours.then_some((file, status.identity));
        }
        Ok(AtomicFile { place, mode, next: None, current })
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// As it was named.
    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Writes a new content. Whatever is there is replaced and neither followed nor opened.
    pub(crate) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let mut last = Err(io::Error::other("another process replaces it"));
        for _ in 0..TRIES {
            let mut next = match self.next.take() {
                Some(next) => next,
                None => Temporary::new(&self.place, self.mode)?,
            };
            match next.file.write_all(content).and_then(|()| self.place.replace_by(&next.place)) {
                Ok(()) if self.place.has(next.identity) => {
                    self.current = Some((next.file, next.identity));
                    return Ok(());
                }
                // Another process has put something else there: a new file replaces that.
                Ok(()) => {}
                // Another process has removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => last = Err(error),
                Err(error) => {
                    next.remove();
                    return Err(error);
                }
            }
        }
        last
    }

    /// Leaves the file where it is.
    pub(crate) fn keep(&mut self) {
        self.current = None;
    }

    /// Leaves everything to another process that has it too.
    pub(crate) fn leave(&mut self) {
        (self.next, self.current) = (None, None);
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        self.next.take().into_iter().for_each(Temporary::remove);
        if let Some((file, identity)) = self.current.take() {
            // A file on NFS that is open would leave another name.
            drop(file);
            self.place.remove_file(identity);
        }
    }
}

/// A new file beside another one. It is locked, so that no other launcher takes it for a leftover.
struct Temporary {
    place: Place,
    file: File,
    identity: (u64, u64),
}

impl Temporary {
    fn new(beside: &Place, mode: FileMode) -> io::Result<Self> {
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let place = beside.with_suffix(&format!("{INFIX}{:016x}", sys::unguessable()))?;
            let flags = libc::O_CREAT | libc::O_EXCL;
            let file = match place.open_to_write(flags, FileMode::BITS) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && tries > 0 => continue,
                opened => opened?,
            };
            let status = twice(|| Status::of(&file)).inspect_err(|_| drop(place.remove()))?;
            if mode == FileMode::Exact && status.mode & 0o7777 != FileMode::BITS {
                // A file system without permissions refuses.
                let _ = file.set_permissions(Permissions::from_mode(FileMode::BITS));
            }
            let temporary = Temporary { place, file, identity: status.identity };
            let is_found = match sys::try_lock(&temporary.file) {
                // Another launcher that just starts takes it for a leftover.
                Ok(locked) => locked && temporary.place.has(temporary.identity),
                // Where there are no locks, leftovers stay.
                Err(_) => true,
            };
            if is_found || tries == 0 {
                return Ok(temporary);
            }
            temporary.remove();
        }
    }

    fn remove(self) {
        self.place.remove_file(self.identity);
    }
}

/// Removes temporary files of processes that were killed: regular files of ours with one name that no process has locked.
fn remove_leftovers(place: &Place) {
    for suffix in place.longer_names().filter(|suffix| is_of_temporary(suffix)) {
        let Ok(leftover) = place.with_suffix(&suffix) else { continue };
        let Ok(Some(status)) = leftover.status() else { continue };
        if !status.is_regular() {
            continue;
        }
        let Ok(file) = leftover.open_to_write(0, 0) else { continue };
        let Ok(status) = Status::of(&file) else { continue };
        if belongs_to_us(&status) && sys::try_lock(&file).unwrap_or(false) {
            leftover.remove_file(status.identity);
        }
    }
}

fn is_of_temporary(suffix: &str) -> bool {
    let digits = suffix.strip_prefix(INFIX).unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn belongs_to_us(status: &Status) -> bool {
    status.is_regular() && status.uid == sys::ids().0 && status.has_one_name
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;
    use crate::files::scratch::{Scratch, names_in};

    fn file(path: &Path) -> AtomicFile {
        AtomicFile::new(Place::of(path).expect("a directory"), FileMode::Exact).expect("may be written")
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).expect("read")
    }

    #[test]
    fn is_whole_has_its_mode_and_is_removed() {
        let scratch = Scratch::new();
        let path = scratch.path("page");
        let mut page = file(&path);
        assert!(!path.exists());
        for text in ["one", "another"] {
            page.write(text.as_bytes()).expect("written");
            assert_eq!((read(&path), scratch.names()), (text.into(), vec!["page".into()]));
        }
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o644);
        drop(page);
        assert_eq!(scratch.names(), [""; 0]);
    }

    #[test]
    fn leaves_what_it_did_not_write() {
        let scratch = Scratch::new();
        let path = scratch.path("page");
        fs::write(&path, "an older one").expect("written");
        drop(file(&path));
        assert_eq!(read(&path), "an older one");

        let mut page = file(&path);
        page.write(b"ours").expect("written");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "ours").expect("written");
        drop(page);
        assert_eq!((read(&path), scratch.names()), ("ours".into(), vec!["page".into()]));
    }

    #[test]
    fn replaces_links_and_fifos_and_follows_none() {
        let scratch = Scratch::new();
        let (path, canary) = (scratch.path("page"), scratch.path("canary"));
        fs::write(&canary, "precious").expect("written");
        let before = fs::metadata(&canary).expect("there");
        let mut page = file(&path);
        symlink(&canary, &path).expect("linked");
        page.write(b"1").expect("written");
        assert!(fs::symlink_metadata(&path).expect("there").is_file());

        fs::remove_file(&path).expect("removed");
        fs::hard_link(&canary, &path).expect("linked");
        page.write(b"2").expect("written");
        assert_eq!((read(&path), read(&canary)), ("2".into(), "precious".into()));

        fs::remove_file(&path).expect("removed");
        symlink(&canary, &path).expect("linked");
        drop(page);
        assert!(path.is_symlink());
        let after = fs::metadata(&canary).expect("there");
        assert_eq!((before.ino(), before.mode(), before.uid()), (after.ino(), after.mode(), after.uid()));
    }

    #[test]
    fn a_temporary_file_that_was_exchanged_is_made_anew() {
        let scratch = Scratch::new();
        let (path, canary) = (scratch.path("page"), scratch.path("canary"));
        fs::write(&canary, "precious").expect("written");
        let exchanges: [fn(&Path, &Path) -> io::Result<()>; 2] = [|_, _| Ok(()), |canary, path| symlink(canary, path)];
        for exchange in exchanges {
            let mut page = file(&path);
            let name = scratch.names().into_iter().find(|name| name.contains(INFIX)).expect("a temporary file");
            let temporary = scratch.path(&name);
            fs::remove_file(&temporary).expect("removed");
            exchange(&canary, &temporary).expect("exchanged");
            page.write(b"ours").expect("written");
            assert!(fs::symlink_metadata(&path).expect("there").is_file());
            assert_eq!((read(&path), read(&canary)), ("ours".into(), "precious".into()));
        }
        assert_eq!(scratch.names(), ["canary"]);
    }

    #[test]
    fn stays_in_the_directory_that_was_opened() {
        let scratch = Scratch::new();
        let [there, moved, others] = ["there", "moved", "others"].map(|name| scratch.path(name));
        [&there, &others].into_iter().for_each(|path| fs::create_dir(path).expect("made"));
        fs::write(others.join("page"), "precious").expect("written");
        let mut page = file(&there.join("page"));
        page.write(b"1").expect("written");
        fs::rename(&there, &moved).expect("moved");
        symlink(&others, &there).expect("linked");
        page.write(b"2").expect("written");
        assert_eq!(read(&moved.join("page")), "2");
        drop(page);
        assert_eq!((read(&others.join("page")), names_in(&others)), ("precious".into(), vec!["page".into()]));
        assert_eq!(names_in(&moved), [""; 0]);
    }

    #[test]
    fn removes_leftovers_but_nothing_in_use_and_nothing_of_others() {
        let scratch = Scratch::new();
        let (path, canary) = (scratch.path("page"), scratch.path("canary"));
        let name = |digit: &str| format!("page{INFIX}{}", digit.repeat(16));
        let leave = |digit: &str| {
            let path = scratch.path(&name(digit));
            fs::write(&path, "left").expect("written");
            path
        };
        leave("0");
        let locked = File::open(leave("1")).expect("open");
        assert!(sys::try_lock(&locked).expect("locked"));
        fs::write(&canary, "precious").expect("written");
        fs::hard_link(&canary, scratch.path(&name("2"))).expect("linked");
        symlink(&canary, scratch.path(&name("3"))).expect("linked");
        fs::create_dir(scratch.path(&name("4"))).expect("made");
        fs::write(scratch.path("page.fcgi-spawn-notes"), "").expect("written");
        fs::write(scratch.path("other.fcgi-spawn-0000000000000000"), "").expect("written");
        let mut want = vec!["canary".into(), "other.fcgi-spawn-0000000000000000".into()];
        want.extend(["1", "2", "3", "4"].map(name));
        want.push("page.fcgi-spawn-notes".into());
        if sys::ids().0 == 0 {
            std::os::unix::fs::chown(leave("5"), Some(65534), None).expect("given away");
            want.insert(6, name("5"));
        }
        let other = file(&scratch.path("other-page"));
        drop(file(&path));
        drop(other);
        assert_eq!(scratch.names(), want);
    }

    #[test]
    fn two_at_a_time_leave_each_other_alone() {
        let scratch = Scratch::new();
        let path = scratch.path("page");
        let (mut first, mut second) = (file(&path), file(&path));
        first.write(b"1").expect("written");
        second.write(b"2").expect("written");
        drop(first);
        assert_eq!(read(&path), "2");
        drop(second);
        assert_eq!(scratch.names(), [""; 0]);
    }
}
