//! Fault injection into the launcher: in each case one system call fails, or a signal arrives at it.
//!
//! `strace` counts the calls of an undisturbed run and makes the n-th one fail in a run of its own. A start that is
//! refused has to be refused cleanly, a service has to go on, or a line has to report what was not done. Whatever else
//! happens is a [`Fault`].
//!
//! What the launcher writes is not known here: a line is a report if no undisturbed run has one like it.
//!
//! What strace pretends is not always what happens: a call that fails by injection was not made at all. `errors`
//! leaves out what cannot happen, such as a `close` that leaves its descriptor open.

mod actor;
mod case;
mod errors;
mod notified;
mod scenario;
mod site;
mod strace;
mod verdict;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

pub use case::{Case, Filter};
pub use scenario::Scenario;
pub use strace::{Injection, What};
pub use verdict::{Fault, Verdict};

use case::{cases, spread};
use site::Programs;
use strace::Trace;
use verdict::{Observed, Usual};

use crate::{Program, is_root};

/// How often nothing fails, to learn what is usual.
const UNDISTURBED: usize = 3;

/// How often a case is run alone that was faulty beside others.
const AGAIN: usize = 2;

/// So much of what a call was called with is shown.
const SHOWN: usize = 160;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// All cases if there is none.
    pub filters: Vec<Filter>,
    /// Only so many cases, spread over all of them, beginning with another one for each offset.
    pub sample: Option<(usize, usize)>,
    /// How many cases run side by side.
    pub jobs: usize,
    /// How long a step of a scenario may take.
    pub patience: Duration,
    /// Whether the launcher's lines are shown.
    pub verbose: bool,
}

/// What came of all cases.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many cases were run.
    pub cases: usize,
    /// The faulty cases.
    pub faults: Vec<Faulty>,
    /// The same for calls of the dynamic loader and of Rust's runtime.
    pub before_main: Vec<Faulty>,
    /// Cases that were faulty at first, but not again when they ran alone.
    pub unsteady: Vec<Faulty>,
    /// Calls of which no error is known.
    pub unknown: Vec<String>,
    counts: BTreeMap<(Scenario, String), Counts>,
}

/// A case with faults.
#[derive(Clone, Debug)]
pub struct Faulty {
    /// What was done.
    pub case: Case,
    /// What happened then.
    pub faults: Vec<(Fault, String)>,
    /// The call that was changed, with its arguments.
    pub call: String,
}

/// How many cases have which verdict, in the order of [`COLUMNS`].
type Counts = [usize; COLUMNS.len()];

const COLUMNS: [&str; 6] = ["refused", "served", "reported", "not reached", "before main", "FAULTS"];

/// Whether strace is there, and may trace; else why not.
pub fn is_possible() -> Result<(), String> {
    let Some(strace) = Program::installed("strace") else { return Err("strace is not installed".into()) };
    let output =
        strace.command().args(["-I2", "-b", "execve", "-e", "inject=getppid:error=EIO:when=1", "/bin/true"]).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "strace cannot do it: {}",
            String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("it fails")
        )),
        Err(error) => Err(format!("strace cannot be started: {error}")),
    }
}

/// Whether a process that is no child can be traced.
fn can_attach() -> bool {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    is_root() || matches!(scope.trim(), "" | "0")
}

