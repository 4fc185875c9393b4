//! `--check`: what a monitor makes of the page about the workers.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::error::Reason;
use crate::files::json::{Json, Object};
use crate::files::page::{self, Header, Listening, Page, ReloadWord, Summary};
use crate::files::page_lock::PageLock;
use crate::files::place::Place;
use crate::files::status_file::PERIOD;
use crate::sys;

/// More than a page can have: 1024 workers and as many that stop, with 256 bytes each.
const MAX_SIZE: u64 = 512 << 10;

/// A page that is older was not written by a supervisor that is well.
const MAX_AGE: Duration = PERIOD.saturating_mul(3);

/// What a monitor gets: an exit status, and lines for a person or a program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) status: u8,
    pub(crate) text: String,
}

/// Looks whether all workers are up: 0 if so, 1 if some are, 2 if none is, no client can connect or nothing is known.
pub(crate) fn check(path: &Path, is_json: bool) -> Check {
    let text = read(path).map(|(text, _)| text).map_err(|error| Reason(&error).to_string());
    let page = text.as_ref().map_err(Clone::clone).and_then(|text| page::parse(text).map_err(str::to_owned));
    let now = sys::monotonic();
    let known = page.and_then(|page| match why_unknown(path, &page.header, now) {
        Some(why) => Err(why),
        None => Ok(page),
    });
    let (status, text) = match &known {
        Err(why) => (2, format!("{}: {why}\n", path.display())),
        Ok(page) => verdict(page),
    };
    match is_json {
        true => Check { status, text: json(path, status, &text, known.ok().as_ref(), now) },
        false => Check { status, text },
    }
}

/// The text of a page, and the user whose file it is.
pub(crate) fn read(path: &Path) -> io::Result<(String, u32)> {
    let (file, mut text) = (Place::of(path)?.open()?, String::new());
    let owner = file.metadata()?.uid();
    file.take(MAX_SIZE).read_to_string(&mut text)?;
    Ok((text, owner))
}

/// Why a page tells nothing of how the workers are now.
pub(crate) fn why_unknown(path: &Path, header: &Header, now: Duration) -> Option<String> {
    let pid = header.pid;
    let holder = || Place::of(path).and_then(|page| PageLock::holder(&page)).ok().flatten();
    if header.is_locked && holder().is_none() {
        return Some(format!("its supervisor (pid {pid}) is gone or stopping"));
    }
    match now.checked_sub(header.clock) {
        None => Some(format!("its supervisor (pid {pid}) wrote it before the machine was started")),
        Some(age) if age > MAX_AGE => {
            let why = "is stopped, hangs or cannot write it";
            Some(format!("it is {} seconds old: its supervisor (pid {pid}) {why}", age.as_secs()))
        }
        Some(_) => None,
    }
}

fn verdict(page: &Page<'_>) -> (u8, String) {
    let summary = Summary::of(page.workers.iter().map(|(_, word)| *word));
    let mut text = match page.header.listening {
        Listening::Up => format!("{summary}\n"),
        Listening::Down => format!("the listening socket was shut down: {summary}\n"),
        Listening::Gone => format!("the file of the listening socket is gone: {summary}\n"),
    };
    for (line, _) in page.workers.iter().filter(|(_, word)| word.counts() && !word.is_up()) {
        let _ = writeln!(text, "{line}");
    }
    // The workers that serve are no worse for it, so it is no reason to restart them.
    if let (ReloadWord::Failed, Some(reason)) = (page.header.reload.result, &page.header.reload.reason) {
        let _ = writeln!(text, "the last reload failed: {reason}");
    }
    let status = match summary.up {
        _ if page.header.listening != Listening::Up => 2,
        0 => 2,
        up if up < summary.workers => 1,
        _ => 0,
    };
    (status, text)
}

/// The same for a program, with all that the page says.
fn json(path: &Path, status: u8, text: &str, page: Option<&Page<'_>>, now: Duration) -> String {
    let mut object = Object::default();
    object.add("status", Json::Number(status.into()));
    object.add("message", Json::Text(text.trim_end().into()));
    object.add("page", Json::Text(path.to_string_lossy().into_owned()));
    if let Some(Page { header, workers }) = page {
        let summary = Summary::of(workers.iter().map(|(_, word)| *word));
        let count = |count: usize| Json::Number(count as u64);
        object.add("supervisor", Json::Number(header.pid.into()));
        object.add("age", Json::Seconds(now.saturating_sub(header.clock)));
        object.add("listener", Json::Text(header.listening.to_string()));
        object.add("workers", count(summary.workers));
        object.add("up", count(summary.up));
        object.add("busy", header.busy.map_or(Json::Null, count));
        object.add("waiting", header.waiting.map_or(Json::Null, count));
        let mut reload = Object::default();
        reload.add("number", Json::Number(header.reload.number));
        reload.add("result", Json::Text(header.reload.result.to_string()));
        let left = header.reload.until.map(|until| Json::Seconds(until.saturating_sub(now)));
        reload.add("ends_within", left.unwrap_or(Json::Null));
        reload.add("reason", header.reload.reason.clone().map_or(Json::Null, Json::Text));
        object.add("reload", Json::Object(reload));
        object.add("processes", Json::List(workers.iter().map(|(line, _)| process(line)).collect()));
    }
    format!("{}\n", Json::Object(object))
}

