//! `tests/inject`: makes system calls of the launcher fail, one after the other.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use fcgi_tests::inject::{self, Filter, Options, Scenario};
use lexopt::{Arg, Parser, ValueExt};

const HELP: &str = "\
Usage: tests/inject [options] [CASE...]

Makes the n-th call of each system call of fcgi-spawn fail, or sends a signal at
it, each in a run of its own, and reports every outage, hang, process or file
left, wrong success and loss without a report. It needs strace, and for all
cases root.

A CASE is SCENARIO[:CALL[:N[:ERROR]]], for instance life, life:openat or
kill:read:7:KILL; a part may be empty. Without any, all cases are run.

  --sample N       only N cases, spread over all
  --offset N       and others for each N
  -j, --jobs N     cases that run side by side (default: twice the processors)
  --patience N     seconds that a step may take (default 10)
  -v, --verbose    shows what the launcher writes in each case
  --list           lists the scenarios
  -h, --help       prints this help

FCGI_TEST_BIN_FCGI_SPAWN=FILE tests another build, such as a static one.
Exit status: 0 without faults, 1 with some, 2 for a wrong command line, 3 if
strace is missing or may not trace.
";

fn main() -> ExitCode {
    let options = match parse() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tests/inject: {error}");
            return ExitCode::from(2);
        }
    };
    if let Err(why) = inject::is_possible() {
        eprintln!("tests/inject: {why}");
        return ExitCode::from(3);
    }
    match inject::run(&options, &|line| eprintln!("{line}")) {
        Ok(summary) => {
            print!("{}", summary.text());
            ExitCode::from(u8::from(!summary.is_good()))
        }
        Err(error) => {
            eprintln!("tests/inject: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is to be run, if anything.
fn parse() -> Result<Option<Options>, String> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options {
        filters: Vec::new(),
        sample: None,
        jobs: 2 * processors,
        patience: Duration::from_secs(10),
        verbose: false,
    };
    let (mut sample, mut offset) = (None, 0);
    let mut parser = Parser::from_env();
    let error = |error: lexopt::Error| error.to_string();
    let number = |parser: &mut Parser| parser.value().and_then(|value| value.parse::<usize>()).map_err(error);
    while let Some(argument) = parser.next().map_err(error)? {
        match argument {
            Arg::Long("sample") => sample = Some(number(&mut parser)?),
            Arg::Long("offset") => offset = number(&mut parser)?,
            Arg::Short('j') | Arg::Long("jobs") => options.jobs = number(&mut parser)?,
            Arg::Long("patience") => options.patience = Duration::from_secs(number(&mut parser)? as u64),
            Arg::Short('v') | Arg::Long("verbose") => options.verbose = true,
            Arg::Long("list") => {
                Scenario::ALL.iter().for_each(|scenario| println!("{scenario}"));
                return Ok(None);
            }
            Arg::Short('h') | Arg::Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            Arg::Value(case) => {
                let case = case.string().map_err(error)?;
                let filter = Filter::parse(&case).ok_or_else(|| format!("no such case: '{case}'; see --help"))?;
                options.filters.push(filter);
            }
            other => return Err(error(other.unexpected())),
        }
    }
    options.sample = sample.map(|count| (count, offset));
    Ok(Some(options))
}
