//! The man pages: they name every option that the help names, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use fcgi_tests::{Process, Program, once_is_enough, repository, skip, temp_dir};

/// Each name we are called by, and the program it is.
const NAMES: [(&str, &str); 3] = [("fcgi-get", "fcgi-get"), ("fcgi-spawn", "fcgi-spawn"), ("spawn-fcgi", "fcgi-spawn")];

/// Options as a reader sees them: `-s --socket PATH`.
type Options = BTreeSet<String>;

/// The lines of a help text that begin with an option: `  -h, -?, --help   print this help`.
fn in_help(name: &str, program: &str) -> Options {
    let dir = temp_dir();
    symlink(Program::ours(program).path(), dir.path().join(name)).expect("a symlink");
    let mut process = Process::start(Command::new(dir.path().join(name)).arg("--help"));
    assert!(process.wait_exit().success());
    let help = process.stdout().to_end();
    let lines = help.lines().filter(|line| line.starts_with("  ") && line.trim_start().starts_with('-'));
    let option = |line: &str| {
        let mut words = line.split_ascii_whitespace().map(|word| word.trim_end_matches(',')).peekable();
        let mut option = Vec::new();
        while let Some(spelling) = words.next_if(|word| word.starts_with('-')) {
            option.push(spelling);
        }
        let is_value = |word: &&str| word.chars().all(|c| c.is_ascii_uppercase() || c == '=');
        option.extend(words.next_if(is_value));
        option.join(" ")
    };
    lines.map(option).collect()
}

fn page(name: &str) -> String {
    let path = repository().join(format!("dist/man/{name}.1"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The items of a page that are options: `.It Fl s Ar PATH , Fl -socket Ar PATH`.
fn in_page(page: &str) -> Options {
    let option = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (mut spellings, mut value) = (Vec::new(), None);
        while let Some(word) = words.next() {
            match word {
                "Fl" => spellings.push(format!("-{}", words.next().expect("an option").replace("\\&", ""))),
                "Ar" => value = words.next().map(str::to_owned),
                "," => {}
                other => panic!("{other} in .It {line}"),
            }
        }
        spellings.into_iter().chain(value).collect::<Vec<_>>().join(" ")
    };
    page.lines()
        .filter_map(|line| line.strip_prefix(".It "))
        .filter(|item| item.starts_with("Fl "))
        .map(option)
        .collect()
}

#[test]
fn page_and_help_name_the_same_options() {
    for (name, program) in NAMES {
        let (help, page) = (in_help(name, program), in_page(&page(name)));
        assert!(help.len() > 5, "{name}: {help:?}");
        let missing: Vec<_> = help.difference(&page).collect();
        let unknown: Vec<_> = page.difference(&help).collect();
        assert!(missing.is_empty() && unknown.is_empty(), "{name}.1 lacks {missing:?} and has {unknown:?}");
    }
}

#[test]
fn pages_are_complete() {
    for (name, _) in NAMES {
        let page = page(name);
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
            assert!(page.contains(&format!("\n.Sh {section}\n")), "{name}.1 has no {section}");
        }
        for (other, _) in NAMES.into_iter().filter(|(other, _)| *other != name) {
            assert!(page.contains(&format!(".Xr {other} 1")), "{name}.1 does not refer to {other}(1)");
        }
    }
}

/// What an example says in front of `--` are our options.
#[test]
fn examples_have_options_that_there_are() {
    for (name, _) in NAMES {
        let page = page(name);
        let options = in_page(&page);
        let known: Vec<&str> = options.iter().flat_map(|option| option.split(' ')).collect();
        let examples: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".Dl ")).collect();
        assert!(examples.len() >= 3, "{name}.1: {examples:?}");
        for example in examples {
            let words = example.split(' ').skip_while(|word| *word != name).skip(1);
            for word in words.take_while(|word| *word != "--" && *word != "-f").filter(|word| word.starts_with('-')) {
                assert!(known.contains(&word), "{name}.1: {word} in: {example}");
            }
        }
    }
}

#[test]
fn pages_are_well_formed() {
    once_is_enough!();
    let Some(mandoc) = Program::installed("mandoc") else { skip!("mandoc is not installed") };
    for (name, _) in NAMES {
        let mut command = mandoc.command();
        command.args(["-T", "lint", "-W", "warning"]).arg(repository().join(format!("dist/man/{name}.1")));
        let mut process = Process::start(&mut command);
        let status = process.wait_exit();
        assert!(status.success(), "{}{}", process.stdout().to_end(), process.stderr().to_end());
    }
}
