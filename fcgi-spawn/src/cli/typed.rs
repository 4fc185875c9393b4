//! The command line as it was typed: no value is checked yet.

use std::ffi::{OsStr, OsString};

use lexopt::Arg;

use crate::cli::item::{Command, Effect, Item};
use crate::cli::list;
use crate::{Error, Mode};

/// What was typed, in order.
#[derive(Default)]
pub(crate) struct Typed {
    /// What to do instead of starting the program, and its value.
    pub(crate) command: Option<(Command, OsString)>,
    options: Vec<(&'static Item, OsString)>,
    /// The program and its arguments.
    pub(crate) program: Vec<OsString>,
}

impl Typed {
    /// Reads the arguments behind the launcher's own name, as getopt does: options before and behind
    /// the first other word, until `--`; `-p9000` and `-nSs PATH` too.
    ///
    /// # Errors
    ///
    /// An option that does not exist, one whose value is missing or must not be there, or a command behind an option.
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut typed = Typed::default();
        let mut parser = lexopt::Parser::from_args(args);
        // To getopt the value of `-s=x` is "=x".
        parser.set_short_equals(false);

        let mut is_first = true;
        while let Some(arg) = parser.next().map_err(refused)? {
            let found = match &arg {
                Arg::Short(letter) => list::items().find(|item| item.letters.contains(*letter)),
                Arg::Long(name) => list::items().find(|item| item.long == *name),
                Arg::Value(value) => {
                    typed.program.push(value.clone());
                    is_first = false;
                    continue;
                }
            };
            let Some(item) = found else { return Err(refused(arg.unexpected())) };
            // spawn-fcgi has its letters anywhere.
            let is_in_place = is_first || matches!(arg, Arg::Short(_));
            let value = match item.value {
                Some(_) => parser.value().map_err(refused)?,
                None => OsString::new(),
            };
            match item.effect {
                Effect::Set(_) => typed.options.push((item, value)),
                Effect::Command(_) if !is_in_place => {
                    return Err(Error::new(format!("--{} has to be the first option", item.long)));
                }
                Effect::Command(command) => typed.command = Some((command, value)),
            }
            if matches!(typed.command, Some((Command::Help | Command::Version | Command::Completions, _))) {
                break;
            }
            is_first = false;
        }
        Ok(typed)
    }

    /// The options that count: of one that was repeated, the last.
    pub(crate) fn options(&self) -> impl Iterator<Item = (&'static Item, &OsStr)> {
        self.options.iter().enumerate().filter_map(move |(at, (item, value))| {
            let is_repeated = self.options[at + 1..].iter().any(|(later, _)| later.long == item.long);
            (item.repeatable || !is_repeated).then_some((*item, value.as_os_str()))
        })
    }

    /// The value of an option that was typed; it is empty if the option takes none.
    pub(crate) fn value(&self, long: &str) -> Option<&OsStr> {
        debug_assert!(list::items().any(|item| item.long == long), "--{long}");
        self.options.iter().rev().find(|(item, _)| item.long == long).map(|(_, value)| value.as_os_str())
    }

    pub(crate) fn has(&self, long: &str) -> bool {
        self.value(long).is_some()
    }

    /// The mode, if an option names it.
    pub(crate) fn mode(&self) -> Option<Mode> {
        self.options.iter().rev().find_map(|(item, _)| match item.long {
            "once" => Some(Mode::Once),
            "supervise" => Some(Mode::Supervise),
            _ => None,
        })
    }
}

