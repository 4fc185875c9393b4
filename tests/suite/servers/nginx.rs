//! nginx.

use std::path::Path;
use std::process::Command;

use fcgi_tests::{Program, is_root};

use super::site::{Server, USUAL};

/// The command line of nginx. As root its worker processes would become www-data, who may not enter our
/// private folders.
pub(crate) fn start(nginx: &Program, dir: &Path, configuration: &Path) -> Command {
    let mut command = nginx.command();
    command.arg("-p").arg(dir).arg("-c").arg(configuration).args(["-e", "stderr"]);
    if is_root() {
        command.args(["-g", "user root;"]);
    }
    command
}

const NGINX: Server = Server {
    program: "nginx",
    configuration: "nginx.conf",
    command: start,
    largest_header: 30_000,
    streams_uploads: false,
    ..USUAL
};

column!(super::NGINX, unix);
column!(super::NGINX, tcp);
column!(super::NGINX, kept_unix);
column!(super::NGINX, kept_tcp);
