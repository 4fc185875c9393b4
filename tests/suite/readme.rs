//! README.md: what it shows is executed.
//!
//! Every fenced block there carries `test=NAME` after its language (`text` blocks need none), and NAME is one of
//! the tests below. A reader types what he sees; a test cannot take port 8080 or leave files in /tmp, so it reads
//!
//! | in the README | as |
//! |---|---|
//! | `/tmp/` | the test's private folder |
//! | `target/release/` | the folder of the programs under test |
//!
//! and takes the demo's port from what the demo says.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fcgi_tests::{Address, Block, Process, Program, Signal, TempDir, blocks, once_is_enough, repository, temp_dir};

use crate::app::{ask, expect_hello, wait_until_it_listens};
use crate::demo::Demo;

/// The names that blocks may have: the tests of this module.
const NAMES: [&str; 6] = ["demo", "tests", "app", "launcher", "get", "nginx"];

/// How long cargo may build, on a busy machine, perhaps from nothing.
const BUILD_TIME: Duration = Duration::from_secs(300);

fn readme() -> Vec<Block> {
    let path = repository().join("README.md");
    blocks(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The text of the block `test=NAME`.
fn example(name: &str) -> String {
    let mut found = readme().into_iter().filter(|block| block.test.as_deref() == Some(name));
    let block = found.next().unwrap_or_else(|| panic!("README.md has no block `test={name}`"));
    assert!(found.next().is_none(), "README.md has two blocks `test={name}`");
    block.text
}

/// The text of the block `test=NAME` with its paths replaced.
fn example_in(name: &str, dir: &Path) -> String {
    let (programs, dir) = (Program::folder(), dir.display());
    // In this order: the programs may be in a folder below /tmp/.
    let text = example(name).replace("/tmp/", &format!("{dir}/"));
    text.replace("target/release/", &format!("{}/", programs.display()))
}

/// A command of a shell block: its lines without prompts and comments.
fn commands(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("$ "));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).current_dir(repository()).stdin(Stdio::null());
    shell
}

#[test]
fn every_block_is_tested() {
    let blocks = readme();
    let mut unseen: BTreeSet<&str> = NAMES.into();
    for block in &blocks {
        match block.test.as_deref() {
            Some(name) => assert!(NAMES.contains(&name), "README.md, line {}: no test is called {name}", block.line),
            None => assert_eq!(block.language, "text", "README.md, line {}: no test= and no text", block.line),
        }
        unseen.remove(block.test.as_deref().unwrap_or_default());
    }
    assert!(unseen.is_empty(), "README.md has no block for {unseen:?}");
}

#[test]
fn demo_and_the_test_command_come_first() {
    let names: Vec<_> = readme().into_iter().filter_map(|block| block.test).collect();
    assert!(names.len() >= 2 && names[0] == "demo" && names[1] == "tests", "{names:?}");
}

/// `cargo run --release --bin demo`, then what to type in another terminal, then Ctrl-C.
#[test]
fn demo() {
    once_is_enough!();
    let commands = commands(&example("demo"));
    let (first, others) = commands.split_first().expect("a command");
    assert_eq!(first, "cargo run --release --bin demo");
    let mut build = Process::start(&mut shell("exec cargo build --release --bin demo --quiet"));
    assert!(build.wait_exit_within(BUILD_TIME).success(), "{}", build.stderr().to_end());
    // cargo has to know where it lives, so this one keeps our environment; `exec`, so that Ctrl-C is for cargo.
    let demo = Demo::start_with(&mut shell(&format!("exec {first} --quiet")));
    let address = demo.address.to_string();
    for command in others {
        let command = command.replace("127.0.0.1:8080", &address).replace("localhost:8080", &address);
        let mut process = Process::start(&mut shell(&command));
        assert!(process.wait_exit().success(), "{command}: {}", process.stderr().text());
        if command.contains("/hello") {
            assert_eq!(process.stdout().to_end().trim_end(), "Hello, World!", "{command}");
        }
    }
    demo.leaves_nothing(|process| process.signal_group(Signal::INT));
}

/// Not run from here: this test is part of what it runs.
#[test]
fn tests() {
    once_is_enough!();
    for command in commands(&example("tests")) {
        let program = repository().join(command.split(' ').next().unwrap_or_default());
        assert!(program.ends_with("tests/run") && program.is_file(), "{command}");
    }
}

