//! Behind nginx, with the configuration that we show to users.

use std::path::Path;
use std::process::Command;
use std::thread;

use fcgi_tests::{
    Address, HttpClient, Process, Program, Relay, Signal, Stray, TempDir, WebServer, eventually, free_port, is_root,
    proc, skip, temp_dir,
};

use crate::app::{App, unescape};

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

/// The virtual hosts of examples/servers/nginx.conf and whether they keep connections to the application.
const HOSTS: [(&str, bool); 4] =
    [("unix.test", false), ("tcp.test", false), ("kept-unix.test", true), ("kept-tcp.test", true)];

/// nginx in front of two applications of the same kind, one on a unix socket, one over TCP, each with
/// somebody in between who counts connections.
struct Site {
    nginx: WebServer,
    over_unix: Relay,
    over_tcp: Relay,
    _apps: [App; 2],
    _dir: TempDir,
}

impl Site {
    fn start(nginx: &Program) -> Self {
        let dir = temp_dir();
        let path = |name: &str| Address::Unix(dir.path().join(name));
        let apps = [App::on_descriptor_0("hello", &path("app")), App::on_descriptor_0("hello", &Address::loopback(0))];
        let (socket, port) = (path("relay"), free_port());
        let over_unix = Relay::start(&socket, apps[0].address.clone());
        let over_tcp = Relay::start(&Address::loopback(port), apps[1].address.clone());
        Site { nginx: serve(nginx, &socket, port), over_unix, over_tcp, _apps: apps, _dir: dir }
    }

    /// How many connections nginx has made to the application behind `host`.
    fn connections(&self, host: &str) -> usize {
        if host.contains("unix") { self.over_unix.connections() } else { self.over_tcp.connections() }
    }
}

/// Starts nginx with examples/servers/nginx.conf.
fn serve(nginx: &Program, socket: &Address, port: u16) -> WebServer {
    let Address::Unix(socket) = socket else { panic!("not a unix socket: {socket}") };
    let socket = socket.to_str().expect("a plain path");
    let fill = [("SOCKET", socket), ("APPPORT", &port.to_string())];
    WebServer::start("nginx.conf", &fill, |dir, file| start(nginx, dir, file))
}

/// What to do behind each host, in a site of its own; `kept` tells whether connections are kept there.
fn behind_each_host(nginx: &Program, check: impl Fn(&Site, &str, bool)) {
    for (host, kept) in HOSTS {
        check(&Site::start(nginx), host, kept);
    }
}

#[track_caller]
fn expect_hello(client: &HttpClient) {
    let answer = client.get("/hello").expect("an answer");
    assert_eq!((answer.status(), &answer.text()[..]), (200, "Hello, World!"));
}

#[test]
fn get() {
    let Some(nginx) = Program::installed("nginx") else { skip!("nginx is not installed") };
    let site = Site::start(&nginx);
    for (host, _) in HOSTS {
        let client = site.nginx.client(host);
        expect_hello(&client);
        let page = client.get("/some/page?a=1&b=%3Cscript%3E").expect("an answer");
        let content_type = page.header("Content-Type").unwrap_or_default();
        assert!(page.status() == 200 && content_type.starts_with("text/html"), "{host}: {page:?}");
        for part in ["/some/page", "a=1&b=%3Cscript%3E", "127.0.0.1"] {
            assert!(unescape(&page.text()).contains(part), "{host}: {part} is not in the page:\n{}", page.text());
        }
    }
}

/// nginx stops sending a body when the head of the answer arrives, so an application has to read to the end of it
/// before it answers: one that answers while it reads hangs here, as soon as sockets hold less than the rest.
#[test]
fn post_of_1_mib_comes_back_byte_for_byte() {
    let Some(nginx) = Program::installed("nginx") else { skip!("nginx is not installed") };
    let site = Site::start(&nginx);
    let body: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 251) as u8).collect();
    for (host, _) in HOSTS {
        // Twice: the second one finds a kept connection.
        for _ in 0..2 {
            let answer = site.nginx.client(host).post("/echo", &body).expect("an answer");
            assert_eq!(answer.status(), 200, "{host}");
            assert_eq!(answer.header("Content-Type"), Some("application/octet-stream"), "{host}");
            assert!(answer.body() == body, "{host}: the echo differs");
        }
    }
}

#[test]
fn a_hundred_requests_use_one_connection_where_it_is_kept() {
    let Some(nginx) = Program::installed("nginx") else { skip!("nginx is not installed") };
    behind_each_host(&nginx, |site, host, kept| {
        let client = site.nginx.client(host);
        for _ in 0..100 {
            expect_hello(&client);
        }
        assert_eq!(site.connections(host), if kept { 1 } else { 100 }, "{host}");
    });
}

#[test]
fn clients_in_parallel_are_all_answered() {
    let Some(nginx) = Program::installed("nginx") else { skip!("nginx is not installed") };
    let site = Site::start(&nginx);
    thread::scope(|scope| {
        for number in 0..20 {
            let client = site.nginx.client(HOSTS[number % HOSTS.len()].0);
            scope.spawn(move || (0..20).for_each(|_| expect_hello(&client)));
        }
    });
}

/// The launcher's two workers are killed, one after the other and then both at once, while a client asks all the
/// time, and asks again when nginx answers with an error: it gets its answer every time.
#[test]
fn a_killed_worker_is_replaced() {
    let Some(nginx) = Program::installed("nginx") else { skip!("nginx is not installed") };
    let dir = temp_dir();
    let socket = Address::Unix(dir.path().join("app.sock"));
    let mut command = Program::ours("fcgi-spawn").command();
    command
        .arg("-s")
        .arg(dir.path().join("app.sock"))
        .args(["-F", "2", "--restart-delay", "1s", "-n", "--"])
        .arg(Program::ours("hello").path());
    let launcher = Process::start(&mut command);
    let workers = |known: &[u32]| {
        eventually("two workers, all of them new", || {
            let found = proc::descendants_named(launcher.pid(), "hello");
            (found.len() == 2 && !found.iter().any(|pid| known.contains(pid))).then_some(found)
        })
    };
    let site = serve(&nginx, &socket, free_port());
    for host in ["unix.test", "kept-unix.test"] {
        let client = site.client(host);
        let ask_until_answered = || {
            eventually("an answer from a worker", || client.get("/hello").ok().filter(|answer| answer.status() == 200))
        };
        let first = workers(&[]);
        ask_until_answered();
        for &pid in &first {
            Stray::adopt(pid).signal(Signal::KILL);
            assert_eq!(ask_until_answered().text(), "Hello, World!", "{host}");
        }
        // Both at once: the socket stays open, and requests wait in its queue.
        for pid in workers(&first) {
            Stray::adopt(pid).signal(Signal::KILL);
        }
        assert_eq!(ask_until_answered().text(), "Hello, World!", "{host}");
    }
}
