//! The command line.

use std::ffi::OsString;

use lexopt::{Arg, ValueExt};

pub(crate) const HELP: &str = "\
Usage: tests/run [options] [STEP...] [-- FILTER...]

Runs all steps of the test run, or the ones that are named, side by side.

  --quick          the inner loop: no web servers, packages, static programs,
                   fuzzing, other toolchains and load
  --static         only the static programs: x86_64 and i686, as if on Linux 3.2
  --all-targets    only the static programs of every target, under qemu; for one
                   of them name its step
  --failed         the steps and tests that failed in the run before
  --install        installs missing packages first (as root, on Debian or Ubuntu)
  --list           lists the steps
  -j, --jobs N     how many steps run side by side (default: twice the processors)
  -h, --help       prints this help

What follows -- is passed to the tests of the named steps: parts of names, and
--exact or --skip NAME.

Exit status: 0 if nothing failed, 1 if something did, 2 for a wrong command line.
";

/// What is to be run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) help: bool,
    pub(crate) list: bool,
    pub(crate) set: Set,
    pub(crate) failed: bool,
    pub(crate) install: bool,
    pub(crate) jobs: Option<usize>,
    pub(crate) steps: Vec<String>,
    pub(crate) filter: Vec<String>,
}

/// A choice of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Set {
    #[default]
    All,
    Quick,
    Static,
    AllTargets,
}

impl Options {
    /// Reads the arguments, with the program's own name in front.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let end = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
        let mut options = Options::default();
        for word in arguments.iter().skip(end + 1) {
            options.filter.push(word.to_str().ok_or("a FILTER is not UTF-8")?.to_owned());
        }
        let mut parser = lexopt::Parser::from_iter(arguments[..end].iter());
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            match argument {
                Arg::Long("quick") => options.choose(Set::Quick)?,
                Arg::Long("static") => options.choose(Set::Static)?,
                Arg::Long("all-targets") => options.choose(Set::AllTargets)?,
                Arg::Long("failed") => options.failed = true,
                Arg::Long("install") => options.install = true,
                Arg::Long("list") => options.list = true,
                Arg::Short('j') | Arg::Long("jobs") => {
                    let jobs = parser.value().and_then(|value| value.parse()).map_err(|error| error.to_string())?;
                    options.jobs = Some(jobs).filter(|jobs| *jobs > 0);
                }
                Arg::Short('h') | Arg::Long("help") => options.help = true,
                Arg::Value(step) => options.steps.push(step.string().map_err(|error| error.to_string())?),
                other => return Err(other.unexpected().to_string()),
            }
        }
        let chosen = options.set != Set::All;
        if (chosen || options.failed) && !options.steps.is_empty() || chosen && options.failed {
            return Err("--quick, --static, --all-targets, --failed and the names of steps exclude each other".into());
        }
        if !options.filter.is_empty() && options.steps.is_empty() {
            return Err("a FILTER needs the names of steps: see tests/run --list".into());
        }
        Ok(options)
    }

    fn choose(&mut self, set: Set) -> Result<(), String> {
        if self.set != Set::All && self.set != set {
            return Err("--quick, --static and --all-targets exclude each other".into());
        }
        self.set = set;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(["tests/run"].into_iter().chain(line.split_whitespace()).map(OsString::from))
    }

    #[test]
    fn reads_steps_and_a_filter() {
        let options = parse("unit black-box -j 3 -- hello:: --skip echo").expect("a good line");
        assert_eq!(options.steps, ["unit", "black-box"]);
        assert_eq!(options.filter, ["hello::", "--skip", "echo"]);
        assert_eq!((options.jobs, options.set), (Some(3), Set::All));
    }

    #[test]
    fn refuses_what_excludes_each_other() {
        for line in ["--quick --static", "--quick unit", "--failed unit", "-- filter", "--nonsense", "-j x"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert_eq!(parse("--quick --quick").map(|options| options.set), Ok(Set::Quick));
    }
}
