//! Another version of our own program in our place: it first proves, as a child that is given our state, that it can
//! take over.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{self, Path, PathBuf};
use std::process::{self, ExitStatus};
use std::slice;
use std::time::{Duration, Instant};

use crate::error::{Quoted, Reason};
use crate::fleet::note::Ended;
use crate::sys::{self, CStrings, Exec, Launch, Pid, Progress};
use crate::takeover::handover::{self, State};

/// How long the proof may take.
const TIME: Duration = Duration::from_secs(10);

/// So many bytes of its output are enough.
const ENOUGH: usize = 16_384;

/// Our program, and the way to its next version.
pub(crate) struct Upgrade {
    program: PathBuf,
    /// With the name in front.
    arguments: Vec<OsString>,
    stage: Stage,
}

enum Stage {
    None,
    /// It was asked for.
    Wanted,
    /// A child shows whether it can take over.
    Proving {
        child: Launch,
        output: Option<File>,
        said: Vec<u8>,
        until: Instant,
    },
    /// It can.
    Proven,
}

impl Upgrade {
    /// For a process with these arguments, which has not left its working directory.
    pub(crate) fn new(arguments: Vec<OsString>) -> Self {
        let called = arguments.first().map(OsString::as_os_str).unwrap_or_default();
        Upgrade { program: own_program(called), arguments, stage: Stage::None }
    }

    /// SIGUSR2 has come.
    pub(crate) fn ask(&mut self) {
        if matches!(self.stage, Stage::None) {
            self.stage = Stage::Wanted;
        }
    }

    /// A stop has begun: nothing is taken over any more.
    pub(crate) fn cancel(&mut self) {
        if let Stage::Proving { child, .. } = &self.stage {
            let _ = sys::signal_group(child.pid, libc::SIGKILL);
        }
        self.stage = Stage::None;
    }

    /// Whether it waits for the workers to be settled.
    pub(crate) fn is_wanted(&self) -> bool {
        matches!(self.stage, Stage::Wanted)
    }

    pub(crate) fn is_proven(&self) -> bool {
        matches!(self.stage, Stage::Proven)
    }

    /// The output of the child.
    pub(crate) fn output(&self) -> Option<&File> {
        match &self.stage {
            Stage::Proving { output, .. } => output.as_ref(),
            Stage::None | Stage::Wanted | Stage::Proven => None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Proving { until, .. } => Some(until),
            Stage::None | Stage::Wanted | Stage::Proven => None,
        }
    }

    /// Starts the child. It finds the listening socket as [`sys::KEPT`].
    pub(crate) fn prove(&mut self, state: &State, listener: BorrowedFd<'_>) {
        self.stage = match self.start(&State { listener: Some(sys::KEPT), ..state.clone() }, listener) {
            Ok((child, output)) => {
                Stage::Proving { child, output: Some(output), said: Vec::new(), until: Instant::now() + TIME }
            }
            Err(error) => {
                self.refuse(&format!("cannot start {}: {}", Quoted(self.program.as_os_str()), Reason(&error)));
                Stage::None
            }
        };
    }

    fn start(&self, state: &State, listener: BorrowedFd<'_>) -> io::Result<(Launch, File)> {
        let (output, its_end) = sys::pipe()?;
        let nothing = File::open("/dev/null")?;
        let (program, arguments, environment) = self.words(state);
        let signals = state.caller_signals().restoration();
        let exec = Exec {
            programs: slice::from_ref(&program),
            searched: None,
            arguments: &arguments,
            environment: &environment,
            stdin: nothing.as_fd(),
            output: Some([its_end.as_fd(); 2]),
            privileges: None,
            signals: &signals,
            death_signal: None,
            kept: Some(listener),
        };
        let child = sys::launch(&exec).map_err(|failure| failure.error())?;
        Ok((child, output.into()))
    }

    /// What is executed, with which arguments and environment.
    fn words(&self, state: &State) -> (CString, CStrings, CStrings) {
        let string = |string: OsString| CString::new(string.into_vec()).unwrap_or_default();
        let mut variable = OsString::from(handover::VARIABLE);
        variable.push("=");
        let mut environment = sys::environment();
        environment.retain(|other| !other.to_bytes().starts_with(variable.as_bytes()));
        variable.push(state.variable());
        environment.push(string(variable));
        let arguments = self.arguments.iter().cloned().map(string).collect();
        (string(self.program.clone().into()), CStrings::new(arguments), CStrings::new(environment))
    }

    /// Reads what the child prints, until it has closed its end.
    pub(crate) fn listen(&mut self) {
        let Stage::Proving { output, said, .. } = &mut self.stage else { return };
        let mut bytes = [0; 4096];
        match output.as_mut().map(|output| output.read(&mut bytes)) {
            Some(Ok(count @ 1..)) if said.len() < ENOUGH => said.extend_from_slice(&bytes[..count]),
            Some(Ok(1..)) => {}
            Some(Ok(0) | Err(_)) | None => *output = None,
        }
    }

    /// Kills the child when it takes too long.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.deadline().is_some_and(|until| now >= until) {
            self.cancel();
            self.refuse(&format!("it did not prove within {}s that it can", TIME.as_secs()));
        }
    }

    /// A child ended: whether it was this one.
    pub(crate) fn ended(&mut self, ended: Pid, status: ExitStatus) -> bool {
        match &self.stage {
            Stage::Proving { child, .. } if child.pid == ended => {}
            _ => return false,
        }
        // It may have left processes, which have our socket; what they have printed by now is all that is read.
        let _ = sys::signal_group(ended, libc::SIGKILL);
        for _ in 0..ENOUGH / 4096 {
            if !self.output().is_some_and(sys::is_readable) {
                break;
            }
            self.listen();
        }
        let Stage::Proving { child, said, .. } = &mut self.stage else { return false };
        let failure = match child.progress() {
            Progress::Failed(failure) => Some(failure.error()),
            _ => None,
        };
        let said = String::from_utf8_lossy(said).into_owned();
        self.stage = Stage::None;
        if let Some(error) = failure {
            self.refuse(&format!("cannot execute {}: {}", Quoted(self.program.as_os_str()), Reason(&error)));
        } else if status.success() && said == handover::proof(process::id()) {
            self.stage = Stage::Proven;
        } else {
            let last = said.lines().last().map(|line| format!(": {}", Quoted(OsStr::new(line)))).unwrap_or_default();
            self.refuse(&format!("it {}{last}", Ended(status)));
        }
        true
    }

    /// Executes the program in our place; returns only if that fails.
    pub(crate) fn take_place(&mut self, state: &State) {
        self.stage = Stage::None;
        let (program, arguments, environment) = self.words(state);
        let error = sys::replace(&program, &arguments, &environment);
        self.refuse(&format!("cannot execute {}: {}", Quoted(self.program.as_os_str()), Reason(&error)));
    }

    fn refuse(&self, why: &str) {
        log::error!("the new program does not take over, we go on: {why}");
    }
}

/// Where to find our next version: the path we were called by, so that a symlink may lead elsewhere then, or the file
/// that we are.
fn own_program(called: &OsStr) -> PathBuf {
    let identity = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    let us = identity(Path::new("/proc/self/exe"));
    let is_us = |path: &PathBuf| us.is_some() && identity(path) == us;
    let named = match called.as_bytes().contains(&b'/') {
        true => path::absolute(called).ok().filter(is_us),
        false => {
            let folders = env::var_os("PATH").unwrap_or_default();
            env::split_paths(&folders).map(|folder| folder.join(called)).find(is_us)
        }
    };
    named.or_else(|| env::current_exe().ok()).unwrap_or_else(|| called.into())
}
