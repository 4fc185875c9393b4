//! System calls of `fcgi-spawn` that fail: a sample of what `tests/run inject` goes through.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fcgi_tests::inject::{self, Options};
use fcgi_tests::skip;

/// So many cases take about twenty seconds of one processor, undisturbed runs included.
const CASES: usize = 45;

/// Other cases each day, the same all day.
fn offset() -> usize {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400);
    usize::try_from(days).unwrap_or_default()
}

/// Each start is refused cleanly, or the service goes on, or a line reports what was not done.
#[test]
fn a_call_that_fails_is_survived_or_reported() {
    if let Err(why) = inject::is_possible() {
        skip!("{why}");
    }
    let options = Options {
        filters: Vec::new(),
        sample: Some((CASES, offset())),
        jobs: 4,
        // Many other tests run beside this one.
        patience: Duration::from_secs(30),
        verbose: false,
    };
    let summary = inject::run(&options, &|line| eprintln!("{line}")).unwrap_or_else(|error| panic!("{error}"));
    assert!(summary.is_good(), "{}", summary.text());
    assert_eq!(summary.cases, CASES);
}
