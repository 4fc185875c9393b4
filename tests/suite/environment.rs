//! docs/environment.md: it lists every variable that fcgi-app reads, and what it says of wrong values is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fcgi_tests::{Process, Program, once_is_enough, repository, temp_dir};

use crate::app::fails_with_one_line;

/// The names of variables in the first cells of the page's tables.
fn in_page(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| row.split(" | ").next());
    rows.flat_map(|cell| cell.split(['`', ',', ' '])).filter(|name| is_name(name)).map(str::to_owned).collect()
}

/// The literals in code that are names of variables, of files that read or remove any; comments and unit tests are left
/// out. env_logger has the name of its variable itself.
fn in_source(name: &str, text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let uses = ["env::var(", "env::var_os(", "env::remove_var(", "env_logger::Env"];
    if !uses.iter().any(|call| code.contains(call)) {
        assert!(!code.contains("getenv"), "{name} reads the environment by a function that this test does not know");
        return BTreeSet::new();
    }
    let mut names: BTreeSet<String> =
        code.split('"').skip(1).step_by(2).filter(|literal| is_name(literal)).map(str::to_owned).collect();
    if code.contains("env_logger::Env::default()") {
        names.insert("RUST_LOG".to_owned());
    }
    names
}

fn is_name(text: &str) -> bool {
    text.len() > 3
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

fn sources(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory of sources").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else {
            found.extend(in_source(&entry.display().to_string(), &fs::read_to_string(&entry).expect("a source")));
        }
    }
}

#[test]
fn the_page_lists_what_the_source_reads_and_nothing_else() {
    once_is_enough!();
    let page = fs::read_to_string(repository().join("docs/environment.md")).expect("the page");
    let (listed, mut read) = (in_page(&page), BTreeSet::new());
    sources(&repository().join("fcgi-app/src"), &mut read);
    assert!(read.len() > 10, "{read:?}");
    let unlisted: Vec<_> = read.difference(&listed).collect();
    assert!(unlisted.is_empty(), "fcgi-app reads variables that docs/environment.md does not list: {unlisted:?}");
    let unread: Vec<_> = listed.difference(&read).collect();
    assert!(unread.is_empty(), "docs/environment.md lists variables that fcgi-app does not read: {unread:?}");
}

#[test]
fn names_are_found_in_code_and_tables() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let code = "// \"NOT_THIS\"\nconst NAME: &str = \"FCGI_ONE\";\nenv::var_os(NAME); env::var(\"TWO_2\"); \"Three\"\n\
        #[cfg(test)]\nmod tests { \"NOT_THAT\" }";
    assert_eq!(in_source("a.rs", code), names(&["FCGI_ONE", "TWO_2"]));
    assert_eq!(in_source("b.rs", "request.param(\"REMOTE_ADDR\")"), names(&[]));
    assert_eq!(in_source("c.rs", "env_logger::Env::default()"), names(&["RUST_LOG"]));
    assert_eq!(in_page("`NOT_THIS`\n| `ONE_1`, `TWO_2` | `NOT_THAT` |\n|---|\n"), names(&["ONE_1", "TWO_2"]));
}

#[test]
fn wrong_values_keep_it_from_starting() {
    let socket = temp_dir();
    let bind = format!("unix:{}/app.sock", socket.path().display());
    for (name, value, words) in [
        ("FCGI_BIND", "", "FCGI_BIND ''"),
        ("FCGI_BIND", "/run/app.sock", "FCGI_BIND '/run/app.sock'"),
        ("FCGI_BIND_MODE", "", "FCGI_BIND_MODE=''"),
        ("FCGI_BIND_MODE", "1000", "FCGI_BIND_MODE='1000'"),
        ("FCGI_BIND_MODE", "rw", "FCGI_BIND_MODE='rw'"),
        ("FCGI_BIND_GROUP", "", "FCGI_BIND_GROUP=''"),
        ("FCGI_BIND_GROUP", "no-such-group", "FCGI_BIND_GROUP='no-such-group'"),
        ("FCGI_STOP_TIMEOUT", "soon", "FCGI_STOP_TIMEOUT='soon'"),
    ] {
        for bind in [&bind[..], "127.0.0.1:0"] {
            let mut command = Program::ours("hello").command();
            let (status, line) = fails_with_one_line(command.env("FCGI_BIND", bind).env(name, value));
            assert!(status == 1 && line.contains(words), "{name}={value}: {status} {line}");
        }
    }
    assert!(fs::read_dir(socket.path()).expect("a directory").next().is_none(), "a socket is left behind");
}

/// Its stdout and stderr as a CGI program.
#[track_caller]
fn as_cgi(program: &str, variables: &[(&str, &str)]) -> (String, String) {
    let mut command = Program::ours(program).command();
    command.env("SCRIPT_NAME", "/hello").envs(variables.iter().copied());
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait_exit().code(), Some(0));
    (process.stdout().to_end(), process.stderr().to_end())
}

#[test]
fn wrong_values_that_are_ignored() {
    for variables in [
        [("REQUEST_METHOD", ""), ("RUST_LOG", "")],
        [("GATEWAY_INTERFACE", "x"), ("CONTENT_LENGTH", "x")],
        [("REQUEST_METHOD", "GET"), ("LISTEN_PID", "x")],
        [("REQUEST_METHOD", "GET"), ("FCGI_STOP_TIMEOUT", "x")],
    ] {
        let (stdout, stderr) = as_cgi("hello", &variables);
        assert!(stdout.ends_with("Hello, World!") && stderr.is_empty(), "{variables:?}: {stdout}{stderr}");
    }
    let (stdout, stderr) = as_cgi("hello", &[("REQUEST_METHOD", "GET"), ("RUST_LOG", "fcgi_app=loud,warn")]);
    assert!(stdout.ends_with("Hello, World!"), "{stdout}");
    assert!(stderr.lines().count() == 1 && stderr.contains("'loud'"), "{stderr}");
}
