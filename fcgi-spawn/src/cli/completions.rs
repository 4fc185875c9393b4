//! What a shell needs to complete our command line, made from the list of options.

use std::ffi::OsStr;
use std::fmt::Write;

use crate::Error;
use crate::cli::item::{Completion, Value};
use crate::cli::list::items;
use crate::error::invalid;

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

/// How a value is completed in bash, zsh and fish.
fn kind(value: &Value) -> [&'static str; 3] {
    match value.completion {
        Completion::Nothing => ["-W ''", " ", "-x"],
        Completion::File => ["-f", "_files", "-rF"],
        Completion::Directory => ["-d", "_files -/", "-xa '(__fish_complete_directories)'"],
        Completion::User => ["-u", "_users", "-xa '(__fish_complete_users)'"],
        Completion::Group => ["-g", "_groups", "-xa '(__fish_complete_groups)'"],
        Completion::Command => ["-c", "_command_names -e", "-xa '(__fish_complete_command)'"],
        Completion::Shell => ["-W 'bash zsh fish'", "(bash zsh fish)", "-xa 'bash zsh fish'"],
    }
}

fn bash() -> String {
    let mut cases = String::new();
    for item in items() {
        if let Some(value) = &item.value {
            let _ = writeln!(cases, "    {}) kind=({}) ;;", item.names().join("|"), kind(value)[0]);
        }
    }
    let all: Vec<_> = items().flat_map(|item| item.names()).collect();
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
    for item in items() {
        let names = item.names();
        for name in &names {
            // A repeatable option excludes none.
            let others = if item.repeatable { "*".into() } else { format!("({})", names.join(" ")) };
            let help = item.help.replace('[', "(").replace(']', ")").replace(':', "\\:").replace('\'', r"'\''");
            let _ = match &item.value {
                None => writeln!(text, "        '{others}{name}[{help}]' \\"),
                Some(value) => {
                    let joint = if name.starts_with("--") { "=" } else { "+" };
                    writeln!(text, "        '{others}{name}{joint}[{help}]:{}:{}' \\", value.name, kind(value)[1])
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
        for item in items() {
            let _ = write!(text, "complete -c {name}");
            for letter in item.letters.chars() {
                let _ = write!(text, " -s '{letter}'");
            }
            let _ = write!(text, " -l {}", item.long);
            if let Some(value) = &item.value {
                let _ = write!(text, " {}", kind(value)[2]);
            }
            let _ = writeln!(text, " -d '{}'", item.help.replace('\'', "\\'"));
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
            for item in items() {
                let name = if shell == "fish" { format!("-l {}", item.long) } else { format!("--{}", item.long) };
                assert!(text.contains(&name), "{shell}: {name}");
            }
        }
    }

    #[test]
    fn another_shell_is_refused() {
        let message = of("csh".as_ref()).expect_err("unknown").to_string();
        assert_eq!(message, "--completions 'csh': not one of bash, zsh and fish");
    }
}
