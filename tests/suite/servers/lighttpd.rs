//! lighttpd, with an application that it finds running or starts itself.

use std::path::Path;
use std::process::Command;

use fcgi_tests::{Program, Signal};

use super::scenario::{NOT_TOLD, WHOLE};
use super::site::{Configuration, Restart, Seen, Server, USUAL};
use super::table::{Case, RIGHT};

pub(super) fn start(lighttpd: &Program, _: &Path, configuration: &Path) -> Command {
    let mut command = lighttpd.command();
    command.arg("-D").arg("-f").arg(configuration);
    command
}

const LIGHTTPD: Server = Server {
    program: "lighttpd",
    clients_see: Seen::Column("lighttpd"),
    configuration: Configuration::File("lighttpd.conf"),
    command: start,
    restart: Restart::Logged(Signal::USR1, "server started"),
    largest_header: 60_000,
    streams_uploads: false,
    reports_gone_clients: false,
    ..USUAL
};

const STREAMED: Server = Server {
    // Its clients are told of a failure only if it has begun to respond.
    clients_see: Seen::RightBut(&[
        (Case::Fails, &[RIGHT, WHOLE]),
        (Case::Panics, &[RIGHT, WHOLE]),
        (Case::GoneWhileWaiting, &[NOT_TOLD]),
    ]),
    streams_uploads: true,
    reports_gone_clients: true,
    largest_chunked: None,
    ..LIGHTTPD
};

const SPAWNING: Server = Server {
    configuration: Configuration::File("lighttpd-spawn.conf"),
    starts_application: true,
    worker_environment: &["EXAMPLE", "PATH", "PHP_FCGI_CHILDREN"],
    worker_descriptors: &["socket", "null", "pipe"],
    ..LIGHTTPD
};

column!(super::LIGHTTPD, unix);
column!(super::LIGHTTPD, tcp);
column!(super::STREAMED, streamed_unix);
column!(super::LIGHTTPD, guarded_unix: authorizer_grants authorizer_denies authorizer_that_panics_denies);
column!(super::SPAWNING, spawned);
