//! What a shell needs to complete our command line, made from the table of options.

use std::ffi::OsStr;
use std::fmt::Write;

use crate::Error;
use crate::cli::config::invalid;
use crate::cli::options::{Options, rows};
use crate::cli::table::Row;

/// The names we are called by.
const NAMES: [&str; 2] = ["fcgi-spawn", "spawn-fcgi"];

/// The completions for a shell, to be read by it: `source <(fcgi-spawn --completions bash)`.
pub(crate) fn of(shell: &OsStr) -> Result<String, Error> {
    match shell.to_str() {
        Some("bash") => Ok(bash()),
        Some("zsh") => Ok(zsh()),
        Some("fish") => Ok(fish()),
        _ => Err(invalid("--completions", shell, "not one of bash, zsh and fish")),
    }
}

/// How each kind of value is completed: in bash, zsh and fish.
fn kind(placeholder: &str) -> [&'static str; 3] {
    match placeholder {
        "PATH" | "FILE" => ["-f", "_files", "-rF"],
        "DIR" => ["-d", "_files -/", "-xa '(__fish_complete_directories)'"],
        "USER" => ["-u", "_users", "-xa '(__fish_complete_users)'"],
        "GROUP" => ["-g", "_groups", "-xa '(__fish_complete_groups)'"],
        "CMD" => ["-c", "_command_names -e", "-xa '(__fish_complete_command)'"],
        "SHELL" => ["-W 'bash zsh fish'", "(bash zsh fish)", "-xa 'bash zsh fish'"],
        _ => ["-W ''", " ", "-x"],
    }
}

/// `-s`, `--socket`: all ways to write an option.
fn spellings(row: &Row<Options>) -> Vec<String> {
    let short = row.letters.chars().map(|letter| format!("-{letter}"));
    short.chain([format!("--{}", row.long)]).collect()
}

fn bash() -> String {
    let mut cases = String::new();
    for row in rows() {
        if let Some(placeholder) = row.placeholder() {
            let [kind, ..] = kind(placeholder);
            let _ = writeln!(cases, "    {}) kind=({kind}) ;;", spellings(row).join("|"));
        }
    }
    let all: Vec<_> = rows().flat_map(spellings).collect();
    format!(
        "_fcgi_spawn() {{\n\
         \x20   local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} kind i\n\
         \x20   for ((i = 1; i < COMP_CWORD; i++)); do\n\
         \x20       if [[ ${{COMP_WORDS[i]}} = -- ]]; then\n\
         \x20           compopt -o default\n\
         \x20           COMPREPLY=()\n\
         \x20           return\n\
         \x20       fi\n\
         \x20   done\n\
         \x20   case $before in\n\
         {cases}\
         \x20   *) if [[ $word = -* ]]; then kind=(-W '{}'); else kind=(-f); fi ;;\n\
         \x20   esac\n\
         \x20   mapfile -t COMPREPLY < <(compgen \"${{kind[@]}}\" -- \"$word\")\n\
         }}\n\
         complete -o filenames -F _fcgi_spawn {}\n",
        all.join(" "),
        NAMES.join(" ")
    )
}

fn zsh() -> String {
    let mut text = format!("#compdef {0}\n\n_fcgi_spawn() {{\n    _arguments -s -S \\\n", NAMES.join(" "));
    for row in rows() {
        let spellings = spellings(row);
        for spelling in &spellings {
            let others = spellings.join(" ");
            let help = row.help.replace('[', "(").replace(']', ")").replace(':', "\\:").replace('\'', r"'\''");
            let _ = match row.placeholder() {
                None => writeln!(text, "        '({others}){spelling}[{help}]' \\"),
                Some(placeholder) => {
                    let [_, kind, _] = kind(placeholder);
                    let joint = if spelling.starts_with("--") { "=" } else { "+" };
                    writeln!(text, "        '({others}){spelling}{joint}[{help}]:{placeholder}:{kind}' \\")
                }
            };
        }
    }
    text.push_str(
        "        '*::program:_normal'\n}\n\nif [[ $funcstack[1] = _fcgi_spawn ]]; then\n    _fcgi_spawn \"$@\"\n",
    );
    let _ = writeln!(text, "else\n    compdef _fcgi_spawn {}\nfi", NAMES.join(" "));
    text
}

fn fish() -> String {
    let mut text = String::new();
    for name in NAMES {
        for row in rows() {
            let _ = write!(text, "complete -c {name}");
            for letter in row.letters.chars() {
                let _ = write!(text, " -s '{letter}'");
            }
            let _ = write!(text, " -l {}", row.long);
            if let Some(placeholder) = row.placeholder() {
                let [_, _, kind] = kind(placeholder);
                let _ = write!(text, " {kind}");
            }
            let _ = writeln!(text, " -d '{}'", row.help.replace('\'', "\\'"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_in_each() {
        for shell in ["bash", "zsh", "fish"] {
            let text = of(shell.as_ref()).expect("a known shell");
            for row in rows() {
                let spelling = if shell == "fish" { format!("-l {}", row.long) } else { format!("--{}", row.long) };
                assert!(text.contains(&spelling), "{shell}: {spelling}");
            }
        }
    }

    #[test]
    fn another_shell_is_refused() {
        let message = of("csh".as_ref()).expect_err("unknown").to_string();
        assert_eq!(message, "--completions 'csh': not one of bash, zsh and fish");
    }
}
