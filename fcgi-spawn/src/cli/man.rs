//! The options in the man pages: tests compare them with the list, or write them with `UPDATE_EXPECT=1`.

use std::fmt::Write;

use crate::cli::item::{Item, NOT_ROOT, ONCE};
use crate::cli::list::{self, SECTIONS};

/// The text of an option in mdoc: `-x` and words between backquotes are bold, the name of the value is italic,
/// paragraphs have an empty line between them, and a line that begins with blanks is displayed as it is.
fn text(item: &Item) -> String {
    let mut help = item.help.to_owned();
    help[..1].make_ascii_uppercase();
    let mut text = format!("{help}. {}", item.man);
    if item.is_ignored(&NOT_ROOT) {
        text.push_str(" Root only.");
    }
    let is_shown = |why: &&str| ![NOT_ROOT.why, ONCE.why].contains(why);
    let reasons: Vec<_> = item.ignored.iter().map(|ignored| ignored.why).filter(is_shown).collect();
    if !reasons.is_empty() {
        let _ = write!(text, " Ignored {}.", reasons.join(", or "));
    }
    let paragraphs: Vec<_> = text.split("\n\n").map(|paragraph| mdoc(item, paragraph)).collect();
    paragraphs.join("\n.Pp\n")
}

fn mdoc(item: &Item, paragraph: &str) -> String {
    if let Some(line) = paragraph.strip_prefix("    ") {
        return format!(".Dl {line}");
    }
    let mut text = String::new();
    for word in paragraph.split_ascii_whitespace() {
        let is_sentence = text.ends_with('.') || text.ends_with(".\\fR");
        text.push_str(if text.is_empty() {
            ""
        } else if is_sentence {
            "\n"
        } else {
            " "
        });
        let inner = word.trim_matches(['(', ')', ',', ';', ':', '.']);
        let is_option = inner.len() > 1 && inner.starts_with('-');
        let is_value = item.value.as_ref().is_some_and(|value| value.name == inner);
        match inner {
            "" => text.push_str(word),
            _ if is_option => text.push_str(&word.replace(inner, &format!("\\fB{inner}\\fR").replace('-', "\\-"))),
            _ if is_value => text.push_str(&word.replace(inner, &format!("\\fI{inner}\\fR"))),
            _ => text.push_str(word),
        }
    }
    // Between backquotes there may be blanks.
    let parts = text.split('`').enumerate();
    parts
        .map(|(at, part)| {
            if at % 2 == 1 { format!("\\fB{}\\fR", part.replace('\\', "\\e").replace('-', "\\-")) } else { part.into() }
        })
        .collect()
}

/// `.It Fl s Ar PATH , Fl -socket Ar PATH`
fn tag(item: &Item) -> String {
    let value = item.value.as_ref().map(|value| format!(" Ar {}", value.name)).unwrap_or_default();
    let names = item.names().into_iter().map(|name| format!("Fl {}{value}", name[1..].replace('?', "\\&?")));
    format!(".It {}", names.collect::<Vec<_>>().join(" , "))
}

/// The page with the lists of its sections made anew.
fn with_options(page: &str, is_spawn_fcgi: bool) -> String {
    let is_once = |item: &&Item| item.is_ignored(&ONCE);
    let mut page = page.to_owned();
    for section in &SECTIONS {
        let items = section.items.iter().filter(|item| !is_spawn_fcgi || !is_once(item));
        let list: String = items.map(|item| format!("{}\n{}\n", tag(item), text(item))).collect();
        if !list.is_empty() {
            replace_list(&mut page, section.title, &list);
        }
    }
    if is_spawn_fcgi {
        let list: String = list::items().filter(is_once).map(|item| tag(item) + "\n").collect();
        replace_list(&mut page, "For a supervisor", &list);
    }
    page
}

/// Replaces the first list below a heading.
fn replace_list(page: &mut String, heading: &str, items: &str) {
    let heading = page.find(&format!("\n.Ss {heading}\n")).unwrap_or_else(|| panic!("there is no .Ss {heading}"));
    let begin = ".Bl -tag -width Ds\n";
    let start = heading + page[heading..].find(begin).expect("a list") + begin.len();
    let end = start + page[start..].find(".El\n").expect("the end of a list");
    page.replace_range(start..end, items);
}

#[test]
fn pages_have_the_options_of_the_list() {
    let pages = [
        ("fcgi-spawn", include_str!("../../../dist/man/fcgi-spawn.1")),
        ("spawn-fcgi", include_str!("../../../dist/man/spawn-fcgi.1")),
    ];
    for (name, page) in pages {
        let made = with_options(page, name == "spawn-fcgi");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            let path = format!("{}/../dist/man/{name}.1", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, made).expect("written");
        } else {
            let differs = page.lines().zip(made.lines()).find(|(old, new)| old != new);
            assert!(made == page, "{name}.1: {differs:?}: UPDATE_EXPECT=1 cargo test -p fcgi-spawn man");
        }
    }
}
