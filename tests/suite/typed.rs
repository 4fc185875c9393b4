//! What our pages and comments tell a reader to type is typed here: every command, in the order of the page, in a copy of
//! this machine, as root and as an ordinary user, from the root of the repository.
//!
//! | in a page | |
//! |---|---|
//! | a block of `sh` | is typed; it fails at its first command that fails |
//! | `# Hello, World!` behind a command with `curl` or `fcgi-get` | its output contains this text |
//! | a line `# in another terminal` | what is above stays in the foreground until what is below has been done, then Ctrl-C |
//! | the flag `root` | root types it, as `sudo -i` or `su` would have it, whoever reads the page |
//! | the flag `user` | only for an ordinary user |
//! | the flag `untyped` | not typed here |
//! | `file=PATH` | the reader saves the block as this file |
//! | `from=FILE` | cut out of the configuration FILE, which other tests start a web server with |
//!
//! Words behind the language of a block are invisible to readers.

mod comments;
mod pages;

use std::env;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use fcgi_tests::{Block, Deadline, Process, Program, Signal};

use crate::machine::{Machine, TIME, User};

/// The line between a command in the foreground and what is typed meanwhile.
const ANOTHER_TERMINAL: &str = "# in another terminal";

/// How long a server may take to read its configuration again.
const RELOAD_TIME: Duration = Duration::from_secs(10);

/// One reader in front of one machine.
struct Reader<'a> {
    machine: &'a Machine,
    user: User,
}

impl Reader<'_> {
    /// Does what a block says; or says what went wrong.
    fn follow(&self, block: &Block) -> Result<(), String> {
        let user = if block.has("root") { User::Root } else { self.user };
        if block.has("untyped") || block.value("from").is_some() || (block.has("user") && self.user == User::Root) {
            return Ok(());
        }
        if let Some(path) = block.value("file") {
            return self.save(user, path, &block.text);
        }
        if block.language != "sh" {
            return Ok(());
        }
        match block.text.split_once(ANOTHER_TERMINAL) {
            Some((foreground, rest)) => {
                let meanwhile = rest.split_once('\n').map_or("", |(_, meanwhile)| meanwhile);
                self.beside(user, foreground, meanwhile)
            }
            None => self.type_in(user, &block.text),
        }
    }

    fn save(&self, user: User, path: &str, text: &str) -> Result<(), String> {
        let end = "END-OF-THE-FILE";
        let (status, output) = self.machine.try_run_as(user, &format!("cat >{path} <<'{end}'\n{text}{end}\n"));
        if status.success() { Ok(()) } else { Err(format!("{path} cannot be saved: {output}")) }
    }

    /// Types `text` and looks at what comes of it. Questions at its end are asked again for a while, since a server may
    /// still be reading its configuration when the command that told it to is over.
    fn type_in(&self, user: User, text: &str) -> Result<(), String> {
        // The output that is wanted stands behind the last line of a command.
        let text = text.replace("\\\n", "");
        let lines: Vec<_> = text.lines().collect();
        let questions = lines.iter().rev().take_while(|line| is_question(line)).count();
        let (commands, questions) = lines.split_at(lines.len() - questions);
        self.once(user, &commands.join("\n"))?;
        let deadline = Deadline::after(RELOAD_TIME);
        loop {
            let last = deadline.passed();
            let answered = self.once(user, &questions.join("\n"));
            if answered.is_ok() || last {
                return answered;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn once(&self, user: User, text: &str) -> Result<(), String> {
        let (status, output) = self.machine.try_run_as(user, &format!("set -e\n{text}"));
        if !status.success() {
            return Err(format!("{status}\n{text}\n--- prints\n{output}"));
        }
        let mut rest = &output[..];
        for wanted in text.lines().filter(|line| is_question(line)).filter_map(|line| line.split_once("  # ")) {
            let wanted = wanted.1.trim();
            let Some(at) = rest.find(wanted) else {
                return Err(format!(
                    "'{wanted}' is not in the output, or not in its order\n{text}\n--- prints\n{output}"
                ));
            };
            rest = &rest[at + wanted.len()..];
        }
        Ok(())
    }

    /// Types `meanwhile` while `foreground` runs, again until it does what it should; then Ctrl-C.
    fn beside(&self, user: User, foreground: &str, meanwhile: &str) -> Result<(), String> {
        use std::os::unix::process::CommandExt;
        let mut command = self.machine.command(user, &format!("set -e\n{foreground}"));
        let mut terminal = Process::start(command.process_group(0).stdin(Stdio::null()));
        let deadline = Deadline::after(TIME);
        let failed = loop {
            let (last, ended) = (deadline.passed(), terminal.has_ended());
            match self.type_in(user, meanwhile) {
                Err(_) if !last && !ended => thread::sleep(Duration::from_millis(100)),
                done => break done.err(),
            }
        };
        let ended = terminal.has_ended();
        terminal.signal_group(Signal::INT);
        let status = terminal.wait_exit();
        let messages = || terminal.stderr().to_end();
        match failed {
            None if ended && !status.success() => {
                Err(format!("{foreground}ended by itself, {status}:\n{}", messages()))
            }
            None => Ok(()),
            Some(why) => Err(format!("{foreground}ended by {status}:\n{}\n{why}", messages())),
        }
    }
}

/// Whether a command only asks a server; the comment behind it is what the answer contains.
fn is_question(line: &str) -> bool {
    line.contains("curl ") || line.contains("fcgi-get ")
}

/// Follows all blocks of a page, in a machine of its own.
#[track_caller]
fn follow_all(page: &str, blocks: &[Block], user: User, prepare: &str) {
    let machine = Machine::copy().unwrap_or_else(|why| panic!("no machine: {why}"));
    machine.run(prepare);
    let reader = Reader { machine: &machine, user };
    for block in blocks {
        if let Err(why) = reader.follow(block) {
            let logs = machine.try_run("tail -n 20 /tmp/*.log /tmp/*/*.log 2>/dev/null").1;
            panic!("{page}, line {}, as {user:?}: {why}\n--- logs\n{logs}", block.line);
        }
    }
}

/// The first need that is not met, and why. A need is the path of a file, a variable that has to name a directory
/// (`FCGI_TEST_FLUP`), or a program.
fn missing(needs: &[&str]) -> Option<String> {
    needs.iter().find_map(|&need| {
        let (there, lack) = if need.starts_with('/') {
            (Path::new(need).is_file(), "is not there")
        } else if need.starts_with("FCGI_TEST_") {
            (env::var_os(need).is_some_and(|directory| Path::new(&directory).is_dir()), "names no directory")
        } else {
            (Program::installed(need).is_some(), "is not installed")
        };
        (!there).then(|| format!("{need} {lack}"))
    })
}

/// Ends the calling test unless a copy of this machine can be made, whose repository has the programs under test, and
/// what is typed there is installed.
macro_rules! needs_a_copy {
    ($needs:expr) => {
        fcgi_tests::needs_root!();
        fcgi_tests::dynamic_only!();
        fcgi_tests::once_is_enough!();
        if let Some(why) = crate::typed::missing($needs) {
            fcgi_tests::skip!("{why}");
        }
    };
}
use needs_a_copy;
