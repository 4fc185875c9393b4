//! What came of a case.

use std::collections::BTreeMap;
use std::fmt;

/// Something that no failing call may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The supervisor is gone, or its workers are, or requests are not answered.
    Outage,
    /// Neither success nor refusal, or a stop that takes too long.
    Hang,
    /// A process outlives the launcher.
    LeftProcess,
    /// A socket, pid file, page, directory or temporary file outlives the launcher.
    Litter,
    /// An exit status or a file says what is not so.
    WrongSuccess,
    /// Something did not happen, and no line reports it.
    SilentLoss,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Outage => "outage",
            Fault::Hang => "hang",
            Fault::LeftProcess => "left process",
            Fault::Litter => "litter",
            Fault::WrongSuccess => "wrong success",
            Fault::SilentLoss => "silent loss",
        })
    }
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The start was refused, and all was undone.
    Refused,
    /// Everything went on as without the failure.
    Served,
    /// Something was not done, and a line reports it.
    Reported,
    /// The call was not made so often, or it could not fail in this way.
    NotReached,
    /// It was not the launcher's call, but one of the dynamic loader or of Rust's runtime.
    BeforeMain(Vec<(Fault, String)>),
    /// Faults, with what was seen of each.
    Faulty(Vec<(Fault, String)>),
}

/// Lines, each with how often there is one like it.
pub(super) type Lines = BTreeMap<String, usize>;

/// What was seen during a case.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    pub(super) faults: Vec<(Fault, String)>,
    /// What did not happen, which is no fault if it is reported.
    pub(super) missed: Vec<String>,
    pub(super) refused: bool,
    /// The launcher's lines, like one another.
    pub(super) lines: Lines,
    /// Those as they were.
    pub(super) text: Vec<String>,
    /// When it was up, or had taken over.
    pub(super) up: Option<f64>,
    /// What follows from a call that fails for some time, whatever the launcher does.
    pub(super) excused: &'static [Fault],
}

impl Observed {
    pub(super) fn fault(&mut self, fault: Fault, what: impl Into<String>) {
        self.faults.push((fault, what.into()));
    }

    pub(super) fn missed(&mut self, what: impl Into<String>) {
        self.missed.push(what.into());
    }

    /// Keeps the lines. Numbers and paths tell one run from another, so they are left out for the comparison.
    pub(super) fn keep(&mut self, text: Vec<String>) {
        for line in &text {
            let has_digit = |word: &str| word.bytes().any(|byte| byte.is_ascii_digit());
            let words = line.split_ascii_whitespace().map(|word| if has_digit(word) { "#" } else { word });
            *self.lines.entry(words.collect::<Vec<_>>().join(" ")).or_default() += 1;
        }
        self.text = text;
    }
}

/// What is seen of a scenario when nothing fails.
#[derive(Clone, Debug, Default)]
pub(super) struct Usual {
    /// In each run at least so often.
    least: Lines,
    /// In some run.
    known: Lines,
}

impl Usual {
    /// Of these runs; `is_whole` if each case is such a run as a whole.
    pub(super) fn of(runs: &[Observed], is_whole: bool) -> Self {
        let mut usual = Usual::default();
        for run in runs {
            usual.known.extend(run.lines.clone());
        }
        for line in usual.known.keys().filter(|_| is_whole) {
            let least = runs.iter().map(|run| run.lines.get(line).copied().unwrap_or_default()).min();
            usual.least.insert(line.clone(), least.unwrap_or_default());
        }
        usual
    }

    /// The first line that is new.
    pub(super) fn report<'a>(&self, run: &'a Observed) -> Option<&'a String> {
        run.lines.keys().find(|line| !self.known.contains_key(*line))
    }

    /// Judges a case whose call was changed.
    pub(super) fn judge(&self, mut run: Observed) -> Verdict {
        let report = self.report(&run).cloned();
        let excused = |fault: &Fault| run.excused.contains(fault) && (report.is_some() || *fault == Fault::SilentLoss);
        run.faults.retain(|(fault, _)| !excused(fault));
        if report.is_none() && !run.refused {
            let missed = std::mem::take(&mut run.missed);
            run.faults.extend(missed.into_iter().map(|what| (Fault::SilentLoss, what)));
            if run.faults.is_empty() {
                let lost =
                    self.least.iter().find(|(line, least)| run.lines.get(*line).copied().unwrap_or_default() < **least);
                run.faults.extend(lost.map(|(line, _)| (Fault::SilentLoss, format!("no line '{line}'"))));
            }
        }
        match (run.faults.is_empty(), run.refused, report) {
            (false, _, _) => Verdict::Faulty(run.faults),
            (true, true, _) => Verdict::Refused,
            (true, false, Some(_)) => Verdict::Reported,
            (true, false, None) => Verdict::Served,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lines: &[&str]) -> Observed {
        let mut run = Observed::default();
        run.keep(lines.iter().map(|line| (*line).to_owned()).collect());
        run
    }

    #[test]
    fn what_is_lost_is_a_fault_unless_a_line_reports_it() {
        let usual =
            Usual::of(&[run(&["worker 1 started", "worker 2 started", "up"]), run(&["worker 7 started", "up"])], true);
        assert_eq!(usual.judge(run(&["worker 3 started", "up"])), Verdict::Served);
        let lost = Verdict::Faulty(vec![(Fault::SilentLoss, "no line 'up'".into())]);
        assert_eq!(usual.judge(run(&["worker 3 started"])), lost);
        assert_eq!(usual.judge(run(&["worker 3 started", "a line is lost"])), Verdict::Reported);
        let mut missed = run(&["worker 3 started", "up"]);
        missed.missed("reload");
        assert_eq!(usual.judge(missed.clone()), Verdict::Faulty(vec![(Fault::SilentLoss, "reload".into())]));
        missed.fault(Fault::Litter, "pid");
        missed.keep(vec!["cannot".into()]);
        assert_eq!(usual.judge(missed), Verdict::Faulty(vec![(Fault::Litter, "pid".into())]));
    }
}
