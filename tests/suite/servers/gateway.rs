//! http-gateway, one of our examples: the web server of machines without one.

use std::fs;
use std::path::Path;
use std::process::Command;

use fcgi_tests::Program;

use super::site::{Configuration, Restart, Seen, Server, USUAL};

/// Its command line is all the configuration that it has.
fn start(gateway: &Program, _: &Path, arguments: &Path) -> Command {
    let mut command = gateway.command();
    command.args(fs::read_to_string(arguments).expect("its arguments").split_whitespace());
    command
}

const GATEWAY: Server = Server {
    program: "http-gateway",
    find: |name| Some(Program::ours(name)),
    clients_see: Seen::Column("http-gateway"),
    configuration: Configuration::Text("--listen 127.0.0.1:@PORT@ --connect unix:@SOCKET@"),
    command: start,
    restart: Restart::None,
    ..USUAL
};

const OVER_TCP: Server =
    Server { configuration: Configuration::Text("--listen 127.0.0.1:@PORT@ --connect 127.0.0.1:@APPPORT@"), ..GATEWAY };

macro_rules! gateway_column {
    ($server:path, $transport:ident) => {
        column! { $server, $transport:
            get head query_and_40_headers
            post_nothing post_25_bytes post_64_kib post_1_mib post_50_mib
            chunked_upload slow_upload cut_upload client_gone answer_of_10_mib early_answer
            redirects cookies errors_with_bodies failed_responses responses_without_a_body
            gone_while_waiting gone_during_events events_and_stop slow_reader
            connections parallel_clients killed_workers
        }
    };
}

gateway_column!(super::GATEWAY, unix);
gateway_column!(super::OVER_TCP, tcp);
