//! What a run has changed outside the target directory, written down before it is changed: the next run undoes what a run
//! that was killed could not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{processes, requirements};

/// The changes of one run, and the file in which they are written down.
pub(crate) struct Restore {
    file: PathBuf,
    /// The temporary directory.
    run: PathBuf,
    /// Whether `policy-rc.d` is ours.
    policy: bool,
    /// The services that were enabled before packages were installed.
    services: Option<BTreeSet<String>>,
}

impl Restore {
    /// Undoes what earlier runs have left, then begins with this one, whose temporary directory is `run`.
    pub(crate) fn begin(folder: &Path, run: &Path) -> Result<Self, String> {
        for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name().into_string().unwrap_or_default();
            let Some(pid) = name.strip_prefix("restore.") else { continue };
            if is_test_driver(pid) {
                continue; // another run in this repository, at this moment
            }
            if let Some(mut old) = Self::read(&entry.path()) {
                println!("undoing what a run that was killed has left");
                old.end();
            }
            let _ = fs::remove_file(entry.path());
        }
        let file = folder.join(format!("restore.{}", std::process::id()));
        let restore = Restore { file, run: run.to_owned(), policy: false, services: None };
        restore.write()?;
        Ok(restore)
    }

    /// `policy-rc.d` is about to be written.
    pub(crate) fn policy(&mut self) -> Result<(), String> {
        self.policy = true;
        self.write()
    }

    /// Packages are about to be installed.
    pub(crate) fn services_before(&mut self, services: &BTreeSet<String>) -> Result<(), String> {
        self.services = Some(services.clone());
        self.write()
    }

    /// Removes `policy-rc.d`, and disables what packages have enabled.
    pub(crate) fn undo_installation(&mut self) -> Result<(), String> {
        let mut failed = Vec::new();
        if self.policy {
            failed.extend(requirements::remove_policy().err());
        }
        if let Some(before) = &self.services {
            // One service may have several links, of which the first command removes all.
            for link in requirements::services().difference(before).filter(|link| Path::new(link).is_symlink()) {
                failed.extend(requirements::disable(link).err());
            }
        }
        if failed.is_empty() {
            (self.policy, self.services) = (false, None);
            return self.write();
        }
        Err(failed.join("; "))
    }

    /// Undoes everything: packages stay.
    pub(crate) fn end(&mut self) {
        if let Err(error) = self.undo_installation() {
            println!("not undone: {error}");
        }
        if self.run.is_absolute() && self.run.exists() {
            processes::end_all(&self.run);
            let _ = fs::remove_dir_all(&self.run);
        }
        let _ = fs::remove_file(&self.file);
    }

    fn write(&self) -> Result<(), String> {
        let text = json!({ "run": self.run, "policy": self.policy, "services": self.services }).to_string();
        fs::write(&self.file, text).map_err(|error| format!("{}: {error}", self.file.display()))
    }

    fn read(file: &Path) -> Option<Self> {
        let value: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
        let services = value["services"]
            .as_array()
            .map(|links| links.iter().filter_map(|link| Some(link.as_str()?.to_owned())).collect::<BTreeSet<_>>());
        let run = PathBuf::from(value["run"].as_str()?);
        Some(Restore { file: file.to_owned(), run, policy: value["policy"] == true, services })
    }
}

/// Whether this pid is one of our kind; pids are given out again.
fn is_test_driver(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "test-driver")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_run_that_was_killed_is_undone_by_the_next() {
        let folder = tempfile::tempdir().expect("a directory");
        let old = folder.path().join("old");
        fs::create_dir(&old).expect("a directory");
        let mut left = Command::new("sleep").arg("1000").current_dir(&old).spawn().expect("sleep exists");
        let text = json!({ "run": old, "policy": false, "services": null }).to_string();
        // No process has this pid.
        fs::write(folder.path().join("restore.4194305"), text).expect("a file");
        let mut now = Restore::begin(folder.path(), &folder.path().join("new")).expect("it begins");
        assert!(!old.exists(), "the temporary directory is removed");
        assert!(!left.wait().expect("a child").success(), "its processes are ended");
        now.end();
        assert_eq!(fs::read_dir(folder.path()).expect("a directory").count(), 0);
    }
}
