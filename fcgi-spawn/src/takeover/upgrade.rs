//! Another version of our own program in our place: it first proves, as a child that is given our state, that it can
//! take over.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{self, ExitStatus};
use std::time::{Duration, Instant};

use crate::error::{Quoted, Reason};
use crate::fleet::note::Ended;
use crate::handover::{self, Handover};
use crate::process::program;
use crate::sys::{self, CStrings, Fork, Pid};

/// How long all may take from SIGUSR2 on: workers that are starting or stopping are waited for.
const TIME: Duration = Duration::from_secs(20);

/// How much of its output is read: the last line of it is why it cannot.
const ENOUGH: u64 = 16_384;

/// Our program, and the way to its next version.
pub(crate) struct Upgrade {
    program: CString,
    /// With the name in front.
    arguments: CStrings,
    pub(crate) stage: Stage,
    until: Instant,
}

pub(crate) enum Stage {
    None,
    /// SIGUSR2 has come.
    Wanted,
    /// A child shows, by what it prints, whether it can take over.
    Proving(Pid, File),
    /// It can.
    Proven,
}

impl Upgrade {
    /// For a process with these arguments, which has not left its working directory.
    pub(crate) fn new(arguments: Vec<OsString>) -> Self {
        let string = |string: OsString| CString::new(string.into_vec()).unwrap_or_default();
        let program = program::own(arguments.first().map(OsString::as_os_str).unwrap_or_default());
        let arguments = CStrings::new(arguments.into_iter().map(string).collect());
        Upgrade { program: string(program.into()), arguments, stage: Stage::None, until: Instant::now() }
    }

    /// SIGUSR2 has come.
    pub(crate) fn ask(&mut self) {
        if let Stage::None = self.stage {
            (self.stage, self.until) = (Stage::Wanted, Instant::now() + TIME);
        }
    }

    /// A stop has begun: nothing is taken over any more.
    pub(crate) fn cancel(&mut self) {
        if let Stage::Proving(child, _) = self.stage {
            let _ = sys::signal_group(child, libc::SIGKILL);
        }
        self.stage = Stage::None;
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        (!matches!(self.stage, Stage::None)).then_some(self.until)
    }

    /// Does the next step, with the descriptors of `state` surviving an exec.
    pub(crate) fn go_on(&mut self, state: &Handover) {
        self.stage = match self.stage {
            Stage::Wanted => self.prove(state).unwrap_or_else(|error| self.refuse(&Reason(&error).to_string())),
            _ => self.refuse(&self.execute(&state.variable())),
        };
    }

    /// Starts the child.
    fn prove(&self, state: &Handover) -> io::Result<Stage> {
        // It has our pid, so it is written before the fork.
        let ((output, its_end), variable) = (sys::pipe()?, state.variable());
        if let Fork::Parent(child) = sys::fork_group(File::open("/dev/null")?, its_end)? {
            return Ok(Stage::Proving(child, output.into()));
        }
        eprintln!("{}", self.execute(&variable));
        process::exit(127)
    }

    /// Gives up when it takes too long.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.deadline().is_some_and(|until| now >= until) {
            self.cancel();
            let why = "it is slow, or workers were starting and stopping all the time";
            self.refuse(&format!("not within {}s: {why}", TIME.as_secs()));
        }
    }

    /// A child ended: whether it was this one.
    pub(crate) fn ended(&mut self, ended: Pid, status: ExitStatus) -> bool {
        let Stage::Proving(child, output) = &mut self.stage else { return false };
        if *child != ended {
            return false;
        }
        // It may have left processes, which have our socket; what they have printed by now is all that is read.
        let _ = sys::signal_group(ended, libc::SIGKILL);
        let mut said = Vec::new();
        let _ = output.take(ENOUGH).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().last().map(|line| format!(": {}", Quoted(OsStr::new(line))));
        self.stage = match status.success() && said == handover::PROOF {
            true => Stage::Proven,
            false => self.refuse(&format!("it {}{}", Ended(status), last.unwrap_or_default())),
        };
        true
    }

    /// Becomes the program; returns only why it cannot.
    fn execute(&self, variable: &str) -> String {
        let name = format!("{}=", handover::VARIABLE);
        let mut environment = sys::environment();
        environment.retain(|other| !other.to_bytes().starts_with(name.as_bytes()));
        environment.push(CString::new(name + variable).unwrap_or_default());
        let error = sys::replace(&self.program, &self.arguments, &CStrings::new(environment));
        format!("cannot execute {}: {}", Quoted(OsStr::from_bytes(self.program.as_bytes())), Reason(&error))
    }

    fn refuse(&self, why: &str) -> Stage {
        log::error!("the new program does not take over, we go on: {why}");
        Stage::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers that are never all up or gone keep it waiting, but not without end.
    #[test]
    fn it_is_not_waited_for_without_end() {
        let mut upgrade = Upgrade::new(vec!["fcgi-spawn".into()]);
        assert_eq!(upgrade.deadline(), None);
        upgrade.ask();
        let until = upgrade.deadline().expect("it waits");
        upgrade.tick(until - Duration::from_millis(1));
        assert!(matches!(upgrade.stage, Stage::Wanted));
        upgrade.tick(until);
        assert!(matches!(upgrade.stage, Stage::None));
    }
}
