//! Caddy.

use std::path::Path;
use std::process::Command;

use fcgi_tests::{Process, Program, WebServer};

use super::site::{Configuration, Restart, Seen, Server, USUAL};

fn start(caddy: &Program, dir: &Path, configuration: &Path) -> Command {
    let mut command = caddy.command();
    command.env("HOME", dir).env("XDG_DATA_HOME", dir).env("XDG_CONFIG_HOME", dir);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(configuration);
    command
}

/// A configuration that is the same as before is taken for new.
fn reload(web: &WebServer) {
    let mut command = Program::installed("caddy").expect("it runs").command();
    command.env("HOME", web.dir());
    command.args(["reload", "--force", "--adapter", "caddyfile", "--config"]).arg(web.dir().join("server.conf"));
    let mut reload = Process::start(&mut command);
    assert!(reload.wait_exit().success(), "{}", reload.stderr().to_end());
}

const CADDY: Server = Server {
    program: "caddy",
    clients_see: Seen::Column("Caddy"),
    configuration: Configuration::File("caddy.conf"),
    command: start,
    restart: Restart::Command(reload),
    // The new listener has a queue of its own; who waits in the old one's is reset.
    restarts_cleanly: false,
    largest_header: 60_000,
    logs_stderr: false,
    ..USUAL
};

column!(super::CADDY, unix);
column!(super::CADDY, tcp);
