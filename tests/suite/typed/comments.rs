//! Comments of the programs, applications and configurations in examples/.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fcgi_tests::{commands_in_comments, once_is_enough, repository};

use super::pages::{self, SEVERAL_MACHINES, page, prose};
use super::{follow_all, needs_a_copy};
use crate::machine::User;

macro_rules! typed {
    ($($name:ident: $path:literal as [$($user:ident)+] needs $needs:expr, after $prepare:expr;)*) => {
        pub(in crate::typed) const PATHS: &[&str] = &[$($path),*];

        $(#[test]
        fn $name() {
            needs_a_copy!($needs);
            let blocks = commands_in_comments(&page($path));
            for user in [$(User::$user),+] {
                follow_all($path, &blocks, user, $prepare);
            }
        })*
    };
}

typed! {
    authorizer: "examples/src/bin/authorizer.rs" as [Root Reader] needs &[], after "";
    bench_app: "examples/src/bin/bench-app.rs" as [Root Reader] needs &[], after "";
    cgi_bridge: "examples/src/bin/cgi-bridge/main.rs" as [Root Reader] needs &[], after "";
    demo: "examples/src/bin/demo.rs" as [Root Reader] needs &["curl"], after "";
    echo: "examples/src/bin/echo.rs" as [Root Reader] needs &[], after "";
    fcgi_bench: "examples/src/bin/fcgi-bench/main.rs" as [Root Reader] needs &[], after "";
    fcgi_dump: "examples/src/bin/fcgi-dump/main.rs" as [Root Reader] needs &[], after "";
    filter: "examples/src/bin/filter.rs" as [Root Reader] needs &[], after "";
    form: "examples/src/bin/form.rs" as [Root Reader] needs &["curl"], after "";
    hello: "examples/src/bin/hello.rs" as [Root Reader] needs &[], after "";
    http_gateway: "examples/src/bin/http-gateway/main.rs" as [Root Reader] needs &["curl"], after "";
    slow: "examples/src/bin/slow.rs" as [Root Reader] needs &["curl"], after "";
    upload: "examples/src/bin/upload.rs" as [Root Reader] needs &["curl"], after "";
}

mod servers {
    use super::*;

    // The programs that root's fcgiwrap starts are root's, and cgi-bridge does not run as root: only as an ordinary user.
    typed! {
        apache_fcgid: "examples/servers/apache-fcgid.conf" as [Root Reader]
            needs &["apache2", "/usr/lib/apache2/modules/mod_fcgid.so", "curl"], after "";
        apache_proxy_fcgi: "examples/servers/apache-proxy-fcgi.conf" as [Root Reader] needs &["apache2", "curl"], after "";
        busybox_httpd: "examples/servers/busybox-httpd.sh" as [Root Reader] needs &["busybox", "curl"], after "";
        caddy: "examples/servers/caddy.conf" as [Root Reader] needs &["caddy", "curl"], after "";
        cgi: "examples/applications/hello.cgi" as [Reader] needs &["fcgiwrap", "nginx", "curl"], after "";
        cgi_fcgi: "examples/servers/cgi-fcgi.sh" as [Root Reader] needs &["cgi-fcgi", "busybox", "curl"], after "";
        h2o: "examples/servers/h2o.conf" as [Root Reader] needs &["h2o", "curl"], after "";
        haproxy: "examples/servers/haproxy.cfg" as [Root Reader] needs &["haproxy", "curl"], after "";
        haproxy_hosts: "examples/servers/haproxy-hosts.cfg" as [Root Reader]
            needs &["haproxy", "curl"], after SEVERAL_MACHINES;
        lighttpd: "examples/servers/lighttpd.conf" as [Root Reader] needs &["lighttpd", "curl"], after "";
        lighttpd_cgi: "examples/servers/lighttpd-cgi.conf" as [Reader]
            needs &["lighttpd", "git", "/usr/lib/git-core/git-http-backend", "curl"], after "";
        lighttpd_spawn: "examples/servers/lighttpd-spawn.conf" as [Root Reader] needs &["lighttpd", "curl"], after "";
        nginx: "examples/servers/nginx.conf" as [Root Reader] needs &["nginx", "curl"], after "";
        nginx_cgi: "examples/servers/nginx-cgi.conf" as [Reader]
            needs &["nginx", "git", "/usr/lib/git-core/git-http-backend", "curl"], after "";
        nginx_hosts: "examples/servers/nginx-hosts.conf" as [Root Reader] needs &["nginx", "curl"], after SEVERAL_MACHINES;
        perl: "examples/applications/hello.pl" as [Root Reader]
            needs &["/var/lib/dpkg/info/libfcgi-perl.list", "nginx", "curl"], after "";
        php: "examples/applications/hello.php" as [Root Reader] needs &["php-cgi", "nginx", "curl"], after "";
        python: "examples/applications/hello.py" as [Root Reader]
            needs &["/var/lib/dpkg/info/python3-venv.list", "FCGI_TEST_FLUP", "nginx", "curl"], after "";
        quickstart: "examples/servers/quickstart.conf" as [Root Reader] needs &["nginx", "curl"], after "";
    }
}

