//! Apache httpd: mod_proxy_fcgi and mod_authnz_fcgi, which find the application running, and mod_fcgid, which starts it.

use std::path::Path;
use std::process::Command;

use fcgi_tests::{Program, Signal};

use super::site::{Configuration, Restart, Seen, Server, USUAL};

pub(super) fn start(apache: &Program, _: &Path, configuration: &Path) -> Command {
    let mut command = apache.command();
    command.arg("-DFOREGROUND").arg("-f").arg(configuration);
    command
}

const PROXY_FCGI: Server = Server {
    sends_again: false,
    program: "apache2",
    clients_see: Seen::Column("mod_proxy_fcgi"),
    configuration: Configuration::File("apache-proxy-fcgi.conf"),
    command: start,
    restart: Restart::Workers(Signal::USR1),
    user: Some("www-data"),
    largest_header: 15_900,
    denial: 401,
    ..USUAL
};

const STREAMED: Server = Server { clients_see: Seen::AllRight, ..PROXY_FCGI };

column!(super::PROXY_FCGI, unix);
column!(super::PROXY_FCGI, tcp);
column!(super::PROXY_FCGI, kept_unix);
column!(super::PROXY_FCGI, kept_tcp);
column!(super::STREAMED, streamed_unix: get events_and_stop gone_during_events client_gone);
column!(super::PROXY_FCGI, guarded_tcp: authorizer_grants authorizer_denies authorizer_that_panics_denies);

/// Its process manager starts processes while it ends, and ends those before they can handle SIGTERM.
const FCGID: Server = Server {
    restarts_cleanly: false,
    clients_see: Seen::Column("mod_fcgid"),
    configuration: Configuration::File("apache-fcgid.conf"),
    prefix: "/app",
    starts_application: true,
    streams_uploads: false,
    worker_environment: &["PATH"],
    worker_descriptors: &["socket", "error.log", "error.log", "pipe", "pipe"],
    ..PROXY_FCGI
};

const FCGID_GUARD: Server = Server { prefix: "", ..FCGID };

column!(super::FCGID, spawned);
column!(super::FCGID_GUARD, guarded_spawned: authorizer_grants authorizer_denies authorizer_that_panics_denies);
