//! Which call fails how, in which scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::errors;
use super::scenario::Scenario;
use super::strace::{Injection, Line, Trace, What};

/// How many calls of a kind are looked at where each takes long or is like the others.
const FEW: usize = 6;

/// A call that fails in a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What the launcher goes through.
    pub scenario: Scenario,
    /// What is done to which call.
    pub injection: Injection,
}

impl Case {
    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(':').collect();
        let [scenario, call, nth, error] = words[..] else { return None };
        let scenario = Scenario::ALL.into_iter().find(|known| known.name() == scenario)?;
        let injection = Injection { call: call.to_owned(), nth: nth.parse().ok()?, what: scenario.what(error) };
        Some(Case { scenario, injection }).filter(|_| !call.is_empty() && !error.is_empty())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Injection { call, nth, what } = &self.injection;
        let what = match what {
            What::Error(error) | What::Errors(error) => error.as_str(),
            What::Signal(signal) => signal,
        };
        write!(f, "{}:{call}:{nth}:{what}", self.scenario)
    }
}

/// `SCENARIO[:CALL[:N[:ERROR]]]`, where a part may be empty.
#[derive(Clone, Debug)]
pub struct Filter(Vec<String>);

impl Filter {
    /// Reads it; the scenario has to exist.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<String> = text.split(':').map(str::to_owned).collect();
        let is_known = Scenario::ALL.into_iter().any(|scenario| words[0] == scenario.name() || words[0].is_empty());
        (is_known && words.len() <= 4).then_some(Filter(words))
    }

    /// Whether a case of the scenario may be meant.
    pub(super) fn takes_scenario(&self, scenario: Scenario) -> bool {
        self.0[0].is_empty() || self.0[0] == scenario.name()
    }

    pub(super) fn takes(&self, case: &Case) -> bool {
        let text = case.to_string();
        self.0.iter().zip(text.split(':')).all(|(wanted, is)| wanted.is_empty() || wanted == is)
    }

    /// The one case that is named, also if it is not one of those that are found.
    pub(super) fn case(&self) -> Option<Case> {
        Case::parse(&self.0.join(":"))
    }
}

/// The cases of a scenario, from what was traced when nothing failed and when the launcher was up then; and the calls of
/// which no error is known.
pub(super) fn cases(scenario: Scenario, runs: &[(Trace, f64)]) -> (Vec<Case>, BTreeSet<String>) {
    let mut unknown = BTreeSet::new();
    let mut found: BTreeMap<(&str, usize), BTreeSet<&str>> = BTreeMap::new();
    for (trace, up) in runs {
        for line in trace.0.iter().filter(|line| is_looked_at(scenario, trace, *up, line)) {
            let possible: &[&str] = match scenario {
                Scenario::Term => &["TERM"],
                Scenario::Kill => &["KILL"],
                _ => errors::of(line).unwrap_or_else(|| {
                    unknown.insert(line.call.clone());
                    &[]
                }),
            };
            // A call is not interrupted again and again while no signal arrives.
            let possible = possible.iter().filter(|error| scenario != Scenario::Persistent || **error != "EINTR");
            found.entry((line.call.as_str(), line.nth)).or_default().extend(possible);
        }
    }
    let mut by_error: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for ((call, nth), errors) in &found {
        errors.iter().for_each(|error| by_error.entry((*call, *error)).or_default().push(*nth));
    }
    let mut cases = Vec::new();
    for ((call, error), all) in by_error {
        let is_dull = matches!(scenario, Scenario::Term | Scenario::Kill) && errors::cannot_fail(call);
        let few = is_dull || scenario == Scenario::Persistent;
        for nth in if few { spread(&all, FEW) } else { all } {
            cases.push(Case {
                scenario,
                injection: Injection { call: call.to_owned(), nth, what: scenario.what(error) },
            });
        }
    }
    (cases, unknown)
}

fn is_looked_at(scenario: Scenario, trace: &Trace, up: f64, line: &Line) -> bool {
    match scenario {
        // The launcher itself is executed by strace.
        Scenario::Life | Scenario::Daemon | Scenario::Once | Scenario::Persistent => {
            !line.before_main && line.call != "execve"
        }
        Scenario::Children => line.pid != trace.first_process() && line.call != "execve",
        Scenario::Restart => line.pid != trace.first_process(),
        Scenario::TakeOver => line.time <= up,
        Scenario::Term | Scenario::Kill => !line.before_main && line.time <= up && line.call != "execve",
    }
}

/// At most `count` of them, as far apart as they can be.
pub(super) fn spread<T: Clone>(all: &[T], count: usize) -> Vec<T> {
    if all.len() <= count {
        return all.to_vec();
    }
    (0..count).map(|at| all[at * all.len() / count].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_named_by_what_repeats_it() {
        for name in ["life:openat:31:EIO", "kill:read:1:KILL", "persistent:clone:3:EAGAIN"] {
            let case = Case::parse(name).expect("a case");
            assert_eq!(case.to_string(), name);
            for filter in [name, "", ":", name.rsplit_once(':').expect("a colon").0] {
                assert!(Filter::parse(filter).expect("a filter").takes(&case), "{filter}");
            }
        }
        assert!(Filter::parse("nonsense").is_none() && Case::parse("life:openat").is_none());
        let case = Case::parse("life:openat:31:EIO").expect("a case");
        assert!(!Filter::parse("life:openat:3").expect("a filter").takes(&case));
    }

    #[test]
    fn a_few_are_spread_over_all() {
        assert_eq!(spread(&[1, 2, 3], 3), [1, 2, 3]);
        assert_eq!(spread(&(0..100).collect::<Vec<_>>(), 4), [0, 25, 50, 75]);
    }
}
