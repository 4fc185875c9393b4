//! BusyBox httpd, which knows CGI only: with cgi-fcgi in between, or with the application as plain CGI.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use fcgi_tests::{Address, Program, repository};

use super::site::{Restart, Server, USUAL};

fn start(_: &Program, _: &Path, script: &Path) -> Command {
    let mut command = Program::installed("sh").expect("there is a shell").command();
    command.arg(script);
    command
}

/// Makes cgi-fcgi.sh the program for all requests.
fn put_cgi_fcgi(root: &Path, address: &Address) {
    let address = match address {
        Address::Unix(path) => path.display().to_string(),
        Address::Tcp(tcp) => tcp.to_string(),
    };
    let script = fs::read_to_string(repository().join("examples/servers/cgi-fcgi.sh")).expect("the script");
    let program = root.join("cgi-bin/app");
    fs::create_dir(root.join("cgi-bin")).expect("a folder of programs");
    fs::write(&program, script.replace("@ADDRESS@", &address)).expect("a program");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("our own file");
}

/// Makes the application itself that program.
fn put_application(root: &Path, _: &Address) {
    fs::create_dir(root.join("cgi-bin")).expect("a folder of programs");
    fs::copy(Program::ours("test-app").path(), root.join("cgi-bin/app")).expect("the application can be copied");
}

const BUSYBOX: Server = Server {
    program: "busybox",
    configuration: "busybox-httpd.sh",
    command: start,
    prepare: put_cgi_fcgi,
    restart: Restart::None,
    prefix: "/cgi-bin/app",
    largest_header: 8100,
    clients: 8,
    reports_gone_clients: false,
    ..USUAL
};

/// Here the application finds out that its client is gone, as its own standard output is closed.
const CGI: Server =
    Server { prepare: put_application, starts_application: true, reports_gone_clients: true, ..BUSYBOX };

macro_rules! cgi_column {
    ($server:path, $transport:ident $(, $more:ident)*) => {
        column! { $server, $transport:
            get head query_and_40_headers large_header
            post_nothing post_25_bytes post_64_kib post_1_mib post_50_mib
            slow_upload cut_upload client_gone answer_of_10_mib early_answer
            redirects cookies errors_with_bodies stderr_in_the_error_log parallel_clients
            $($more)*
        }
    };
}

cgi_column!(super::BUSYBOX, cgi_fcgi_unix, connections, restart_of_the_workers, killed_workers);
cgi_column!(super::BUSYBOX, cgi_fcgi_tcp, connections, restart_of_the_workers, killed_workers);
cgi_column!(super::CGI, cgi);
