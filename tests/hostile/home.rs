//! The attacker's directory, and what it knows of others.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::Pid;

/// How long an attack lasts if `go` is not removed.
const LONGEST: Duration = Duration::from_secs(300);

/// How many processes are left behind at most.
const ORPHANS: usize = 24;

/// A directory of the attacker:
///
/// ```text
/// HOME/run         the directory of its supervisor's files
/// HOME/pool        hard links to root's files, as a kernel before Linux 3.6 lets it make them
/// HOME/loot        what was not refused to it, a line each
/// HOME/../go       there as long as it is to attack
/// HOME/../facts    NAME=VALUE: what is around it
/// ```
pub(crate) struct Home {
    path: PathBuf,
    begun: Instant,
}

impl Home {
    pub(crate) fn new(path: String) -> Self {
        Home { path: path.into(), begun: Instant::now() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory of the supervisor's files.
    pub(crate) fn run(&self) -> PathBuf {
        self.path("run")
    }

    /// All values of a name.
    pub(crate) fn facts(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path("../facts")).unwrap_or_default();
        let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        values.map(str::to_owned).collect()
    }

    pub(crate) fn pids(&self, name: &str) -> Vec<Pid> {
        self.facts(name).iter().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }

    /// A directory of root's.
    pub(crate) fn canary(&self) -> PathBuf {
        self.facts("canary").pop().unwrap_or_default().into()
    }

    pub(crate) fn loot(&self, what: &str) {
        if let Ok(mut file) = File::options().append(true).create(true).open(self.path("loot")) {
            let _ = file.write_all(format!("{what}\n").as_bytes());
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        !self.path("../go").exists() || self.begun.elapsed() > LONGEST
    }

    pub(crate) fn wait_for_the_beginning(&self) {
        while !self.path("../go").exists() && self.path.exists() && self.begun.elapsed() < LONGEST {
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn wait_for_the_end(&self) {
        while !self.is_over() {
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The claim to be the only one of its kind, with the pid in it; `None` if another process has it.
    pub(crate) fn claim(&self, name: &str) -> Option<OwnedFd> {
        let _ = fs::create_dir(self.path("claims"));
        let path = self.path("claims").join(name);
        let mut file = File::options().write(true).create(true).truncate(false).mode(0o600).open(path).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        let _ = file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        Some(file.into())
    }

    /// The pids of those that have claims.
    pub(crate) fn claimants(&self) -> Vec<Pid> {
        let Ok(entries) = fs::read_dir(self.path("claims")) else { return Vec::new() };
        let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        texts.filter_map(|text| Pid::from_raw(text.parse().ok()?)).collect()
    }

    /// Starts an attack in a process that outlives this one.
    pub(crate) fn start_process(&self, name: &str) {
        // Looked at in passing: the process itself makes sure.
        let claim = self.claim(name);
        if claim.is_some() {
            drop(claim);
            self.start(name);
        }
    }

    /// The same for processes that only hold what they have, of which there may be several.
    pub(crate) fn leave_orphan(&self, name: &str) {
        let _ = fs::create_dir(self.path("orphans"));
        let place = |number| self.path("orphans").join(format!("{number}"));
        if (0..ORPHANS).any(|number| File::create_new(place(number)).is_ok()) {
            self.start(name);
        }
    }

    fn start(&self, name: &str) {
        // With all that we have: stdin, stdout, stderr, and what has no close-on-exec flag.
        let mut command = Command::new(Path::new("/proc/self/exe"));
        command.stdin(Stdio::inherit()).arg(&self.path).args(["--as", name]);
        let _ = command.spawn();
    }
}
