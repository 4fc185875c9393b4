//! HAProxy, the one web server that multiplexes.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use fcgi_tests::{
    Address, HttpClient, Program, Relay, Signal, TempDir, WebServer, free_port, proc, repository, skip, temp_dir,
};

use super::site::{Configuration, Restart, Seen, Server, USUAL};
use crate::app::App;

pub(super) fn start(haproxy: &Program, _: &Path, configuration: &Path) -> Command {
    let mut command = haproxy.command();
    command.args(["-W", "-db", "-f"]).arg(configuration);
    command
}

/// Once its worker serves, the master executes itself anew to do nothing but wait. It ignores the signal until it has
/// said how it takes it, and so loses what came before.
fn master_waits(haproxy: &WebServer) -> bool {
    let master = haproxy.pid();
    let caught = proc::status(master, "SigCgt").first().map_or(0, |mask| u64::from_str_radix(mask, 16).unwrap_or(0));
    let upgrades = caught >> (Signal::USR2.as_raw() - 1) & 1 == 1;
    upgrades && proc::environment(master).contains(&"HAPROXY_MWORKER_WAIT_ONLY=1".to_owned())
}

const HAPROXY: Server = Server {
    program: "haproxy",
    clients_see: Seen::Column("HAProxy"),
    configuration: Configuration::File("haproxy.cfg"),
    command: start,
    ready: master_waits,
    restart: Restart::Workers(Signal::USR2),
    // The old worker aborts what it has just sent to the application, tries again, aborts that, and says 502.
    restarts_cleanly: false,
    largest_header: 12_000,
    largest_chunked: Some(56 << 10),
    redirect: Some(302),
    ..USUAL
};

const KEPT: Server = Server { clients_see: Seen::Column("HAProxy, kept"), clients_share_connections: false, ..HAPROXY };

const SHARED: Server = Server { clients_see: Seen::Column("HAProxy, shared"), ..HAPROXY };

column!(super::HAPROXY, unix);
column!(super::HAPROXY, tcp);
column!(super::KEPT, kept_unix);
column!(super::KEPT, kept_tcp);
column!(super::SHARED, shared_unix);
column!(super::SHARED, shared_tcp);

/// With the buffers that HAProxy has unless it is told otherwise, in which it ends at smaller lines for the error log.
mod small_buffers {
    use super::super::site::{Configuration, Seen, Server};

    const SMALL: Server = Server {
        clients_see: Seen::AllRight,
        configuration: Configuration::Changed("haproxy.cfg", |text| {
            let small = text.replace("    tune.bufsize 65536\n", "");
            assert_ne!(small, text);
            small
        }),
        largest_chunked: Some(14 << 10),
        ..super::HAPROXY
    };

    column! { super::SMALL, unix:
        large_header post_1_mib chunked_upload answer_of_10_mib early_answer errors_with_bodies failed_responses
        responses_without_a_body stderr_in_the_error_log gone_while_waiting gone_during_events slow_reader
    }
}

/// Not among them: many uploads at once, of which HAProxy 2.6.12 answers some with a 500 of its own, or ends in
/// `FATAL: bug condition "c_empty(ic)"`; and a restart, in which it leaves some requests without an answer.
macro_rules! multiplexed_column {
    ($transport:ident) => {
        column! { super::SHARED, $transport:
            get head query_and_40_headers large_header
            post_nothing post_25_bytes post_64_kib post_1_mib post_50_mib
            chunked_upload slow_upload cut_upload client_gone answer_of_10_mib early_answer
            redirects cookies errors_with_bodies failed_responses responses_without_a_body stderr_in_the_error_log
            gone_while_waiting gone_during_events events_and_stop slow_reader
            connections restart_of_the_workers killed_workers
        }
    };
}

multiplexed_column!(multiplexed_unix);
multiplexed_column!(multiplexed_tcp);

/// HAProxy in front of two `echo`, one on a unix socket, one over TCP, which multiplexes, each with somebody in
/// between who counts connections.
struct TwoApplications {
    haproxy: WebServer,
    over_unix: Relay,
    over_tcp: Relay,
    _apps: [App; 2],
    _dir: TempDir,
}

