//! The table of examples/servers/README.md: what a client sees, by case and server.
//!
//! Each cell is measured by the scenarios of [`super::scenario`], over every transport of the server. A cell that differs
//! from what was seen fails its test; with `FCGI_TEST_TABLE=write` in the environment it is written into the page instead:
//!
//! ```text
//! FCGI_TEST_TABLE=write tests/run servers
//! ```
//!
//! A mark such as ` (a)` behind the words of a cell belongs to the page: it leads to a note.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use fcgi_tests::{once_is_enough, repository};

/// What a client sees when nothing is wrong.
pub(super) const RIGHT: &str = "right";

/// The servers of the table, in its order.
const COLUMNS: [&str; 11] = [
    "nginx",
    "nginx, kept",
    "lighttpd",
    "mod_proxy_fcgi",
    "mod_fcgid",
    "HAProxy",
    "HAProxy, kept",
    "HAProxy, shared",
    "Caddy",
    "h2o",
    "http-gateway",
];

/// Those that have to be right in all cases.
const FAULTLESS: [&str; 5] = ["nginx", "nginx, kept", "HAProxy", "HAProxy, kept", "http-gateway"];

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Case {
    Fails,
    FailsWithLength,
    Panics,
    PanicsWithLength,
    Short,
    Long,
    Head,
    Bodiless,
    ChunkedUpload,
    GoneWhileWaiting,
    GoneDuringEvents,
    EventsAndStop,
    SlowReader,
}

impl Case {
    const ALL: [Case; 13] = [
        Case::Fails,
        Case::FailsWithLength,
        Case::Panics,
        Case::PanicsWithLength,
        Case::Short,
        Case::Long,
        Case::Head,
        Case::Bodiless,
        Case::ChunkedUpload,
        Case::GoneWhileWaiting,
        Case::GoneDuringEvents,
        Case::EventsAndStop,
        Case::SlowReader,
    ];

    /// Its name in the page.
    pub(super) fn name(self) -> &'static str {
        match self {
            Case::Fails => "fails, no length",
            Case::FailsWithLength => "fails, with a length",
            Case::Panics => "panics, no length",
            Case::PanicsWithLength => "panics, with a length",
            Case::Short => "less than its length",
            Case::Long => "more than its length",
            Case::Head => "HEAD",
            Case::Bodiless => "204 and 304",
            Case::ChunkedUpload => "chunked upload",
            Case::GoneWhileWaiting => "client gone in `wait`",
            Case::GoneDuringEvents => "client gone in events",
            Case::EventsAndStop => "events, then SIGTERM",
            Case::SlowReader => "slow reader",
        }
    }
}

/// Tests that end at the same moment write one after the other.
static PAGE: Mutex<()> = Mutex::new(());

/// Compares what a client saw with the cell of the table, or writes it there.
#[track_caller]
pub(super) fn expect(column: &str, case: Case, seen: &str) {
    let _turn = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut page = Page::read();
    let cell = page.cell(column, case);
    if words(&cell) == seen {
        return;
    }
    let differs = format!("{column}, {}: '{seen}' was seen, '{}' is in the page", case.name(), words(&cell));
    assert!(std::env::var("FCGI_TEST_TABLE").is_ok_and(|value| value == "write"), "{differs}");
    eprintln!("{differs}; written");
    page.set(column, case, seen);
}

fn path() -> PathBuf {
    repository().join("examples/servers/README.md")
}

/// A cell without its mark.
fn words(cell: &str) -> &str {
    cell.rsplit_once(" (").filter(|(_, mark)| mark.ends_with(')') && mark.len() == 2).map_or(cell, |(words, _)| words)
}

/// The mark of a cell.
fn mark(cell: &str) -> Option<&str> {
    Some(cell[words(cell).len()..].trim()).filter(|mark| !mark.is_empty())
}

/// The page, line by line.
struct Page(Vec<String>);

impl Page {
    fn read() -> Self {
        let text = fs::read_to_string(path()).expect("the page can be read");
        Page(text.lines().map(str::to_owned).collect())
    }

    /// The number of the line with the names of the columns.
    fn head(&self) -> usize {
        let found = self.0.iter().position(|line| cells(line).first().is_some_and(|cell| cell == "what happens"));
        found.expect("the page has a table of what happens")
    }

    /// The lines of the table behind its head.
    fn rows(&self) -> impl Iterator<Item = (usize, Vec<String>)> {
        let rows = self.0.iter().enumerate().skip(self.head() + 2);
        rows.map_while(|(number, line)| line.starts_with('|').then(|| (number, cells(line))))
    }

    #[track_caller]
    fn place(&self, column: &str, case: Case) -> (usize, usize) {
        let column = cells(&self.0[self.head()]).iter().position(|name| name == column).expect("the server's column");
        let (line, _) = self.rows().find(|(_, cells)| cells[0] == case.name()).expect("the row of the case");
        (line, column)
    }

    #[track_caller]
    fn cell(&self, column: &str, case: Case) -> String {
        let (line, column) = self.place(column, case);
        cells(&self.0[line])[column].clone()
    }

    fn set(&mut self, column: &str, case: Case, seen: &str) {
        let (line, column) = self.place(column, case);
        let mut cells = cells(&self.0[line]);
        seen.clone_into(&mut cells[column]);
        self.0[line] = format!("| {} |", cells.join(" | "));
        fs::write(path(), self.0.join("\n") + "\n").expect("the page can be written");
    }
}

/// The cells of a line of a table.
fn cells(line: &str) -> Vec<String> {
    let inside = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|'));
    inside.map_or(Vec::new(), |line| line.split('|').map(|cell| cell.trim().to_owned()).collect())
}

/// The rows are the cases and the columns the servers that are measured; what is not right has a note, and
/// each note is used.
#[test]
fn what_is_not_right_has_a_note() {
    once_is_enough!();
    let page = Page::read();
    let columns = cells(&page.0[page.head()]);
    assert_eq!(columns[1..], COLUMNS);
    let rows: Vec<_> = page.rows().map(|(_, cells)| cells).collect();
    let names: Vec<&str> = rows.iter().map(|cells| &cells[0][..]).collect();
    assert_eq!(names, Case::ALL.map(Case::name));
    let mut marks = Vec::new();
    for cells in &rows {
        for (column, cell) in columns.iter().zip(cells).skip(1) {
            let is_right = words(cell) == RIGHT;
            let is_faultless = FAULTLESS.contains(&&column[..]);
            assert!(is_right || !is_faultless, "{column}, {}: {cell}", cells[0]);
            assert_eq!(mark(cell).is_none(), is_right, "{column}, {}: {cell}", cells[0]);
            marks.extend(mark(cell).map(str::to_owned));
        }
    }
    marks.sort_unstable();
    marks.dedup();
    let is_note = |line: &&String| line.strip_prefix("- (").is_some_and(|rest| rest.as_bytes().get(1) == Some(&b')'));
    let notes: Vec<&str> = page.0.iter().filter(is_note).map(|line| &line[2..5]).collect();
    assert_eq!(notes, marks);
}
