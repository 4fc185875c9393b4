//! What is printed, and what is kept of failures for `--failed`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use crate::context::Context;
use crate::schedule::Done;
use crate::step::{Kind, Step};

/// A test that takes longer is named.
const SLOW: Duration = Duration::from_secs(8);

/// The file in which failures are kept: a line `STEP<tab>TEST` each, without TEST if the step itself failed.
const FAILED: &str = "failed";

/// Lists the steps.
pub(crate) fn list(steps: &[Step]) {
    for step in steps {
        let kind = match step.kind {
            Kind::Quick => "quick",
            Kind::Full => "",
            Kind::Static => "static",
            Kind::AllTargets => "targets",
            Kind::Named => "named",
        };
        println!("{:<26} {kind:<8} {}", step.name, step.about);
    }
}

/// One line on a step that is over.
pub(crate) fn progress(one: &Done, done: usize, count: usize) {
    let outcome = &one.outcome;
    let mut result = match (outcome.failures.len(), outcome.passed, outcome.skips.len()) {
        (0, 0, 1..) => "skipped".to_owned(),
        (0, 0 | 1, 0) => "ok".to_owned(),
        (0, passed, _) => format!("ok, {passed} passed"),
        (failed, passed, _) => format!("FAILED, {failed} failed, {passed} passed"),
    };
    if !outcome.skips.is_empty() && outcome.passed > 0 {
        result.push_str(&format!(", {} skipped", outcome.skips.len()));
    }
    println!("[{done:>2} of {count}] {:<26} {result} ({:.1} s)", one.step.name, one.time.as_secs_f64());
}

/// What was slow, skipped and failed, the failures' own output last; whether everything passed.
pub(crate) fn summary(context: &Context, done: &[Done], installed: &Result<(), String>) -> bool {
    let mut passed: usize = done.iter().map(|one| one.outcome.passed).sum();
    let mut failed: usize = done.iter().map(|one| one.outcome.failures.len()).sum();
    let mut skipped: usize = done.iter().map(|one| one.outcome.skips.len()).sum();
    let mut slow: Vec<_> = done.iter().flat_map(|one| &one.outcome.times).filter(|(time, _)| *time > SLOW).collect();
    slow.sort_by(|a, b| b.cmp(a));
    for (time, test) in slow {
        println!("slow: {test} ({:.1} s)", time.as_secs_f64());
    }
    for one in done {
        for (what, why) in &one.outcome.skips {
            println!("skipped: {}: {what}: {why}", one.step.name);
        }
    }
    keep_failures(context, done);
    for one in done.iter().filter(|one| !one.outcome.failures.is_empty()) {
        for failure in &one.outcome.failures {
            let name = failure.test.as_deref().unwrap_or(one.step.about);
            println!("\n---- {}: {name}\n{}", one.step.name, failure.output.trim_end());
        }
        let tests: Vec<_> = one.outcome.failures.iter().filter_map(|failure| failure.test.as_deref()).collect();
        println!("the whole log: {}", context.log_path(one.step.name).display());
        match tests[..] {
            [] => println!("again: tests/run {}", one.step.name),
            _ => println!("again: tests/run {} -- --exact {}", one.step.name, tests.join(" ")),
        }
    }
    if let Err(error) = installed {
        println!("\n{error}");
        failed += 1;
    }
    if context.ci && skipped > 0 {
        println!("\nskipped, though CI=true: that is a failure");
        failed += skipped;
        skipped = 0;
    }
    if passed == 0 && failed == 0 {
        failed = 1; // a run without a test shows nothing
        passed = 0;
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    failed == 0
}

fn keep_failures(context: &Context, done: &[Done]) {
    let lines = done.iter().flat_map(|one| {
        let failures = one.outcome.failures.iter();
        failures.map(|failure| format!("{}\t{}\n", one.step.name, failure.test.as_deref().unwrap_or_default()))
    });
    let _ = fs::write(context.logs.join(FAILED), lines.collect::<String>());
}

/// The steps that failed in the run before, with the tests of each; without tests if the step itself failed.
pub(crate) fn failed_before(logs: &Path) -> Result<BTreeMap<String, Vec<String>>, String> {
    let text = match fs::read_to_string(logs.join(FAILED)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err("there was no run before".into()),
        Err(error) => return Err(format!("{}: {error}", logs.join(FAILED).display())),
        Ok(text) => text,
    };
    let mut failed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut whole = Vec::new();
    for (step, test) in text.lines().filter_map(|line| line.split_once('\t')) {
        let tests = failed.entry(step.to_owned()).or_default();
        if test.is_empty() { whole.push(step) } else { tests.push(test.to_owned()) }
    }
    for step in whole {
        failed.insert(step.to_owned(), Vec::new());
    }
    if failed.is_empty() { Err("nothing failed in the run before".into()) } else { Ok(failed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_repeated_by_test_or_by_step() {
        let folder = tempfile::tempdir().expect("a directory");
        assert!(failed_before(folder.path()).is_err_and(|error| error.contains("no run before")));
        fs::write(folder.path().join(FAILED), "unit\ta::b\nunit\tc\nmsrv\t\nblack-box\tx\nblack-box\t\n")
            .expect("a file");
        let failed = failed_before(folder.path()).expect("there are some");
        let failed: Vec<_> = failed.iter().map(|(step, tests)| (&**step, tests.join(" "))).collect();
        assert_eq!(failed, [("black-box", "".into()), ("msrv", "".into()), ("unit", "a::b c".to_owned())]);
        fs::write(folder.path().join(FAILED), "").expect("a file");
        assert!(failed_before(folder.path()).is_err_and(|error| error.contains("nothing failed")));
    }
}