/// Runs the cases. `say` gets lines for the impatient.
///
/// # Errors
/// When the launcher does not even work undisturbed, or strace does not.
pub fn run(options: &Options, say: &(dyn Fn(&str) + Sync)) -> io::Result<Summary> {
    let programs = Programs::copy()?;
    let can_attach = can_attach();
    if !can_attach {
        say("a process that runs cannot be traced here without root: restart and take-over are left out");
    }
    let wanted = |scenario: &Scenario| {
        (can_attach || scenario.is_traced_from_the_start())
            && (options.filters.is_empty() || options.filters.iter().any(|filter| filter.takes_scenario(*scenario)))
    };
    let scenarios: Vec<Scenario> = Scenario::ALL.into_iter().filter(wanted).collect();
    say(&format!("{UNDISTURBED} undisturbed runs each of {} scenarios", scenarios.len()));
    let undisturbed: Vec<Scenario> = scenarios.iter().flat_map(|scenario| [*scenario; UNDISTURBED]).collect();
    let runs = side_by_side(options.jobs, &undisturbed, |at, scenario| {
        let site = programs.site(&format!("u{at}"))?;
        let (seen, trace) = scenario.run(&site, None, options.patience)?;
        let wrong: Vec<String> = seen.faults.iter().map(|(fault, what)| format!("{fault}: {what}")).collect();
        let wrong = [wrong, seen.missed.clone()].concat();
        match wrong.is_empty() && !seen.refused {
            true => Ok((seen, trace)),
            false => Err(io::Error::other(format!(
                "{scenario}, undisturbed: {}\n{}",
                wrong.join("; "),
                seen.text.join("\n")
            ))),
        }
    });
    let mut runs = runs.into_iter().collect::<io::Result<Vec<_>>>()?;

    let mut summary = Summary::default();
    let mut usual = BTreeMap::new();
    let mut all = Vec::new();
    for scenario in scenarios {
        let runs: Vec<(Observed, Trace)> = runs.drain(..UNDISTURBED).collect();
        let (seen, traces): (Vec<Observed>, Vec<Trace>) = runs.into_iter().unzip();
        let is_whole = !matches!(scenario, Scenario::Term | Scenario::Kill);
        usual.insert(scenario, Usual::of(&seen, is_whole));
        let up = |seen: &Observed| seen.up.unwrap_or(f64::MAX);
        let runs: Vec<(Trace, f64)> = traces.into_iter().zip(seen.iter().map(up)).collect();
        let (cases, unknown) = cases(scenario, &runs);
        summary.unknown.extend(unknown);
        let named = options.filters.iter().filter_map(Filter::case).filter(|case| case.scenario == scenario);
        let named = named.filter(|case| !cases.contains(case)).collect::<Vec<_>>();
        all.extend(cases.into_iter().chain(named));
    }
    summary.unknown.sort();
    summary.unknown.dedup();
    all.retain(|case| options.filters.is_empty() || options.filters.iter().any(|filter| filter.takes(case)));
    if let Some((count, offset)) = options.sample {
        let shift = (offset % all.len().div_ceil(count.max(1)).max(1)).min(all.len());
        all.rotate_left(shift);
        all = spread(&all, count);
    }
    say(&format!("{} cases", all.len()));

    let next = AtomicUsize::new(0);
    let try_it = |case: &Case| {
        let site = programs.site(&next.fetch_add(1, Ordering::Relaxed).to_string());
        match site.and_then(|site| case.scenario.run(&site, Some(&case.injection), options.patience)) {
            Ok((seen, trace)) => {
                if options.verbose {
                    say(&format!("{case}:\n    {}", seen.text.join("\n    ")));
                }
                judge(case, seen, &trace, &usual[&case.scenario])
            }
            Err(error) => (Verdict::Faulty(vec![(Fault::Hang, format!("it cannot be run: {error}"))]), String::new()),
        }
    };
    let done = AtomicUsize::new(0);
    let verdicts = side_by_side(options.jobs, &all, |_, case| {
        let verdict = try_it(case);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done % 100 == 0 {
            say(&format!("{done} of {} cases", all.len()));
        }
        verdict
    });
    for (case, (mut verdict, mut call)) in all.into_iter().zip(verdicts) {
        // Alone, so that nothing is a fault that is only slow.
        if let Verdict::Faulty(faults) = &verdict {
            say(&format!("again: {case}: {}", shown(faults)));
            let first = Faulty { case: case.clone(), faults: faults.clone(), call: call.clone() };
            for _ in 0..AGAIN {
                (verdict, call) = try_it(&case);
                if matches!(verdict, Verdict::Faulty(_)) {
                    break;
                }
            }
            if !matches!(verdict, Verdict::Faulty(_)) {
                summary.unsteady.push(first);
            }
        }
        summary.add(case, verdict, call);
    }
    Ok(summary)
}