/// The application is what a newcomer starts with: a package that depends on fcgi-app and on nothing else.
#[test]
fn app() {
    once_is_enough!();
    let source = example("app");
    let lines = source.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 15, "the ten-line application has {lines} lines");

    let dir = temp_dir();
    let package = dir.path().join("package");
    let workspace = repository();
    let manifest = format!(
        "[package]\nname = \"readme-app\"\nedition = \"2024\"\n\n[dependencies]\nfcgi-app = {{ path = \"{}\" }}\n\n[workspace]\n",
        workspace.join("fcgi-app").display()
    );
    fs::create_dir_all(package.join("src")).expect("a folder");
    fs::write(package.join("Cargo.toml"), manifest).expect("a file");
    fs::write(package.join("src/main.rs"), &source).expect("a file");
    fs::copy(workspace.join("Cargo.lock"), package.join("Cargo.lock")).expect("the workspace has a lock file");
    let mut cargo = shell("exec cargo build --offline --quiet");
    let mut build = Process::start(cargo.current_dir(&package).env("CARGO_TARGET_DIR", dir.path().join("target")));
    let status = build.wait_exit_within(BUILD_TIME);
    assert!(status.success(), "the application of the README does not build:\n{}", build.stderr().to_end());

    let socket = dir.path().join("app.sock");
    let listener: OwnedFd = UnixListener::bind(&socket).expect("a listener").into();
    let mut command = Command::new(dir.path().join("target/debug/readme-app"));
    let _app = Process::start(command.env_clear().stdin(Stdio::from(listener)));
    let response = ask(&Address::Unix(socket), "/");
    assert_eq!(response.status(), 200);
    assert!(response.text().contains("192.0.2.1"), "the client's address is not in {:?}", response.text());
}

/// The launcher line, left running.
struct Launched {
    // Dropped in this order: the folder goes last.
    _launcher: Process,
    socket: Address,
    dir: TempDir,
}

impl Launched {
    fn start() -> Self {
        let dir = temp_dir();
        let commands = commands(&example_in("launcher", dir.path()));
        let [command] = &commands[..] else { panic!("not one command: {commands:?}") };
        let words: Vec<&str> = command.split(' ').collect();
        assert!(
            words[0].ends_with("fcgi-spawn") && words.contains(&"-n"),
            "not fcgi-spawn in the foreground: {command}"
        );
        let at = words.iter().position(|&word| word == "-s").expect("the launcher line has -s PATH");
        let socket = Address::Unix(words[at + 1].into());
        let launcher = Process::start(&mut shell(&format!("exec {command}")));
        wait_until_it_listens(&socket);
        Launched { _launcher: launcher, socket, dir }
    }
}

#[test]
fn launcher() {
    expect_hello(&Launched::start().socket);
}

/// What the launcher line started is asked.
#[test]
fn get() {
    let launched = Launched::start();
    let answers = commands(&example_in("get", launched.dir.path())).into_iter().map(|command| {
        let mut process = Process::start(&mut shell(&command));
        assert!(process.wait_exit().success(), "{command}: {}", process.stderr().text());
        process.stdout().to_end()
    });
    let [hello, page, echo, values] = &answers.collect::<Vec<_>>()[..] else { panic!("not four commands") };
    assert_eq!((&hello[..], &echo[..]), ("Hello, World!", "a body"));
    assert!(page.starts_with("Status: 200") && page.contains("name=value"), "{page}");
    assert!(values.contains("FCGI_MAX_CONNS="), "{values}");
}

mod servers {
    use super::*;
    use crate::servers::start_nginx;
    use fcgi_tests::{WebServer, skip};

    /// The snippet goes into the smallest nginx there is, in front of what the launcher line started: the
    /// README's pieces have to fit each other.
    #[test]
    fn nginx() {
        let Some(nginx) = Program::installed("nginx") else { skip!("nginx is not installed") };
        let launched = Launched::start();
        let snippet = example_in("nginx", launched.dir.path());
        let (server, end) =
            if snippet.contains("server {") { ("", "") } else { ("server { listen 127.0.0.1:@PORT@;\n", "}") };
        // A relative include is looked for beside the configuration, which is /etc/nginx for a reader.
        let snippet = snippet
            .replace("include fastcgi", "include /etc/nginx/fastcgi")
            .replace("listen 80;", "listen 127.0.0.1:@PORT@;");
        let text = format!(
            "daemon off; worker_processes 1; pid @DIR@/pid; error_log @DIR@/error.log;\nevents {{ }}\nhttp {{\naccess_log off;\n\
             client_body_temp_path @DIR@/b; fastcgi_temp_path @DIR@/f; proxy_temp_path @DIR@/p; scgi_temp_path @DIR@/s; \
             uwsgi_temp_path @DIR@/u;\n{server}{snippet}{end}\n}}\n"
        );
        let site = WebServer::start_with_text(&text, &[], |dir, file| start_nginx(&nginx, dir, file));
        let answer = site.client("localhost").get("/hello").expect("an answer");
        assert_eq!((answer.status(), &answer.text()[..]), (200, "Hello, World!"));
    }
}
