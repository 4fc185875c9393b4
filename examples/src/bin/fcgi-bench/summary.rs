//! What is printed at the end.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::answer::ExpectedBody;
use super::options::{Mode, Options};
use super::plan::Plan;
use super::tally::Tally;

/// A run that is over.
pub(super) struct Summary<'r> {
    pub(super) options: &'r Options,
    pub(super) plan: &'r Plan,
    pub(super) tally: &'r Tally,
    /// How long it took.
    pub(super) elapsed: Duration,
}

impl Summary<'_> {
    /// For people: a word in front of each line, which programs find, too.
    pub(super) fn text(&self) -> String {
        let Self { options, plan, tally, elapsed } = self;
        let requests = tally.ok + tally.failed();
        let mut text = String::new();
        let mut line = |word: &str, rest: String| writeln!(text, "{word:<12} {rest}").expect("a String takes all");
        line("application", format!("{}, {}", options.address, self.connections()));
        line("request", plan.sends.clone());
        let (checked, unchecked) = self.checks();
        line("checked", checked);
        line("unchecked", unchecked.into());
        line("requests", format!("{requests} in {:.3} s, {:.0}/s", elapsed.as_secs_f64(), self.rate()));
        line("ok", tally.ok.to_string());
        line("failed", tally.failed().to_string());
        for (class, count, example) in tally.failures().filter(|(_, count, _)| *count > 0) {
            line(&format!("  {}", class.name()), format!("{count}, the first: {}", example.unwrap_or_default()));
        }
        line("retried", format!("{}, no byte of an answer on a kept connection", tally.retries));
        line("connections", format!("{}, {} found closed between requests", tally.connections, tally.found_closed));
        line("bytes", format!("{} sent, {} received, {} of them log text", tally.sent, tally.received, tally.stderr));
        let latencies: Vec<_> =
            tally.latencies().into_iter().map(|(name, time)| format!("{name} {}", short(time))).collect();
        if !latencies.is_empty() {
            line("latency", latencies.join(", "));
        }
        if tally.gave_up {
            line("gave up", "nobody accepts connections".into());
        }
        text
    }

    /// For programs, on one line.
    pub(super) fn json(&self) -> String {
        let Self { options, plan, tally, elapsed } = self;
        let microseconds = |time: Duration| json!(time.as_nanos() as f64 / 1000.0);
        let failed: Map<_, _> = tally.failures().map(|(class, count, _)| (class.name().into(), json!(count))).collect();
        let examples: Map<_, _> = tally
            .failures()
            .filter_map(|(class, _, example)| Some((class.name().to_owned(), Value::from(example?))))
            .collect();
        let latencies: Map<_, _> =
            tally.latencies().into_iter().map(|(name, time)| (name.to_owned(), microseconds(time))).collect();
        let body = match plan.want.body {
            ExpectedBody::Any => "unchecked",
            ExpectedBody::Length(_) => "length",
            ExpectedBody::Exactly(_) => "exact",
        };
        let summary = json!({
            "requests": tally.ok + tally.failed(),
            "seconds": elapsed.as_secs_f64(),
            "requests_per_second": self.rate(),
            "ok": tally.ok,
            "failed": tally.failed(),
            "failures": failed,
            "first_failures": examples,
            "retries": tally.retries,
            "gave_up": tally.gave_up,
            "connections": tally.connections,
            "connections_found_closed": tally.found_closed,
            "connections_at_once": options.connections,
            "requests_at_once_per_connection": plan.mode.at_once(),
            "bytes_sent": tally.sent,
            "bytes_received": tally.received,
            "bytes_stderr": tally.stderr,
            "latency_us": latencies,
            "checked_status": plan.want.status,
            "checked_body": body,
        });
        format!("{summary}\n")
    }

    fn connections(&self) -> String {
        let count = self.options.connections;
        match (self.plan.mode, count) {
            (Mode::Kept, 1) => "1 kept connection".into(),
            (Mode::Kept, _) => format!("{count} kept connections"),
            (Mode::PerRequest, 1) => "a connection per request".into(),
            (Mode::PerRequest, _) => format!("a connection per request, {count} at once"),
            (Mode::Multiplex(n), 1) => format!("1 kept connection with {n} requests at once"),
            (Mode::Multiplex(n), _) => format!("{count} kept connections with {n} requests at once on each"),
        }
    }

    /// What is checked of an answer, and what is not.
    fn checks(&self) -> (String, &'static str) {
        let want = &self.plan.want;
        let (body, unchecked) = match &want.body {
            ExpectedBody::Any => (String::new(), "the body, other header fields"),
            ExpectedBody::Length(length) => {
                (format!(", {length} bytes of body"), "what is in the body, other header fields")
            }
            ExpectedBody::Exactly(body) => (format!(", all {} bytes of the body", body.len()), "other header fields"),
        };
        let length = if want.content_length { ", Content-Length" } else { "" };
        (format!("status {}, appStatus 0{length}{body}", want.status), unchecked)
    }

    fn rate(&self) -> f64 {
        (self.tally.ok + self.tally.failed()) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Three digits and a unit.
fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (number, unit) = match seconds {
        ..1e-3 => (seconds * 1e6, "us"),
        ..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let digits = match number {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{number:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        for (nanoseconds, want) in [
            (0, "0.00 us"),
            (1_234, "1.23 us"),
            (56_780, "56.8 us"),
            (999_000, "999 us"),
            (1_500_000, "1.50 ms"),
            (123_456_789, "123 ms"),
            (30_000_000_000, "30.0 s"),
        ] {
            assert_eq!(short(Duration::from_nanos(nanoseconds)), want);
        }
    }
}