impl TwoApplications {
    fn start(haproxy: &Program) -> Self {
        let dir = temp_dir();
        let path = |name: &str| Address::Unix(dir.path().join(name));
        let apps = [App::on_descriptor_0("echo", &path("app")), App::multiplexing(&Address::loopback(0))];
        let (socket, port) = (dir.path().join("relay"), free_port());
        let over_unix = Relay::start(&Address::Unix(socket.clone()), apps[0].address.clone());
        let over_tcp = Relay::start(&Address::loopback(port), apps[1].address.clone());
        let fill = [("SOCKET", socket.to_str().expect("a plain path")), ("APPPORT", &port.to_string())];
        let haproxy = WebServer::start_with_text(&configuration(), &fill, |dir, file| start(haproxy, dir, file));
        TwoApplications { haproxy, over_unix, over_tcp, _apps: apps, _dir: dir }
    }

    fn client(&self, name: &str) -> HttpClient {
        self.haproxy.client(&format!("{name}.test"))
    }
}

/// What we show, with one thread, since threads have connections of their own, and with a way to have `echo` sleep.
fn configuration() -> String {
    let file = repository().join("examples/servers/haproxy.cfg");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let sleep =
        "    docroot /srv/www\n    set-param ECHO_SLEEP_MS %[url_param(sleep)] if { url_param(sleep) -m found }\n";
    assert!(text.contains("\nglobal\n") && text.contains("    docroot /srv/www"), "{}", file.display());
    text.replace("\nglobal\n", "\nglobal\n    nbthread 1\n").replace("    docroot /srv/www", sleep)
}

#[track_caller]
fn expect_echo(client: &HttpClient, path: &str, body: &[u8]) {
    let answer = if body.is_empty() { client.get(path) } else { client.post(path, body) }.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}: {answer:?}");
    let script = format!("SCRIPT_NAME={}\n", path.split('?').next().expect("a path"));
    let head = answer.body().windows(2).position(|bytes| bytes == b"\n\n").expect("an empty line") + 2;
    let params = String::from_utf8_lossy(&answer.body()[..head]);
    assert!(params.contains(&script), "{path}:\n{params}");
    assert!(&answer.body()[head..] == body, "{path}: the echo of {} bytes differs", body.len());
}

#[test]
fn requests_on_each_kind_of_connection() {
    let Some(haproxy) = Program::installed("haproxy") else { skip!("HAProxy is not installed") };
    let site = TwoApplications::start(&haproxy);
    let body: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 251) as u8).collect();
    for name in ["kept-unix", "tcp", "multiplexed-tcp"] {
        let client = site.client(name);
        for _ in 0..2 {
            expect_echo(&client, "/some/page?a=1", b"");
            expect_echo(&client, "/upload", &body);
        }
    }
    assert!(site.over_unix.connections() < 4, "kept, but a client's first request may have one of its own");
    assert_eq!(site.over_tcp.connections(), 4 + 1, "a connection each, and one for all that follow");
}

#[test]
fn requests_at_once_share_a_connection() {
    const SLOW: usize = 40;
    let Some(haproxy) = Program::installed("haproxy") else { skip!("HAProxy is not installed") };
    let site = TwoApplications::start(&haproxy);
    expect_echo(&site.client("multiplexed-tcp"), "/first", b"");
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..SLOW {
            let client = site.client("multiplexed-tcp");
            scope.spawn(move || expect_echo(&client, "/slow?sleep=1000", b"slow"));
        }
        let client = site.client("multiplexed-tcp");
        (0..50).for_each(|_| expect_echo(&client, "/fast", b"fast"));
    });
    assert_eq!(site.over_tcp.connections(), 1);
    assert!(begun.elapsed() < Duration::from_secs(SLOW as u64 / 2), "one after the other");
}

/// HAProxy takes FCGI_MAX_REQS for a limit of each connection: with more requests it makes others, and none is refused.
/// Until it has the answer to FCGI_GET_VALUES it sends one request on each.
#[test]
fn more_requests_than_a_connection_takes_are_not_refused() {
    let Some(haproxy) = Program::installed("haproxy") else { skip!("HAProxy is not installed") };
    let site = TwoApplications::start(&haproxy);
    expect_echo(&site.client("multiplexed-tcp"), "/first", b"");
    thread::scope(|scope| {
        for _ in 0..100 {
            let client = site.client("multiplexed-tcp");
            scope.spawn(move || expect_echo(&client, "/slow?sleep=1000", b"slow"));
        }
    });
    assert!((2..=1 + 100 - 64).contains(&site.over_tcp.connections()), "{} connections", site.over_tcp.connections());
}
