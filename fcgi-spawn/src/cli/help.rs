//! The text of `--help`.

use std::fmt::Write;

use crate::cli::item::NOT_ROOT;
use crate::cli::list::SECTIONS;

/// For a launcher called `name`.
pub(crate) fn text(name: &str) -> String {
    let mut help = format!(
        "Usage: {name} [options] [--] program [arguments]\n\n\
         Binds a socket and starts a FastCGI program that finds it as file descriptor 0.\n"
    );
    for section in &SECTIONS {
        let _ = writeln!(help, "\n{}:", section.title);
        for item in section.items {
            let mut names = item.names().join(", ");
            if item.letters.is_empty() {
                names.insert_str(0, "    ");
            }
            if let Some(value) = &item.value {
                let _ = write!(names, " {}", value.name);
            }
            let root = if item.is_ignored(&NOT_ROOT) { " [root]" } else { "" };
            let _ = writeln!(help, "  {names:<27} {}{root}", item.help);
        }
    }
    help.push_str("\nTIME is a number with ms, s, m or h; SIZE one with K, M or G; both may be: off.\n");
    help.push_str(match name {
        "spawn-fcgi" => "[root]: for root; ignored for others.\n",
        _ => "[root]: for root; for others -c, other -u and -g are errors, -S, -U and -G are ignored.\n",
    });
    help
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::list;

    #[test]
    fn names_every_option_in_a_line_of_90_columns() {
        let help = text("fcgi-spawn");
        for item in list::items() {
            assert!(item.names().iter().all(|name| help.contains(&format!(" {name}"))), "{}", item.long);
        }
        assert!(help.lines().all(|line| line.len() <= 90), "{help}");
    }

    /// A line that can only be read behind the one above it begins with such a word.
    #[test]
    fn lines_stand_alone() {
        for item in list::items() {
            let first = item.help.split(' ').next().unwrap_or_default();
            assert!(!["and", "or", "of", "up", "with", "as", "in", "it", "a"].contains(&first));
            assert!(!item.help.ends_with('.'), "{}", item.long);
        }
    }
}
