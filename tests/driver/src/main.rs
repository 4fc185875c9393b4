//! `tests/run`: the steps of the test run, side by side.
//!
//! - [`options`]: the command line
//! - [`mod@list`]: all steps; start reading here
//! - [`step`]: a step, and what came of it
//! - [`schedule`]: steps side by side
//! - [`cargo`], [`libtest`], [`suite`]: building tests, running them, running the black-box tests
//! - [`context`]: what all steps share
//! - [`requirements`]: packages that the tests need
//! - [`processes`], [`restore`]: what is left over, and how it is put back
//! - [`report`]: what is printed, and what failed, for the next run

mod cargo;
mod context;
mod libtest;
mod list;
mod options;
mod processes;
mod report;
mod requirements;
mod restore;
mod schedule;
mod step;
mod suite;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, fs, process, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use context::Context;
use options::{HELP, Options, Set};
use restore::Restore;
use step::{Kind, Order, Step};

fn main() -> ExitCode {
    let options = match Options::parse(env::args_os()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("tests/run: {error}; see tests/run --help");
            return ExitCode::from(2);
        }
    };
    if options.help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if options.list {
        report::list(list::STEPS);
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tests/run: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything passed.
fn run(options: &Options) -> Result<bool, String> {
    let repository = env::current_dir().map_err(|error| format!("the working directory: {error}"))?;
    let target = cargo::target_directory()?;
    let folder = tempfile::Builder::new().prefix("fcgi-tests.").tempdir().map_err(|error| error.to_string())?;
    suite::open_to_all(folder.path()).map_err(|error| error.to_string())?;
    let context = Context::new(repository, target, folder.path().to_owned()).map_err(|error| error.to_string())?;
    let orders = chosen(options, &context.logs)?;
    let restore = Arc::new(Mutex::new(Restore::begin(&context.logs, folder.path())?));
    let context = Arc::new(context);
    end_when_interrupted(&context, &restore)?;
    let installed = if options.install {
        requirements::install(&mut restore.lock().unwrap_or_else(PoisonError::into_inner))
    } else {
        Ok(())
    };
    requirements::missing().iter().for_each(|line| println!("{line}"));
    for (step, _) in &orders {
        let _ = fs::remove_file(context.log_path(step.name));
    }
    let count = orders.len();
    let jobs = options.jobs.unwrap_or(2 * context.processors);
    let done = schedule::run(&context, orders, jobs, |one, done| report::progress(one, done, count));
    let passed = report::summary(&context, &done, &installed);
    restore.lock().unwrap_or_else(PoisonError::into_inner).end();
    Ok(passed)
}

/// The steps to be run, with the steps that they need.
fn chosen(options: &Options, logs: &Path) -> Result<Vec<(&'static Step, Order)>, String> {
    let mut filters: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let failed = if options.failed { report::failed_before(logs)? } else { BTreeMap::new() };
    for (step, tests) in &failed {
        let mut filter = tests.clone();
        if !filter.is_empty() {
            filter.push("--exact".into());
        }
        filters.insert(find(step)?.name, filter);
    }
    for name in &options.steps {
        filters.insert(find(name)?.name, options.filter.clone());
    }
    if filters.is_empty() && !options.failed {
        let wanted = |kind| match options.set {
            Set::All => matches!(kind, Kind::Quick | Kind::Full | Kind::Static),
            Set::Quick => kind == Kind::Quick,
            Set::Static => kind == Kind::Static,
            Set::AllTargets => kind == Kind::AllTargets,
        };
        filters.extend(list::STEPS.iter().filter(|step| wanted(step.kind)).map(|step| (step.name, Vec::new())));
    }
    loop {
        let needed = filters.keys().flat_map(|name| find(name).map_or(&[][..], |step| step.needs)).copied();
        let missing: Vec<&str> = needed.filter(|need| !filters.contains_key(need)).collect();
        if missing.is_empty() {
            break;
        }
        filters.extend(missing.into_iter().map(|need| (need, Vec::new())));
    }
    let whole = options.set == Set::All && options.steps.is_empty() && !options.failed;
    let orders = list::STEPS.iter().filter_map(|step| {
        let filter = filters.get(step.name)?.clone();
        Some((step, Order { step: step.name, filter, whole }))
    });
    Ok(orders.collect())
}

fn find(name: &str) -> Result<&'static Step, String> {
    let found = list::STEPS.iter().find(|step| step.name == name);
    found.ok_or_else(|| {
        format!("no step is called '{name}'; tests/run --list lists them, and a FILTER stands behind --")
    })
}

/// SIGINT and SIGTERM end everything, and put everything back.
fn end_when_interrupted(context: &Arc<Context>, restore: &Arc<Mutex<Restore>>) -> Result<(), String> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| format!("signals: {error}"))?;
    let (context, restore) = (Arc::clone(context), Arc::clone(restore));
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            println!("interrupted");
            context.interrupt();
            restore.lock().unwrap_or_else(PoisonError::into_inner).end();
            process::exit(128 + signal);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn steps_have_names_of_their_own_and_need_what_stands_above_them() {
        let mut names = BTreeSet::new();
        for step in list::STEPS {
            for need in step.needs {
                assert!(names.contains(need), "{} needs {need}, which must stand above it", step.name);
            }
            assert!(names.insert(step.name), "{} is there twice", step.name);
        }
    }

    #[test]
    fn a_named_step_brings_what_it_needs() {
        let options = Options { steps: vec!["servers".into()], filter: vec!["nginx".into()], ..Options::default() };
        let orders = chosen(&options, Path::new("/nonexistent")).expect("they exist");
        let orders: Vec<_> = orders.iter().map(|(step, order)| (step.name, order.filter.join(" "))).collect();
        assert_eq!(orders, [("build", "".into()), ("release", "".into()), ("servers", "nginx".to_owned())]);
        let options = Options { steps: vec!["nonsense".into()], ..Options::default() };
        assert!(chosen(&options, Path::new("/nonexistent")).is_err_and(|error| error.contains("nonsense")));
    }
}
