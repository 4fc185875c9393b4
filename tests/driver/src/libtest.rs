//! Executables with tests in them: run side by side, and what they report.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::context::Context;
use crate::step::{Failure, Order, Outcome};

/// What one executable has reported so far.
#[derive(Default)]
struct Report {
    outcome: Outcome,
    running: BTreeSet<String>,
    ended: bool,
}

/// Runs the tests of one executable. `command` starts it, with its environment and its working directory; its standard
/// output is taken here, all else goes to the step's log. Tests may note in `skips` why they did not run.
pub(crate) fn run(
    context: &Context,
    order: &Order,
    name: &str,
    command: &mut Command,
    skips: Option<&Path>,
) -> Outcome {
    command.env("RUSTC_BOOTSTRAP", "1"); // for the format; the tests themselves do not read it
    command.args(["-Zunstable-options", "--format=json", "--report-time"]).args(&order.filter);
    command.stdout(Stdio::piped());
    let mut log = context.log(order);
    let _ = writeln!(log, "$ {command:?}");
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::failed(format!("{name}: {command:?}: {error}")),
    };
    let output = child.stdout.take().expect("it is piped");
    let started = Instant::now();
    let mut report = Report::default();
    context.started(child.id());
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        match serde_json::from_str::<Value>(&line) {
            Ok(event) => report.take(name, &event, &mut log),
            Err(_) => _ = writeln!(log, "{line}"),
        }
    }
    let status = child.wait();
    context.ended(child.id());
    report.finish(name, &status.map_or_else(|error| error.to_string(), |status| status.to_string()));
    if let Some(skips) = skips {
        report.take_skips(&fs::read_to_string(skips).unwrap_or_default());
    }
    let _ = writeln!(log, "{name}: {} passed in {:.1} s", report.outcome.passed, started.elapsed().as_secs_f64());
    report.outcome
}

impl Report {
    fn take(&mut self, name: &str, event: &Value, log: &mut impl Write) {
        let what = event["event"].as_str().unwrap_or_default();
        if event["type"] == "suite" {
            self.ended |= what != "started";
            return;
        }
        let Some(test) = event["name"].as_str().filter(|_| event["type"] == "test") else { return };
        if what == "started" {
            self.running.insert(test.to_owned());
            return;
        }
        if what == "timeout" {
            return; // slower than a minute: only a remark
        }
        self.running.remove(test);
        let output = event["stdout"].as_str().unwrap_or_default();
        let seconds = event["exec_time"].as_f64().unwrap_or_default();
        let shown = if what == "failed" { "FAILED" } else { what };
        let _ = writeln!(log, "test {test} ... {shown} <{seconds:.3}s>");
        if !output.is_empty() {
            let _ = writeln!(log, "{output}");
        }
        self.outcome.times.push((Duration::from_secs_f64(seconds), format!("{name} {test}")));
        match what {
            "ok" => self.outcome.passed += 1,
            "ignored" => self.outcome.skips.push((test.to_owned(), "ignored".into())),
            _ => self.outcome.failures.push(Failure { test: Some(test.to_owned()), output: output.to_owned() }),
        }
    }

    /// A process that ends in the middle of its tests fails those that ran.
    fn finish(&mut self, name: &str, status: &str) {
        if self.ended {
            return;
        }
        let running = std::mem::take(&mut self.running);
        if running.is_empty() {
            self.outcome.failures.push(Failure { test: None, output: format!("{name} has no tests: {status}") });
        }
        for test in running {
            self.outcome.failures.push(Failure { test: Some(test), output: format!("{name} ended: {status}") });
        }
    }

    /// A test that decides while it runs not to run has passed for libtest.
    fn take_skips(&mut self, lines: &str) {
        for line in lines.lines() {
            let mut fields = line.split('\t');
            let (Some(kind), Some(test), Some(why)) = (fields.next(), fields.next(), fields.next()) else { continue };
            self.outcome.passed = self.outcome.passed.saturating_sub(1);
            if kind == "skip" {
                self.outcome.skips.push((test.to_owned(), why.to_owned()));
            }
        }
    }
}

/// Runs several executables, `jobs` at a time.
pub(crate) fn run_all(jobs: usize, runs: Vec<Box<dyn FnOnce() -> Outcome + Send + '_>>) -> Outcome {
    let (runs, outcome) = (Mutex::new(runs), Mutex::new(Outcome::default()));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let Some(run) = runs.lock().expect("no run panics").pop() else { return };
                    let result = run();
                    let mut all = outcome.lock().expect("no run panics");
                    *all = std::mem::take(&mut *all).and(result);
                }
            });
        }
    });
    outcome.into_inner().expect("no run panics")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.take("suite", &serde_json::from_str(line).expect("JSON"), &mut Vec::new());
        }
        report
    }

    const STARTED: &str = r#"{"type":"test","event":"started","name":"a"}"#;

    #[test]
    fn counts_tests() {
        let ok = r#"{"type":"test","name":"a","event":"ok","exec_time":0.5}"#;
        let failed = r#"{"type":"test","name":"b","event":"failed","exec_time":0.1,"stdout":"why\n"}"#;
        let ignored = r#"{"type":"test","name":"c","event":"ignored"}"#;
        let end = r#"{"type":"suite","event":"failed","passed":1,"failed":1}"#;
        let mut report = report(&[STARTED, ok, failed, ignored, end]);
        report.finish("suite", "exit status: 101");
        assert_eq!((report.outcome.passed, report.outcome.failures.len(), report.outcome.skips.len()), (1, 1, 1));
        let failure = &report.outcome.failures[0];
        assert_eq!((failure.test.as_deref(), &failure.output[..]), (Some("b"), "why\n"));
        report.take_skips("skip\ta\tno nginx\nelsewhere\tb\tcounted\n");
        assert_eq!((report.outcome.passed, report.outcome.skips.len()), (0, 2));
    }

    #[test]
    fn fails_the_tests_that_ran_when_the_process_ended() {
        let mut report = report(&[STARTED]);
        report.finish("suite", "signal: 11");
        assert_eq!(report.outcome.failures[0].test.as_deref(), Some("a"));
        assert_eq!(report.outcome.failures[0].output, "suite ended: signal: 11");
    }

    #[test]
    fn an_executable_that_reports_nothing_has_failed() {
        let mut report = Report::default();
        report.finish("suite", "exit status: 1");
        assert_eq!(report.outcome.failures.len(), 1);
    }
}
