//! Pages in Markdown.

use std::fs;
use std::path::Path;

use fcgi_tests::{Block, blocks, once_is_enough, repository};

use super::{Reader, follow_all, needs_a_copy};
use crate::machine::{Machine, User};

pub(super) fn page(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where nginx serves already, as on the reader's machine; with no sites of the machine that was copied.
const NGINX: &str = "rm -rf /etc/nginx/conf.d/* /etc/nginx/sites-enabled/* /usr/bin/fcgi-spawn && nginx";

/// The addresses of a network with several machines, all of which are this one.
pub(super) const SEVERAL_MACHINES: &str = "
ip addr add 192.0.2.1/32 dev lo
for host in 11 12 13; do
    ip addr add 192.0.2.$host/32 dev lo
    ip route replace local 192.0.2.$host dev lo table local src 192.0.2.1
done
";

const README: &[&str] = &[
    "cargo",
    "nginx",
    "curl",
    "php-cgi",
    "/var/lib/dpkg/info/libfcgi-perl.list",
    "/var/lib/dpkg/info/python3-venv.list",
    "/etc/init.d/fcgiwrap",
    "FCGI_TEST_FLUP",
];

macro_rules! typed {
    ($($name:ident: $path:literal as $user:ident needs $needs:expr, after $prepare:expr;)*) => {
        pub(in crate::typed) const PATHS: &[&str] = &[$($path),*];

        $(#[test]
        fn $name() {
            needs_a_copy!($needs);
            follow_all($path, &blocks(&page($path)), User::$user, $prepare);
        })*
    };
}

typed! {
    dist_as_root: "dist/README.md" as Root needs &["dpkg-shlibdeps"], after "";
    dist_as_an_ordinary_user: "dist/README.md" as Reader needs &["dpkg-shlibdeps"], after "";
    fcgi_spawn_as_root: "fcgi-spawn/README.md" as Root needs &[], after "";
    fcgi_spawn_as_an_ordinary_user: "fcgi-spawn/README.md" as Reader needs &[], after "";
    fcgi_tools_as_root: "fcgi-tools/README.md" as Root needs &[], after "";
    fcgi_tools_as_an_ordinary_user: "fcgi-tools/README.md" as Reader needs &[], after "";
    fcgi_app_as_root: "fcgi-app/README.md" as Root needs &[], after "";
    fcgi_app_as_an_ordinary_user: "fcgi-app/README.md" as Reader needs &[], after "";
}

pub(in crate::typed) mod servers {
    use super::*;

    typed! {
        readme_as_root: "README.md" as Root needs README, after NGINX;
        readme_as_an_ordinary_user: "README.md" as Reader needs README, after NGINX;
        servers_as_root: "examples/servers/README.md" as Root needs &["git", "curl"], after SEVERAL_MACHINES;
        servers_as_an_ordinary_user: "examples/servers/README.md" as Reader needs &["git", "curl"], after SEVERAL_MACHINES;
    }
}

/// What the README promises to its readers.
#[test]
fn readme_is_short_and_all_of_it_can_be_typed() {
    once_is_enough!();
    let readme = page("README.md");
    let lines = readme.lines().count();
    assert!(lines <= 150, "{lines} lines");

    let blocks = blocks(&readme);
    for block in &blocks {
        let known = ["sh", "rust", "nginx", "text"].contains(&&block.language[..]);
        assert!(known, "line {}: a block of '{}'", block.line, block.language);
    }
    let commands: Vec<_> = blocks.iter().filter(|block| block.language == "sh").collect();
    let untyped = commands.iter().filter(|block| block.has("untyped")).count();
    assert!(untyped <= 2, "{untyped} blocks are not typed");
    for block in &commands {
        let leaves = block.text.split([' ', '\n', ';', '(']).any(|word| word == "cd");
        assert!(!leaves, "line {}: the commands of a page are all typed in one directory", block.line);
    }
    let [build, demo, ..] = &commands[..] else { panic!("two blocks of commands at least") };
    assert!(build.text.contains("cargo build --release"), "the first commands: {}", build.text);
    assert!(demo.text.contains("--bin demo"), "the commands behind the build: {}", demo.text);

    for (number, line) in prose(&readme) {
        let listed = line.trim_start().trim_start_matches(['-', '*', '>', ' ']);
        let span = listed.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
        let is_span = span.is_some_and(|span| !span.contains('`') && span.contains(' '));
        let is_command = line.starts_with("    ") || line.starts_with('\t') || listed.starts_with("$ ") || is_span;
        assert!(!is_command, "line {number} is a command outside of a block: {line}");
    }
}

/// The lines of a page that are in no block, with their numbers from 1.
pub(super) fn prose(page: &str) -> Vec<(usize, String)> {
    let blocks = blocks(page);
    let inside = |number: usize| blocks.iter().any(|block| (block.line..=last_line(block)).contains(&number));
    let lines = page.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned()));
    lines.filter(|&(number, _)| !inside(number)).collect()
}

/// The line of its closing fence.
fn last_line(block: &Block) -> usize {
    block.line + block.text.lines().count() + 1
}

/// A page with mistakes fails, and the message says which.
#[test]
fn mistakes_are_found() {
    needs_a_copy!(&[]);
    let machine = Machine::copy().unwrap_or_else(|why| panic!("no machine: {why}"));
    let check = |user: User, page: &str, wanted: &[&str]| {
        let [block] = &blocks(page)[..] else { panic!("one block: {page}") };
        let why = Reader { machine: &machine, user }.follow(block).expect_err(page);
        for wanted in wanted {
            assert!(why.contains(wanted), "{page}as {user:?}: '{wanted}' is not in: {why}");
        }
    };
    for user in [User::Root, User::Reader] {
        let check = |page: &str, wanted: &[&str]| check(user, page, wanted);
        check("```sh\nfalse\ntrue\n```\n", &["exit status: 1", "false"]);
        check("```sh\nno-such-program -x\n```\n", &["exit status: 127", "no-such-program: not found"]);
        check(
            "```sh\n: curl page; echo Hello  # Hello, World!\ntrue\n```\n",
            &["'Hello, World!' is not in the output", "--- prints\nHello\n"],
        );
        check(
            "```sh\n: curl \\\n    page; echo Hello  # Hello, World!\ntrue\n```\n",
            &["'Hello, World!' is not in the output", "--- prints\nHello\n"],
        );
        check(
            "```sh\necho 'no port is free' >&2; exit 3\n# in another terminal\nfalse\n```\n",
            &["ended by exit status: 3:\nno port is free", "exit status: 1\nfalse"],
        );
        check("```sh\nfalse\n# in another terminal\nsleep 1\n```\n", &["false\nended by itself, exit status: 1"]);
        check("```sh file=/no/such/directory/file\n```\n", &["/no/such/directory/file cannot be saved"]);
    }
    check(User::Reader, "```sh\ntouch /etc/reader\n```\n", &["Permission denied"]);
}
