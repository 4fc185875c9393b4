//! Steps side by side, as dependencies, locks and processors permit.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::step::{Order, Outcome, Step};

/// A step that has been run.
pub(crate) struct Done {
    pub(crate) step: &'static Step,
    pub(crate) outcome: Outcome,
    pub(crate) time: Duration,
}

/// Runs the steps; `report` hears of each when it is over, with how many are.
pub(crate) fn run(
    context: &Context,
    orders: Vec<(&'static Step, Order)>,
    jobs: usize,
    mut report: impl FnMut(&Done, usize),
) -> Vec<Done> {
    // Twice what there is: builds wait for their last crates and links, and tests for what they started.
    let capacity = 2 * context.processors;
    let mut waiting = orders;
    let mut running: Vec<&'static Step> = Vec::new();
    let mut done: Vec<Done> = Vec::new();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        while !waiting.is_empty() || !running.is_empty() {
            if context.is_interrupted() {
                break;
            }
            let mut index = 0;
            while index < waiting.len() {
                let step = waiting[index].0;
                if let Some(failed) = failed_need(step, &done) {
                    waiting.remove(index);
                    let outcome = Outcome::failed(format!("not run, since {failed} failed"));
                    finish(Done { step, outcome, time: Duration::ZERO }, &mut done, &mut report);
                    continue;
                }
                if !may_start(step, &waiting, &running, capacity, jobs) {
                    index += 1;
                    continue;
                }
                let (step, order) = waiting.remove(index);
                running.push(step);
                let sender = sender.clone();
                scope.spawn(move || {
                    let started = Instant::now();
                    let outcome = (step.run)(context, &order);
                    let _ = sender.send(Done { step, outcome, time: started.elapsed() });
                });
            }
            if running.is_empty() {
                continue;
            }
            let Ok(one) = receiver.recv() else { break };
            running.retain(|step| step.name != one.step.name);
            finish(one, &mut done, &mut report);
        }
    });
    done
}

fn finish(one: Done, done: &mut Vec<Done>, report: &mut impl FnMut(&Done, usize)) {
    done.push(one);
    let count = done.len();
    report(&done[count - 1], count);
}

fn failed_need(step: &Step, done: &[Done]) -> Option<&'static str> {
    let failed = done.iter().find(|one| step.needs.contains(&one.step.name) && !one.outcome.failures.is_empty());
    failed.map(|one| one.step.name)
}

/// Whether a step may begin beside those that run.
fn may_start(
    step: &Step,
    waiting: &[(&'static Step, Order)],
    running: &[&'static Step],
    capacity: usize,
    jobs: usize,
) -> bool {
    let unfinished: BTreeSet<&str> =
        waiting.iter().map(|(step, _)| step.name).chain(running.iter().map(|step| step.name)).collect();
    if step.needs.iter().any(|need| unfinished.contains(need)) || running.len() >= jobs {
        return false;
    }
    if step.lock.is_some() && running.iter().any(|other| other.lock == step.lock) {
        return false;
    }
    let busy: usize = running.iter().map(|other| other.weight).sum();
    busy == 0 || busy + step.weight <= capacity
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::step::Kind;

    static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

    const fn step(
        name: &'static str,
        needs: &'static [&'static str],
        weight: usize,
        lock: Option<&'static str>,
        run: fn(&Context, &Order) -> Outcome,
    ) -> Step {
        Step { name, about: "", kind: Kind::Quick, needs, weight, lock, run }
    }

    fn note(_: &Context, order: &Order) -> Outcome {
        LOG.lock().expect("no panic").push(order.step.to_owned());
        Outcome::passed()
    }

    static STEPS: [Step; 5] = [
        step("heavy", &["after"], 9, None, note),
        step("late", &["broken"], 0, None, note),
        step("after", &["first"], 1, Some("a"), note),
        step("first", &[], 1, Some("a"), note),
        step("broken", &[], 2, None, |_, _| Outcome::failed("why")),
    ];

    #[test]
    fn dependencies_come_first_and_what_is_too_heavy_runs_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().to_owned();
        let context = Context::new(path.clone(), path.clone(), path).expect("a directory");
        let orders = STEPS.iter().map(|step| (step, Order { step: step.name, filter: Vec::new(), whole: true }));
        let mut seen = 0;
        let done = run(&context, orders.collect(), 4, |_, count| seen = count);
        assert_eq!(*LOG.lock().expect("no panic"), ["first", "after", "heavy"]);
        assert_eq!((seen, done.len()), (5, 5));
        let late = done.iter().find(|one| one.step.name == "late").expect("it is reported");
        assert_eq!(late.outcome.failures[0].output, "not run, since broken failed");
    }

    #[test]
    fn nothing_begins_when_the_run_is_interrupted() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        fn interrupts(context: &Context, _: &Order) -> Outcome {
            COUNT.fetch_add(1, Ordering::SeqCst);
            context.interrupt();
            Outcome::passed()
        }
        static STEPS: [Step; 2] =
            [step("one", &[], 1, Some("a"), interrupts), step("two", &["one"], 1, Some("a"), interrupts)];
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().to_owned();
        let context = Context::new(path.clone(), path.clone(), path).expect("a directory");
        let orders = STEPS.iter().map(|step| (step, Order { step: step.name, filter: Vec::new(), whole: true }));
        run(&context, orders.collect(), 4, |_, _| ());
        assert_eq!(COUNT.load(Ordering::SeqCst), 1);
    }
}