/// The verdict on a case, and the call that was changed.
fn judge(case: &Case, seen: Observed, trace: &Trace, usual: &Usual) -> (Verdict, String) {
    let changed = trace.changed(&case.injection);
    let can_fail = |line: &&strace::Line| match &case.injection.what {
        What::Signal(_) => true,
        What::Error(error) | What::Errors(error) => {
            errors::of(line).is_none_or(|errors| errors.contains(&error.as_str()))
        }
    };
    let Some(line) = changed.iter().copied().find(can_fail) else { return (Verdict::NotReached, String::new()) };
    let arguments = match line.arguments.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line.arguments[..end]),
        None => line.arguments.clone(),
    };
    let call = format!("{}({arguments}", line.call);
    let verdict = usual.judge(seen);
    match verdict {
        Verdict::Faulty(faults) if changed.iter().all(|line| line.before_main) => (Verdict::BeforeMain(faults), call),
        _ if changed.iter().all(|line| line.before_main) => (Verdict::BeforeMain(Vec::new()), call),
        verdict => (verdict, call),
    }
}

impl Summary {
    fn add(&mut self, case: Case, verdict: Verdict, call: String) {
        self.cases += 1;
        let counts = self.counts.entry((case.scenario, case.injection.call.clone())).or_default();
        let column = match verdict {
            Verdict::Refused => 0,
            Verdict::Served => 1,
            Verdict::Reported => 2,
            Verdict::NotReached => 3,
            Verdict::BeforeMain(_) => 4,
            Verdict::Faulty(_) => 5,
        };
        counts[column] += 1;
        match verdict {
            Verdict::BeforeMain(faults) if !faults.is_empty() => self.before_main.push(Faulty { case, faults, call }),
            Verdict::Faulty(faults) => self.faults.push(Faulty { case, faults, call }),
            _ => {}
        }
    }

    /// Whether there is no fault.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty() && self.unknown.is_empty()
    }

    /// A line for each fault, and a table.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a String takes all");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let parts = [("before main", &self.before_main), ("not again", &self.unsteady), ("FAULT", &self.faults)];
        for (name, list) in parts {
            for Faulty { case, faults, call } in list {
                writeln!(text, "{name}: {}\n    at {call}\n    repeat: tests/inject {case}", shown(faults))?;
            }
        }
        for call in &self.unknown {
            writeln!(text, "FAULT: no error of {call} is in the table of tests/src/inject/errors.rs")?;
        }
        writeln!(text, "{:11} {:16} {}", "scenario", "call", COLUMNS.join("  "))?;
        let mut sums: BTreeMap<Scenario, Counts> = BTreeMap::new();
        for ((scenario, call), counts) in &self.counts {
            row(text, *scenario, call, counts)?;
            let sum = sums.entry(*scenario).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        for (scenario, sum) in &sums {
            row(text, *scenario, "(all)", sum)?;
        }
        writeln!(text, "{} cases, {} with faults", self.cases, self.faults.len() + self.unknown.len())
    }
}

fn row(text: &mut String, scenario: Scenario, call: &str, counts: &Counts) -> std::fmt::Result {
    write!(text, "{scenario:11} {call:16}")?;
    for (count, name) in counts.iter().zip(COLUMNS) {
        write!(text, " {count:>width$}", width = name.len() + 1 - usize::from(name == COLUMNS[0]))?;
    }
    writeln!(text)
}

fn shown(faults: &[(Fault, String)]) -> String {
    faults.iter().map(|(fault, what)| format!("{fault}: {what}")).collect::<Vec<_>>().join("; ")
}

/// Does something for each, so many at a time; the results are in the order of the items.
fn side_by_side<T: Sync, R: Send>(jobs: usize, items: &[T], work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(items.iter().map(|_| None).collect::<Vec<Option<R>>>());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1).min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(at, item);
                    results.lock().expect("nobody panics with it")[at] = Some(result);
                }
            });
        }
    });
    results.into_inner().expect("nobody has panicked").into_iter().flatten().collect()
}
