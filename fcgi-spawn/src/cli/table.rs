//! Options in a table, which parsing, help and completions read.

use std::ffi::OsString;
use std::fmt::Write;

use lexopt::Arg;

use crate::Error;

/// Sections of the help, with the options in them; `T` is what they are typed into.
pub(crate) struct Table<T: 'static>(pub(crate) &'static [(&'static str, &'static [Row<T>])]);

/// One option.
pub(crate) struct Row<T> {
    /// The letters it answers to.
    pub(crate) letters: &'static str,
    pub(crate) long: &'static str,
    set: Set<T>,
    pub(crate) help: &'static str,
}

/// What an option does.
enum Set<T> {
    Flag(fn(&mut T)),
    /// The placeholder says what kind of value it is.
    Value(&'static str, fn(&mut T, OsString)),
}

/// An option without a value.
pub(crate) const fn flag<T>(letters: &'static str, long: &'static str, set: fn(&mut T), help: &'static str) -> Row<T> {
    Row { letters, long, set: Set::Flag(set), help }
}

/// An option with a value, for which `placeholder` stands in the help.
pub(crate) const fn value<T>(
    letters: &'static str,
    long: &'static str,
    placeholder: &'static str,
    set: fn(&mut T, OsString),
    help: &'static str,
) -> Row<T> {
    Row { letters, long, set: Set::Value(placeholder, set), help }
}

impl<T> Row<T> {
    /// What its value is, in the help's word, if it has one.
    pub(crate) fn placeholder(&self) -> Option<&'static str> {
        match self.set {
            Set::Flag(_) => None,
            Set::Value(placeholder, _) => Some(placeholder),
        }
    }
}

impl<T> Table<T> {
    /// All options in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'static Row<T>> + use<T> {
        self.0.iter().flat_map(|(_, rows)| rows.iter())
    }

    fn find(&self, is_it: &dyn Fn(&Row<T>) -> bool) -> Option<&'static Row<T>> {
        self.0.iter().find_map(|(_, rows)| rows.iter().find(|row| is_it(row)))
    }

    /// Reads the arguments behind the program's own name, as getopt does: options before and behind
    /// the first other word, until `--`; `-p9000` and `-nSs PATH` too.
    ///
    /// `word` takes what is no option; once `enough` says so, nothing more is read.
    ///
    /// # Errors
    ///
    /// An option that does not exist, or one whose value is missing or must not be there.
    pub(crate) fn parse(
        &self,
        args: Vec<OsString>,
        typed: &mut T,
        word: fn(&mut T, OsString),
        enough: fn(&T) -> bool,
    ) -> Result<(), Error> {
        let mut parser = lexopt::Parser::from_args(args);
        // To getopt the value of `-s=x` is "=x".
        parser.set_short_equals(false);

        while let Some(arg) = parser.next().map_err(refused)? {
            let row = match &arg {
                Arg::Short(letter) => self.find(&|row| row.letters.contains(*letter)),
                Arg::Long(name) => self.find(&|row| row.long == *name),
                Arg::Value(value) => {
                    word(typed, value.clone());
                    continue;
                }
            };
            match row.map(|row| &row.set) {
                Some(Set::Flag(set)) => set(typed),
                Some(Set::Value(_, set)) => set(typed, parser.value().map_err(refused)?),
                None => return Err(refused(arg.unexpected())),
            }
            if enough(typed) {
                break;
            }
        }
        Ok(())
    }

    /// The options' part of the help text.
    pub(crate) fn help(&self) -> String {
        let mut help = String::new();
        for (section, rows) in self.0 {
            let _ = writeln!(help, "\n{section}:");
            for row in *rows {
                let mut spelling = String::from(" ");
                for letter in row.letters.chars() {
                    let _ = write!(spelling, " -{letter},");
                }
                if row.letters.is_empty() {
                    spelling.push_str("    ");
                }
                let _ = write!(spelling, " --{}", row.long);
                if let Some(placeholder) = row.placeholder() {
                    let _ = write!(spelling, " {placeholder}");
                }
                let _ = writeln!(help, "{spelling:<28} {}", row.help);
            }
        }
        help
    }
}

fn refused(error: lexopt::Error) -> Error {
    Error::new(error.to_string())
}
