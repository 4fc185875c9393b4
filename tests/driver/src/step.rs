//! One step of the run, and what came of it.

use std::time::Duration;

use crate::context::Context;

/// A part of the run that can be named, run and repeated by itself.
pub(crate) struct Step {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it shows, in a few words.
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// Steps that come first, and are run with it.
    pub(crate) needs: &'static [&'static str],
    /// How many processors it keeps busy: 0 if it mostly waits.
    pub(crate) weight: usize,
    /// A directory or another thing that only one step uses at a time.
    pub(crate) lock: Option<&'static str>,
    pub(crate) run: fn(&Context, &Order) -> Outcome,
}

/// When a step is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Always.
    Quick,
    /// In a whole run.
    Full,
    /// In a whole run, and by --static.
    Static,
    /// By --all-targets.
    AllTargets,
    /// When it is named: it takes long, or finds out something.
    Named,
}

/// What is asked of one step.
pub(crate) struct Order {
    /// The step's name, also that of its log.
    pub(crate) step: &'static str,
    /// Arguments for its tests.
    pub(crate) filter: Vec<String>,
    /// Whether the whole run has tested as root, so that only what depends on privileges is repeated.
    pub(crate) whole: bool,
}

/// What came of a step: counts, and what is to be said of failures.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failures: Vec<Failure>,
    /// What was not run, and why.
    pub(crate) skips: Vec<(String, String)>,
    /// The slowest tests first.
    pub(crate) times: Vec<(Duration, String)>,
}

/// Something that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The test; `None` if it is the step itself.
    pub(crate) test: Option<String>,
    /// Its own output, or the end of the step's.
    pub(crate) output: String,
}

impl Outcome {
    /// One thing that was to be shown, and holds.
    pub(crate) fn passed() -> Self {
        Outcome { passed: 1, ..Outcome::default() }
    }

    /// The step itself failed.
    pub(crate) fn failed(output: impl Into<String>) -> Self {
        Outcome { failures: vec![Failure { test: None, output: output.into() }], ..Outcome::default() }
    }

    /// It cannot be run here.
    pub(crate) fn skipped(step: &str, why: impl Into<String>) -> Self {
        Outcome { skips: vec![(step.to_owned(), why.into())], ..Outcome::default() }
    }

    /// Both.
    pub(crate) fn and(mut self, other: Outcome) -> Self {
        self.passed += other.passed;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
        self.times.extend(other.times);
        self
    }
}