/// Start commands that are not typed: the file, a part of the line, and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("README.md", "`target/release/fcgi-get unix:/tmp/app.sock /`", "asks the application that the page has started"),
    ("examples/bench/run", "`spawn-fcgi -n`", "tells how the script starts a peer"),
    ("examples/servers/caddy.conf", "`caddy reload ", "reloads the running one, by the tests of servers::caddy"),
    ("examples/servers/haproxy-hosts.cfg", "echo \"set server hosts/one", "drains a machine, by servers::hosts"),
    ("examples/servers/README.md", "`lighttpd -tt`", "does not find the fault that is described"),
];

/// Programs that a comment may start: ours, web servers, and what else serves FastCGI.
const PROGRAMS: &[&str] = &[
    "apache2",
    "apache2ctl",
    "authorizer",
    "bench-app",
    "busybox",
    "caddy",
    "cgi-bridge",
    "cgi-fcgi",
    "demo",
    "echo",
    "fcgi-bench",
    "fcgi-dump",
    "fcgi-get",
    "fcgi-spawn",
    "fcgiwrap",
    "filter",
    "form",
    "h2o",
    "haproxy",
    "hello",
    "http-gateway",
    "httpd",
    "lighttpd",
    "nginx",
    "php-cgi",
    "php-fpm",
    "slow",
    "spawn-fcgi",
    "systemd-socket-activate",
    "uhttpd",
    "upload",
];

/// Subcommands that start something.
const SUBCOMMANDS: &[&str] = &["busybox httpd", "caddy run", "caddy start", "cargo run"];

/// Every command of a comment and of a page is typed by a test of the tables.
#[test]
fn every_start_command_is_typed() {
    once_is_enough!();
    let tables = [PATHS, servers::PATHS, pages::PATHS, pages::servers::PATHS].concat();
    let tables: BTreeSet<&str> = tables.into_iter().collect();
    let mut unused: Vec<_> = EXCEPTIONS.to_vec();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for path in files() {
        let Ok(source) = fs::read_to_string(repository().join(&path)) else { continue }; // not text
        let is_page = path.ends_with(".md");
        let commands = if is_page { fcgi_tests::blocks(&source) } else { commands_in_comments(&source) };
        let commands: Vec<_> = commands.into_iter().filter(|block| block.language == "sh").collect();
        if !commands.is_empty() && !tables.contains(&path[..]) {
            faults.push(format!("{path}, line {}: no test types its commands", commands[0].line));
        }
        if commands.is_empty() && tables.contains(&path[..]) {
            faults.push(format!("{path}: has a test, but no commands"));
        }
        if let Some(block) = commands.iter().find(|block| block.has("untyped") && path != "README.md") {
            faults.push(format!("{path}, line {}: is not typed", block.line));
        }
        let text = if is_page { prose(&source) } else { comments(&path, &source) };
        for (number, line) in text {
            if !is_start_command(&line) {
                continue;
            }
            let exception = EXCEPTIONS.iter().find(|(file, part, _)| *file == path && line.contains(part));
            if let Some(exception) = exception {
                unused.retain(|other| other != exception);
            } else {
                faults.push(format!("{path}, line {number}: starts something outside of a typed block: {line}"));
            }
        }
        seen.insert(path);
    }
    faults.extend(unused.iter().map(|(file, part, _)| format!("{file}: '{part}' is no exception any more")));
    faults.extend(tables.iter().filter(|path| !seen.contains(**path)).map(|path| format!("{path} is not there")));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(seen.len() > 60, "only {} files", seen.len());
}

/// The files below examples/ and the pages that have commands, from the root of the repository.
fn files() -> Vec<String> {
    let pages = [
        "README.md",
        "dist/README.md",
        "fcgi-app/README.md",
        "fcgi-proto/README.md",
        "fcgi-spawn/README.md",
        "fcgi-tools/README.md",
    ];
    let mut found: Vec<_> = pages.map(str::to_owned).into();
    let mut directories = vec![PathBuf::from("examples")];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(repository().join(&directory)).expect("a directory of the repository");
        for entry in entries {
            let entry = entry.expect("an entry");
            let path = directory.join(entry.file_name());
            match entry.file_type().expect("its type") {
                kind if kind.is_dir() && path.ends_with("target") => {}
                kind if kind.is_dir() => directories.push(path),
                _ => found.push(path.into_os_string().into_string().expect("a plain name")),
            }
        }
    }
    found.sort();
    found
}