/// The line of a process.
fn process(line: &str) -> Json {
    let mut object = Object::default();
    for (name, field) in page::COLUMNS.iter().zip(line.split(' ')) {
        let value = match *name {
            "state" | "last_exit" if field != "-" => Json::Text(field.into()),
            "rss" => page::number(field).map_or(Json::Null, |kib: u64| Json::Number(kib * 1024)),
            _ => page::number(field).map_or(Json::Null, Json::Number),
        };
        object.add(name, value);
    }
    Json::Object(object)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::files::page::{Reload, Word};
    use crate::files::scratch::Scratch;

    fn header() -> Header {
        Header {
            pid: 4711,
            busy: Some(1),
            waiting: Some(0),
            listening: Listening::Up,
            is_locked: false,
            clock: sys::monotonic(),
            reload: Reload { number: 0, result: ReloadWord::None, until: None, reason: None },
        }
    }

    #[test]
    fn a_verdict_has_a_status() {
        let of = |header: &Header, words: &[Word]| {
            let workers = words.iter().map(|word| ("line", *word)).collect();
            verdict(&Page { header: header.clone(), workers })
        };
        let up = |words: &[Word]| of(&header(), words);
        let check = |status: u8, text: &str| (status, text.to_owned());
        assert_eq!(up(&[Word::Running, Word::Idle, Word::Reloading]), check(0, "3 of 3 workers up\n"));
        assert_eq!(up(&[Word::Running, Word::Stopping]), check(0, "1 of 1 workers up\n"));
        assert_eq!(up(&[Word::Running, Word::Waiting]), check(1, "1 of 2 workers up\nline\n"));
        assert_eq!(up(&[Word::Starting, Word::Stopped]), check(2, "0 of 2 workers up\nline\nline\n"));
        assert_eq!(up(&[]), check(2, "0 of 0 workers up\n"));
        let down = "the listening socket was shut down: 1 of 1 workers up\n";
        assert_eq!(of(&Header { listening: Listening::Down, ..header() }, &[Word::Running]), check(2, down));
        let gone = "the file of the listening socket is gone: 1 of 1 workers up\n";
        assert_eq!(of(&Header { listening: Listening::Gone, ..header() }, &[Word::Running]), check(2, gone));
        let reload = Reload { number: 1, result: ReloadWord::Failed, until: None, reason: Some("why".into()) };
        let failed = "1 of 1 workers up\nthe last reload failed: why\n";
        assert_eq!(of(&Header { reload, ..header() }, &[Word::Running]), check(0, failed));
    }

    #[test]
    fn an_old_page_tells_nothing() {
        let scratch = Scratch::new();
        let path = scratch.path("page");
        let check_at = |clock: Duration| {
            let text = page::text(&Header { clock, ..header() }, &[], Duration::ZERO);
            fs::write(&path, text).expect("written");
            check(&path, false).text
        };
        let now = sys::monotonic();
        assert_eq!(check_at(now), "0 of 0 workers up\n");
        let old = check_at(now.saturating_sub(Duration::from_secs(31)));
        assert!(
            old.contains("it is 31 seconds old: its supervisor (pid 4711) is stopped, hangs or cannot write it"),
            "{old}"
        );
        let boot = check_at(now + Duration::from_secs(1000));
        assert!(boot.contains("before the machine was started"), "{boot}");
    }

    #[test]
    fn a_page_without_its_lock_is_of_none() {
        let scratch = Scratch::new();
        let path = scratch.path("page");
        let text = page::text(&Header { is_locked: true, ..header() }, &[], Duration::ZERO);
        fs::write(&path, text).expect("written");
        for lock in [None, Some("")] {
            lock.into_iter().for_each(|text| fs::write(scratch.path("page.lock"), text).expect("written"));
            let want = format!("{}: its supervisor (pid 4711) is gone or stopping\n", path.display());
            assert_eq!(check(&path, false), Check { status: 2, text: want });
        }
    }

    #[test]
    fn reads_a_regular_file_and_waits_for_nothing() {
        let scratch = Scratch::new();
        let (path, fifo, link) = (scratch.path("page"), scratch.path("fifo"), scratch.path("link"));
        let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
        assert!(made.success());
        fs::write(&path, "other\n").expect("written");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        for (path, why) in [
            (&path, "not a status page of this version of fcgi-spawn"),
            (&fifo, "not a regular file"),
            (&link, "not a regular file"),
            (&scratch.path("missing"), "No such file or directory"),
        ] {
            let want = Check { status: 2, text: format!("{}: {why}\n", path.display()) };
            assert_eq!(check(path, false), want);
        }
    }

    #[test]
    fn a_program_is_told_all() {
        let line = "1 4712 running 3600s 0 exit:1 - 5120KiB";
        let page = Page { header: header(), workers: vec![(line, Word::Running)] };
        let now = page.header.clock + Duration::from_millis(1250);
        assert_eq!(
            json(Path::new("/run/a \"b\""), 0, "1 of 1 workers up\n", Some(&page), now),
            "{\"status\":0,\"message\":\"1 of 1 workers up\",\"page\":\"/run/a \\\"b\\\"\",\"supervisor\":4711,\"age\":1.250,\
             \"listener\":\"up\",\"workers\":1,\"up\":1,\"busy\":1,\"waiting\":0,\
             \"reload\":{\"number\":0,\"result\":\"none\",\"ends_within\":null,\"reason\":null},\
             \"processes\":[{\"slot\":1,\"pid\":4712,\"state\":\"running\",\"age\":3600,\"restarts\":0,\
             \"last_exit\":\"exit:1\",\"next_start\":null,\"rss\":5242880}]}\n"
        );
        let unknown = json(Path::new("p"), 2, "p: why\n", None, now);
        assert_eq!(unknown, "{\"status\":2,\"message\":\"p: why\",\"page\":\"p\"}\n");
    }
}
