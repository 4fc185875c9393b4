//! h2o.

use std::path::Path;
use std::process::Command;

use fcgi_tests::{Program, Signal};

use super::site::{Configuration, Restart, Seen, Server, USUAL};

fn start(h2o: &Program, _: &Path, configuration: &Path) -> Command {
    let mut command = h2o.command();
    command.args(["-m", "master", "-c"]).arg(configuration);
    command
}

const H2O: Server = Server {
    program: "h2o",
    clients_see: Seen::Column("h2o"),
    configuration: Configuration::File("h2o.conf"),
    command: start,
    restart: Restart::Workers(Signal::HUP),
    user: Some("nobody"),
    largest_header: 60_000,
    streams_uploads: false,
    ..USUAL
};

/// It fails an assertion when it would keep a connection on which it is still sending.
const H2O_KEPT: Server = Server { survives_early_answers: false, ..H2O };

column!(super::H2O, unix);
column!(super::H2O, tcp);
column!(super::H2O_KEPT, kept_unix);
column!(super::H2O_KEPT, kept_tcp);
