//! `--check`: what a monitor makes of the page about the workers.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;

use crate::error::Reason;
use crate::files::page::{self, Listening, Summary, Word};
use crate::files::place::Place;

/// More than a page can have: 1024 workers and as many that stop, with 256 bytes each.
const MAX_SIZE: u64 = 512 << 10;

/// What a monitor gets: an exit status, and lines for a person.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) status: u8,
    pub(crate) text: String,
}

/// Looks whether all workers are up: 0 if so, 1 if some are, 2 if none is, no client can connect or nothing is known.
pub(crate) fn check(path: &Path) -> Check {
    let unknown = |why: &str| Check { status: 2, text: format!("{}: {why}\n", path.display()) };
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => return unknown(&Reason(&error).to_string()),
    };
    match page::parse(&text) {
        Err(why) => unknown(why),
        Ok(page) if !page.supervisor.is_alive() => {
            unknown(&format!("its supervisor (pid {}) is gone", page.supervisor.pid))
        }
        Ok(page) => verdict(page.listening, &page.workers),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    Place::of(path)?.open()?.take(MAX_SIZE).read_to_string(&mut text)?;
    Ok(text)
}

fn verdict(listening: Listening, workers: &[(&str, Word)]) -> Check {
    let summary = Summary::of(workers.iter().map(|(_, word)| *word));
    let mut text = match listening {
        Listening::Up => format!("{summary}\n"),
        Listening::Down => format!("the listening socket was shut down: {summary}\n"),
    };
    for (line, _) in workers.iter().filter(|(_, word)| word.counts() && !word.is_up()) {
        let _ = writeln!(text, "{line}");
    }
    let status = match summary.up {
        _ if listening == Listening::Down => 2,
        0 => 2,
        up if up < summary.workers => 1,
        _ => 0,
    };
    Check { status, text }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::files::scratch::Scratch;

    #[test]
    fn a_verdict_has_a_status() {
        let of = |listening, words: &[Word]| {
            let workers: Vec<_> = words.iter().map(|word| ("line", *word)).collect();
            verdict(listening, &workers)
        };
        let verdict = |words: &[Word]| of(Listening::Up, words);
        let check = |status, text: &str| Check { status, text: text.into() };
        assert_eq!(verdict(&[Word::Running, Word::Idle, Word::Reloading]), check(0, "3 of 3 workers up\n"));
        assert_eq!(verdict(&[Word::Running, Word::Stopping]), check(0, "1 of 1 workers up\n"));
        assert_eq!(verdict(&[Word::Running, Word::Waiting]), check(1, "1 of 2 workers up\nline\n"));
        assert_eq!(verdict(&[Word::Starting, Word::Stopped]), check(2, "0 of 2 workers up\nline\nline\n"));
        assert_eq!(verdict(&[]), check(2, "0 of 0 workers up\n"));
        let down = "the listening socket was shut down: 1 of 1 workers up\n";
        assert_eq!(of(Listening::Down, &[Word::Running]), check(2, down));
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
            (&path, "not a status file of fcgi-spawn"),
            (&fifo, "not a regular file"),
            (&link, "not a regular file"),
            (&scratch.path("missing"), "No such file or directory"),
        ] {
            let want = Check { status: 2, text: format!("{}: {why}\n", path.display()) };
            assert_eq!(check(path), want);
        }
    }
}
