//! Directories that did not exist.

use std::io;
use std::mem;
use std::path::{self, Path};

use crate::files::place::{Place, twice};

/// The directories we made, removed when this is dropped if nothing is in them.
#[derive(Default)]
pub(crate) struct Directories(Vec<Place>);

impl Directories {
    /// Makes all directories above `path` that do not exist; every user may enter them, but for the umask.
    pub(crate) fn above(path: &Path) -> io::Result<(Place, Self)> {
        let mut made = Vec::new();
        let place = Place::walk(path, Some(&mut made));
        // On an error those that were made before it are removed.
        let made = Directories(made.into_iter().map(Place::from).collect());
        place.map(|place| (place, made))
    }

    /// So many above `path`, which a predecessor made, as far as they are still there.
    pub(crate) fn adopt(path: &Path, count: usize) -> Self {
        let path = path::absolute(path).unwrap_or_default();
        let above = path.ancestors().skip(1).take(count);
        let made: Vec<_> = above.filter_map(|path| twice(|| Place::of(path)).ok()).collect();
        Directories(made.into_iter().rev().collect())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Removes those that are empty.
    pub(crate) fn remove(&mut self) {
        for place in mem::take(&mut self.0).iter().rev() {
            place.remove_directory();
        }
    }

    /// Leaves them where they are.
    pub(crate) fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::scratch::Scratch;

    fn above(path: &Path) -> io::Result<Directories> {
        Directories::above(path).map(|(_, made)| made)
    }

    #[test]
    fn removes_the_directories_it_made() {
        let scratch = Scratch::new();
        let there = scratch.path("there");
        fs::create_dir(&there).expect("a new directory");
        let made = above(&there.join("a/b/c")).expect("made");
        assert!(there.join("a/b").is_dir() && !there.join("a/b/c").exists());
        assert_eq!(made.count(), 2);
        drop(made);
        assert!(there.is_dir() && !there.join("a").exists());

        let made = above(&there.join("a/b/c")).expect("made");
        fs::write(there.join("a/kept"), "").expect("written");
        drop(made);
        assert!(there.join("a/kept").exists() && !there.join("a/b").exists());

        let error = above(&there.join("a/kept/b/c")).err().expect("refused");
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    }

    #[test]
    fn removes_what_it_made_wherever_it_was_moved_to() {
        let scratch = Scratch::new();
        let (there, moved) = (scratch.path("there"), scratch.path("moved"));
        fs::create_dir(&there).expect("a new directory");
        let made = above(&there.join("a/b")).expect("made");
        fs::rename(&there, &moved).expect("moved");
        fs::create_dir_all(there.join("a")).expect("another one in its place");
        drop(made);
        assert!(there.join("a").is_dir() && !moved.join("a").exists());
    }

    #[test]
    fn adopts_what_a_predecessor_made() {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path("a/b")).expect("made");
        drop(Directories::adopt(&scratch.path("a/b/c"), 2));
        assert!(!scratch.path("a").exists());
        fs::create_dir_all(scratch.path("a/b")).expect("made");
        drop(Directories::adopt(&scratch.path("a/b/c"), 1));
        assert!(scratch.path("a").exists() && !scratch.path("a/b").exists());
    }
}
