//! BusyBox httpd, which knows CGI only: with cgi-fcgi in between, or with the application as plain CGI.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use fcgi_tests::{Address, Process, Program, Signal, copy_program, eventually, proc, repository, write_executable};

use super::scenario::WHOLE;
use super::site::{Configuration, Restart, Seen, Server, USUAL, place};
use super::table::Case;

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
    write_executable(&program, &script.replace("@ADDRESS@", &address));
}

/// Makes the application itself that program.
fn put_application(root: &Path, _: &Address) {
    fs::create_dir(root.join("cgi-bin")).expect("a folder of programs");
    copy_program(Program::ours("test-app").path(), &root.join("cgi-bin/app"));
}

const BUSYBOX: Server = Server {
    program: "busybox",
    clients_see: Seen::RightBut(&[(Case::Fails, &[WHOLE]), (Case::Panics, &[WHOLE])]),
    configuration: Configuration::File("busybox-httpd.sh"),
    command: start,
    prepare: put_cgi_fcgi,
    restart: Restart::None,
    prefix: "/cgi-bin/app",
    largest_header: 8100,
    loses_chunks: true,
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
            chunked_upload slow_upload cut_upload client_gone answer_of_10_mib early_answer
            redirects cookies errors_with_bodies failed_responses responses_without_a_body
            stderr_in_the_error_log parallel_clients
            $($more)*
        }
    };
}

cgi_column!(super::BUSYBOX, cgi_fcgi_unix, connections, restart_of_the_workers, killed_workers);
cgi_column!(super::BUSYBOX, cgi_fcgi_tcp, connections, restart_of_the_workers, killed_workers);
cgi_column!(super::CGI, cgi);

/// It cannot be restarted without turning anybody away: a program that is under way holds its port. But that is answered,
/// and then another can start.
#[test]
fn what_is_under_way_outlives_the_server() {
    let site = place!(CGI, "cgi").site();
    let (journal, signpost) = (site.journal(), site.signpost());
    let page = format!("/hold?until={}&journal={}", signpost.display(), journal.path());
    thread::scope(|scope| {
        let held = scope.spawn(|| site.get(&page));
        journal.wait_for("hold: began");
        site.web.signal(Signal::TERM);
        eventually("the end of the server", || (!proc::is_alive(site.web.pid())).then_some(()));
        fs::write(&signpost, "").expect("the signpost can be set up");
        let answer = held.join().expect("the request under way was answered");
        assert_eq!((answer.status(), &answer.text()[..]), (200, "held"));
    });
    let script = site.web.dir().join("server.conf");
    let shell = Program::installed("sh").expect("there is a shell");
    let _next = eventually("another server at the same port", || {
        let process = Process::start(shell.command().arg(&script));
        eventually("a server that listens, or cannot", || {
            let answers = site.client().get(&site.path("/hello")).is_ok();
            (answers || !proc::is_alive(process.pid())).then_some(answers)
        })
        .then_some(process)
    });
    site.expect_hello();
}