/// The comments of a source file outside of blocks of commands, as (line, text).
fn comments(path: &str, source: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut typed = BTreeSet::new();
    for block in commands_in_comments(source) {
        let fences = if lines[block.line - 1].contains("```") { 2 } else { 0 };
        typed.extend(block.line..block.line + block.text.lines().count() + fences);
    }
    let marks: &[&str] = match Path::new(path).extension().and_then(|extension| extension.to_str()) {
        Some("rs" | "c" | "go" | "php") => &["//", "/*", " *"],
        _ => &["#"],
    };
    let (mut in_docstring, mut in_listing) = (false, false);
    let mut found = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        in_docstring ^= line.contains("\"\"\"") && path.ends_with(".py");
        in_listing ^= line.starts_with("//! ```");
        let begin = if in_docstring { Some(0) } else { marks.iter().filter_map(|mark| line.find(mark)).min() };
        let Some(text) = begin.map(|begin| &line[begin..]) else { continue };
        if !typed.contains(&(index + 1)) {
            // As any other listing, it is indented.
            let text = if in_listing { text.replacen("//! ", "//!     ", 1) } else { text.to_owned() };
            found.push((index + 1, text));
        }
    }
    found
}

/// Whether a line of a comment or of prose has a command that starts something.
fn is_start_command(line: &str) -> bool {
    let is_program = |word: &str| {
        let name = word.trim_start_matches(['`', '\'', '"', '(', '$']).rsplit('/').next().unwrap_or_default();
        PROGRAMS.contains(&name)
    };
    let is_assignment = |word: &str| word.split_once('=').is_some_and(|(name, _)| name.bytes().all(is_of_a_variable));
    // An option behind a program's name.
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_option = |word: &str| word.strip_prefix('-').is_some_and(|rest| !rest.is_empty());
    let has_option = words.windows(2).any(|pair| is_program(pair[0]) && is_option(pair[1]));
    // A program with arguments, in a listing or in a span of code.
    let begins = |text: &str| {
        let mut words = text.split_whitespace().skip_while(|word| is_assignment(word));
        words.next().is_some_and(is_program) && words.next().is_some()
    };
    let comment = line.trim_start();
    let text = comment.trim_start_matches(['#', '/', '!', '*']);
    let text = if text == comment { line } else { text };
    let is_argument =
        |word: &str| word.trim_end_matches(['.', ':']).contains(['/', '.', ':', '=', '@', '$', '"', '\'']);
    let is_listing = text.starts_with("   ") && begins(text) && words.iter().any(|word| is_argument(word));
    let mut spans = line.split('`').skip(1).step_by(2);
    has_option
        || is_listing
        || spans.any(begins)
        || SUBCOMMANDS.iter().any(|command| line.contains(command))
        || line.split("FCGI_BIND=").skip(1).any(|value| value.starts_with(|first: char| first.is_ascii_alphanumeric()))
}

fn is_of_a_variable(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'
}

#[test]
fn start_commands_are_recognized() {
    for line in [
        "# In the background: fcgi-spawn -s /run/app.sock -- app",
        "//! Start it with `FCGI_BIND=127.0.0.1:9000 hello`.",
        "//! Start it by FCGI_BIND=unix:/run/hello.sock",
        "#   haproxy -W -db -f haproxy.cfg",
        "#   busybox httpd -f",
        "# and run: /usr/sbin/nginx -p @DIR@",
        "* `TOKENS=/etc/tokens target/release/authorizer x`",
        "//! cargo run --bin demo",
        "# and run: caddy run --adapter caddyfile",
        "//!     fcgi-dump recorded.bin",
        "    fcgi-get unix:/run/app.sock /",
    ] {
        assert!(is_start_command(line), "{line}");
    }
    for line in [
        "# nginx in front of an application, which fcgi-spawn or an init system keeps running",
        "//! On an address of its own (`FCGI_BIND`)",
        "# `fcgi-spawn` with `-n` stays in the foreground",
        "//! - [`options`]: the command line",
        "#    nginx waits for the end of it.",
        "# Two web servers: nginx - or lighttpd",
        "//! a `hello` worker",
    ] {
        assert!(!is_start_command(line), "{line}");
    }
}