fn refused(error: lexopt::Error) -> Error {
    Error::new(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Typed, String> {
        let words = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from);
        Typed::parse(words).map_err(|error| error.to_string())
    }

    /// The options that count are these, as `--long=value` or `--long`, and the program is this.
    #[track_caller]
    fn check(line: &str, options: &str, program: &str) {
        let typed = parse(line).unwrap_or_else(|message| panic!("{line:?}: {message}"));
        let text = |value: &OsStr| value.to_str().expect("a test's own text").to_owned();
        let seen: Vec<_> = typed
            .options()
            .map(|(item, value)| match item.value {
                Some(_) => format!("--{}={}", item.long, text(value)),
                None => format!("--{}", item.long),
            })
            .collect();
        let words: Vec<_> = typed.program.iter().map(|word| text(word)).collect();
        assert_eq!((seen.join(" ").as_str(), words.join(" ").as_str()), (options, program), "{line:?}");
    }

    #[track_caller]
    fn refuses(line: &str, message: &str) {
        assert_eq!(parse(line).err().as_deref(), Some(message), "{line:?}");
    }

    #[test]
    fn short_options_as_getopt_reads_them() {
        check("", "", "");
        check("-p 9000", "--port=9000", "");
        check("-p9000", "--port=9000", "");
        check("-s=x", "--socket==x", "");
        check("-p -n", "--port=-n", "");
        check("-nF2 -Ps -s /s", "--foreground --workers=2 --pid-file=s --socket=/s", "");
    }

    #[test]
    fn each_option_by_each_of_its_names() {
        for item in list::items().filter(|item| matches!(item.effect, Effect::Set(_))) {
            let long = format!("--{}", item.long);
            let (lines, want): (Vec<String>, String) = match item.value {
                Some(_) => {
                    let names = item.names();
                    let attached = item.letters.chars().map(|letter| format!("-{letter}x"));
                    let lines: Vec<_> = names.iter().map(|name| format!("{name} x")).collect();
                    (lines.into_iter().chain(attached).chain([format!("{long}=x")]).collect(), format!("{long}=x"))
                }
                None => (item.names(), long),
            };
            lines.iter().for_each(|line| check(line, &want, ""));
        }
    }

    #[test]
    fn every_letter_of_spawn_fcgi_and_no_other() {
        let letters: String = list::items().map(|item| item.letters).collect();
        let mut letters: Vec<char> = letters.chars().collect();
        let mut original: Vec<char> = "fdapsMCFbPncSugUGvh?".chars().collect();
        letters.sort_unstable();
        original.sort_unstable();
        assert_eq!(letters, original);
        check(
            "-f d -d d -a a -p p -s s -M m -C c -F n -b b -P P -n -c r -S -u u -g g -U U -G G",
            "--command=d --directory=d --address=a --port=p --socket=s --mode=m --php-children=c --workers=n \
             --backlog=b --pid-file=P --foreground --chroot=r --socket-outside --user=u --group=g --socket-user=U \
             --socket-group=G",
            "",
        );
    }

    #[test]
    fn the_last_of_repeated_options_counts() {
        check("-p 1 -F 2 -p 3", "--workers=2 --port=3", "");
        check("--watch x --watch y", "--watch=x --watch=y", "");
        assert_eq!(parse("--once --supervise").expect("parsed").mode(), Some(Mode::Supervise));
        assert_eq!(parse("--supervise --once").expect("parsed").mode(), Some(Mode::Once));
        assert_eq!(parse("-n").expect("parsed").mode(), None);
    }

    #[test]
    fn what_follows_two_dashes_is_the_program() {
        check("-p 1 -- app -n -- --x", "--port=1", "app -n -- --x");
        check("app -p 1 x", "--port=1", "app x");
    }

    #[test]
    fn commands_come_first() {
        let command = |line| parse(line).unwrap_or_else(|message| panic!("{line}: {message}")).command;
        let of = |command, value: &str| Some((command, value.into()));
        assert_eq!(command("--help --bogus"), of(Command::Help, ""));
        assert_eq!(command("--version -p"), of(Command::Version, ""));
        assert_eq!(command("--completions zsh -p"), of(Command::Completions, "zsh"));
        assert_eq!(command("--completions=zsh"), of(Command::Completions, "zsh"));
        assert_eq!(command("--check --status s -n app"), of(Command::Check, ""));
        for name in ["--help", "--version", "--completions zsh", "--check"] {
            let message = format!("{} has to be the first option", name.split(' ').next().expect("a name"));
            refuses(&format!("-n {name}"), &message);
            refuses(&format!("app {name}"), &message);
            refuses(&format!("--check {name}"), &message);
        }
    }

    #[test]
    fn letters_of_commands_are_accepted_anywhere() {
        let command = |line| parse(line).expect("parsed").command.map(|(command, _)| command);
        for (line, want) in [
            ("-h --bogus", Command::Help),
            ("-? -p", Command::Help),
            ("-s x -h", Command::Help),
            ("app -?", Command::Help),
            ("-nv -x", Command::Version),
            ("--check -v", Command::Version),
        ] {
            assert_eq!(command(line), Some(want), "{line}");
        }
    }

    #[test]
    fn errors_name_the_option() {
        refuses("-x", "invalid option '-x'");
        refuses("-nx", "invalid option '-x'");
        refuses("--bogus", "invalid option '--bogus'");
        refuses("--seed 1", "invalid option '--seed'");
        refuses("-p", "missing argument for option '-p'");
        refuses("--foreground=me", "unexpected argument for option '--foreground': \"me\"");
    }
}
