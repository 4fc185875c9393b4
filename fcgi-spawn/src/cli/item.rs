//! An option: everything that parsing, warnings, help, completions and man pages need to know of it.

use std::ffi::OsStr;

use crate::cli::situation::Situation;
use crate::{Config, Mode};

/// One option.
pub(crate) struct Item {
    /// The letters it answers to.
    pub(crate) letters: &'static str,
    pub(crate) long: &'static str,
    pub(crate) value: Option<Value>,
    pub(crate) effect: Effect,
    /// Its line in the help, which is also where its text in the man page begins.
    pub(crate) help: &'static str,
    /// The rest of that text.
    #[cfg(test)]
    pub(crate) man: &'static str,
    pub(crate) ignored: &'static [Ignored],
    /// Whether all its values count, and not only the last.
    pub(crate) repeatable: bool,
}

/// The value of an option.
pub(crate) struct Value {
    /// What stands for it in help and man page.
    pub(crate) name: &'static str,
    pub(crate) completion: Completion,
}

/// What shells offer as a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    Nothing,
    File,
    Directory,
    User,
    Group,
    Command,
    Shell,
}

/// Changes the configuration, or returns why the value is wrong.
pub(crate) type Set = fn(&mut Config, &OsStr) -> Result<(), String>;

/// What an option does.
#[derive(Clone, Copy)]
pub(crate) enum Effect {
    Set(Set),
    /// Does something instead of starting a program.
    Command(Command),
}

/// What there is to do instead of starting a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Check,
    Reload,
    Completions,
    Version,
    Help,
}

/// A reason to ignore an option.
pub(crate) struct Ignored {
    pub(crate) when: fn(&Situation<'_>) -> bool,
    /// Behind "is ignored".
    pub(crate) why: &'static str,
}

impl Item {
    pub(crate) const fn new(letters: &'static str, long: &'static str, value: Option<Value>, effect: Effect) -> Self {
        Item {
            letters,
            long,
            value,
            effect,
            help: "",
            #[cfg(test)]
            man: "",
            ignored: &[],
            repeatable: false,
        }
    }

    pub(crate) const fn help(self, help: &'static str) -> Self {
        Item { help, ..self }
    }

    /// The text is in no program: only the test that makes the man pages reads it.
    pub(crate) const fn man(self, _text: &'static str) -> Self {
        Item {
            #[cfg(test)]
            man: _text,
            ..self
        }
    }

    /// The first reason that holds is reported.
    pub(crate) const fn ignored(self, ignored: &'static [Ignored]) -> Self {
        Item { ignored, ..self }
    }

    pub(crate) const fn repeatable(self) -> Self {
        Item { repeatable: true, ..self }
    }

    /// `-s`, `--socket`: all its names.
    pub(crate) fn names(&self) -> Vec<String> {
        let short = self.letters.chars().map(|letter| format!("-{letter}"));
        short.chain([format!("--{}", self.long)]).collect()
    }

    /// Its name in a message: the letter, if it has one.
    pub(crate) fn name(&self) -> String {
        self.names().swap_remove(0)
    }

    /// Whether one of its reasons reads like this one.
    pub(crate) fn is_ignored(&self, ignored: &Ignored) -> bool {
        self.ignored.iter().any(|reason| reason.why == ignored.why)
    }

    /// Whether its value is a path.
    pub(crate) fn takes_path(&self) -> bool {
        let completion = self.value.as_ref().map(|value| value.completion);
        matches!(completion, Some(Completion::File | Completion::Directory))
    }
}

pub(crate) const NOT_ROOT: Ignored = Ignored { when: |s| !s.caller.is_root, why: "unless root runs this" };
/// Under another name it is an error unless it changes nothing.
pub(crate) const NOT_ROOT_AS_SPAWN_FCGI: Ignored =
    Ignored { when: |s| !s.caller.is_root && s.caller.is_spawn_fcgi(), why: NOT_ROOT.why };
pub(crate) const ONCE: Ignored = Ignored { when: |s| s.mode == Mode::Once, why: "with --once" };
pub(crate) const ONCE_IN_FOREGROUND: Ignored =
    Ignored { when: |s| s.mode == Mode::Once && s.has("foreground"), why: "with -n and --once" };
pub(crate) const INHERITED: Ignored = Ignored { when: |s| s.is_inherited, why: "with a socket that is there already" };
pub(crate) const NO_SOCKET_FILE: Ignored =
    Ignored { when: |s| !s.has_socket_file, why: "without the path of a unix socket" };
