//! A web server in front of three machines, which are network namespaces: one is reloaded, one stopped, one cut off and
//! joined again, all under load.
//!
//! A namespace is there as long as a process is in it, and its links with it, so nothing is left when those have ended.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use fcgi_tests::{HttpClient, PATIENCE, Process, Program, Signal, TempDir, eventually, eventually_within, proc};
use fcgi_tests::{repository, temp_dir};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The ports in namespaces of our own are all free.
const HTTP: u16 = 80;
const APP: u16 = 9000;

/// Clients that send GET, whose requests may be sent again, and those that send POST, whose may not.
const GETS: usize = 3;
const POSTS: usize = 2;

/// Idle connections that the web servers keep to a machine, by their configurations.
const KEPT: usize = 4;

/// A web server that balances.
struct Balancer {
    program: &'static str,
    configuration: &'static str,
    command: fn(&Program, &Path, &Path) -> Command,
}

const NGINX: Balancer = Balancer { program: "nginx", configuration: "nginx-hosts.conf", command: super::start_nginx };

const HAPROXY: Balancer =
    Balancer { program: "haproxy", configuration: "haproxy-hosts.cfg", command: super::haproxy::start };

/// A network namespace, held by a process.
struct Namespace(Process);

impl Namespace {
    fn new() -> Self {
        let process = Process::start(Command::new("unshare").args(["-n", "sleep", "infinity"]));
        let namespace = Namespace(process);
        let ours = fs::read_link("/proc/self/ns/net").expect("there are namespaces");
        eventually("a network namespace", || {
            let is_other = fs::read_link(namespace.path()).is_ok_and(|theirs| theirs != ours);
            let is_ready = proc::name(namespace.0.pid()).is_some_and(|name| name == "sleep");
            (is_other && is_ready).then_some(())
        });
        namespace.ip("link set lo up");
        namespace
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.pid()).into()
    }

    /// The same command in there.
    fn command(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net={}", self.path().display())).arg("--").arg(command.get_program());
        inside.args(command.get_args()).env_clear();
        inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inside.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        inside
    }

    #[track_caller]
    fn ip(&self, arguments: &str) {
        let ip = Program::installed("ip").expect("ip is installed");
        let mut process = Process::start(&mut self.command(ip.command().args(arguments.split(' '))));
        assert!(process.wait_exit().success(), "ip {arguments}: {}", process.stderr().to_end());
    }
}

/// A machine with two workers.
struct Host {
    // Dropped in this order.
    launcher: Process,
    namespace: Namespace,
    address: String,
}

impl Host {
    /// A machine with a link to the front.
    fn new(front: &Namespace, number: usize) -> Self {
        let (namespace, address) = (Namespace::new(), format!("192.0.2.1{number}"));
        let pid = namespace.0.pid();
        front.ip(&format!("link add host{number} type veth peer name front netns {pid}"));
        front.ip(&format!("addr add 192.0.2.1 peer {address}/32 dev host{number}"));
        namespace.ip(&format!("addr add {address} peer 192.0.2.1/32 dev front"));
        front.ip(&format!("link set host{number} up"));
        namespace.ip("link set front up");
        let launcher = launch(&namespace, &address);
        let host = Host { launcher, namespace, address };
        host.two_new_workers(&[]);
        host
    }

    fn workers(&self) -> Vec<u32> {
        proc::descendants_named(self.launcher.pid(), "test-app")
    }

    fn two_new_workers(&self, old: &[u32]) -> Vec<u32> {
        eventually("two workers, all of them new", || {
            let now = self.workers();
            (now.len() == 2 && !now.iter().any(|pid| old.contains(pid))).then_some(now)
        })
    }
}

fn launch(namespace: &Namespace, address: &str) -> Process {
    let mut command = Program::ours("fcgi-spawn").command();
    command.args(["-a", address, "-p", &APP.to_string(), "-F", "2"]).args(crate::launcher::SHORT_RELOAD);
    command.args(["-n", "--"]).arg(Program::ours("test-app").path());
    command.env("FCGI_WEB_SERVER_ADDRS", "192.0.2.1");
    Process::start(&mut namespace.command(&command))
}

/// What the clients see.
#[derive(Default)]
struct Seen {
    /// Right answers, for each client.
    answers: [AtomicUsize; GETS + POSTS],
    /// The workers that gave them.
    workers: Mutex<BTreeSet<u32>>,
    failed_gets: Mutex<Vec<String>>,
    failed_posts: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Seen {
    /// Waits until every client has some more right answers.
    fn all_get_more(&self) {
        let counts = || self.answers.each_ref().map(|count| count.load(Ordering::SeqCst));
        let before = counts();
        eventually_within(3 * PATIENCE, "more answers for every client", || {
            counts().iter().zip(before).all(|(now, before)| *now >= before + 5).then_some(())
        });
    }

    /// Waits until a machine answers.
    fn uses(&self, host: &Host) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        eventually_within(3 * PATIENCE, "an answer from a machine", || {
            let seen = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            host.workers().iter().any(|pid| seen.contains(pid)).then_some(())
        });
    }

    /// Asks until it is over.
    fn ask(&self, client: usize, address: SocketAddr) {
        let http = HttpClient::new(address);
        let failed = if client < GETS { &self.failed_gets } else { &self.failed_posts };
        let body = super::scenario::pattern(2000 + client);
        while !self.over.load(Ordering::SeqCst) {
            let answer = if client < GETS { http.get("/process") } else { http.post("/echo", &body) };
            let why = match answer {
                Ok(answer) if answer.status() != 200 => format!("{}", answer.status()),
                Ok(answer) if client < GETS => {
                    let text = answer.text();
                    let pid = text.strip_prefix("pid ").and_then(|text| text.lines().next()?.parse().ok());
                    let pid = pid.unwrap_or_else(|| panic!("no worker answers so: {text}"));
                    self.workers.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
                    self.answers[client].fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                Ok(answer) => {
                    assert!(answer.body() == body, "the echo differs");
                    self.answers[client].fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                Err(error) => error.to_string(),
            };
            failed.lock().unwrap_or_else(PoisonError::into_inner).push(why);
        }
    }
}

/// The balancer with its machines.
struct Site {
    // Dropped in this order.
    balancer: Process,
    hosts: [Host; 3],
    front: Namespace,
    dir: TempDir,
}

impl Site {
    fn start(balancer: &Balancer, program: &Program) -> Self {
        let (front, dir) = (Namespace::new(), temp_dir());
        let hosts = [1, 2, 3].map(|number| Host::new(&front, number));
        let template = repository().join("examples/servers").join(balancer.configuration);
        let text = fs::read_to_string(&template).unwrap_or_else(|error| panic!("{}: {error}", template.display()));
        let text = text.replace("@DIR@", &dir.path().display().to_string());
        let text = text.replace("@PORT@", &HTTP.to_string()).replace("@APPPORT@", &APP.to_string());
        let file = dir.path().join("server.conf");
        fs::write(&file, text).expect("the configuration can be written");
        let command = (balancer.command)(program, dir.path(), &file);
        Site { balancer: Process::start(&mut front.command(&command)), hosts, front, dir }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], HTTP))
    }

    /// Waits until every machine answers, then runs `act` while clients ask.
    fn under_load(&mut self, act: impl FnOnce(&mut Self, &Seen)) -> Seen {
        let seen = Seen::default();
        let (address, namespace) = (self.address(), self.front.path());
        thread::scope(|scope| {
            for client in 0..GETS + POSTS {
                let (seen, namespace) = (&seen, &namespace);
                scope.spawn(move || {
                    let namespace = File::open(namespace).expect("the namespace is there");
                    let network = Some(LinkNameSpaceType::Network);
                    move_into_link_name_space(namespace.as_fd(), network).expect("root may enter it");
                    // Until the balancer listens and knows its machines.
                    let http = HttpClient::new(address);
                    eventually_within(3 * PATIENCE, "a balancer that answers", || {
                        http.get("/hello").ok().filter(|answer| answer.status() == 200)
                    });
                    seen.ask(client, address);
                });
            }
            let acted = catch_unwind(AssertUnwindSafe(|| act(self, &seen)));
            seen.over.store(true, Ordering::SeqCst);
            if let Err(panic) = acted {
                resume_unwind(panic);
            }
        });
        seen
    }
}

/// One machine is reloaded, one stopped, one cut off. What may be sent again is always answered. Of the others, each
/// connection that there was to one of these machines fails one at most.
fn reloaded_stopped_cut_off(site: &mut Site) {
    let seen = site.under_load(|site, seen| {
        site.hosts.iter().for_each(|host| seen.uses(host));

        let old = site.hosts[2].two_new_workers(&[]);
        site.hosts[2].launcher.signal(Signal::HUP);
        site.hosts[2].two_new_workers(&old);
        seen.uses(&site.hosts[2]);

        assert!(site.hosts[0].launcher.stop().success());
        seen.all_get_more();

        site.hosts[1].namespace.ip("link set front down");
        seen.all_get_more();

        site.hosts[1].namespace.ip("link set front up");
        site.hosts[0].launcher = launch(&site.hosts[0].namespace, &site.hosts[0].address);
        site.hosts.iter().for_each(|host| seen.uses(host));
    });
    let failed = |failed: Mutex<Vec<String>>| failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (gets, posts) = (failed(seen.failed_gets), failed(seen.failed_posts));
    println!("failed: {} of GET, {} of POST: {posts:?}", gets.len(), posts.len());
    assert_eq!(gets, [""; 0], "requests that may be sent again failed: {}", site.balancer.stderr().text());
    assert!(posts.len() <= 3 * (KEPT + GETS + POSTS), "{} requests failed: {posts:?}", posts.len());
}

/// A machine that is drained answers what is under way and gets nothing new.
fn drained(site: &mut Site) {
    let socket = site.dir.path().join("admin.sock");
    let tell = |command: &str| {
        let mut stream = UnixStream::connect(&socket).expect("HAProxy listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.write_all(format!("{command}\n").as_bytes()).expect("HAProxy reads");
        stream.shutdown(Shutdown::Write).expect("a socket can be shut down");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("HAProxy answers");
        answer
    };
    let seen = site.under_load(|site, seen| {
        site.hosts.iter().for_each(|host| seen.uses(host));
        assert_eq!(tell("set server hosts/one state drain").trim(), "");
        seen.all_get_more();
        let drained = || seen.workers.lock().unwrap_or_else(PoisonError::into_inner);
        drained().clear();
        seen.all_get_more();
        assert!(!site.hosts[0].workers().iter().any(|pid| drained().contains(pid)), "a drained machine answered");
        assert!(site.hosts[0].launcher.stop().success());
        seen.all_get_more();
        site.hosts[0].launcher = launch(&site.hosts[0].namespace, &site.hosts[0].address);
        assert_eq!(tell("set server hosts/one state ready").trim(), "");
        seen.uses(&site.hosts[0]);
    });
    for failed in [seen.failed_gets, seen.failed_posts] {
        assert_eq!(failed.into_inner().unwrap_or_else(PoisonError::into_inner), [""; 0], "nothing had to fail");
    }
}

macro_rules! tests {
    ($balancer:ident: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            fcgi_tests::needs_root!();
            let Some(program) = fcgi_tests::Program::installed(super::$balancer.program) else {
                fcgi_tests::skip!("{} is not installed", super::$balancer.program)
            };
            if fcgi_tests::Program::installed("ip").is_none() {
                fcgi_tests::skip!("ip is not installed");
            }
            let namespaces = std::process::Command::new("unshare").args(["-n", "true"]).status();
            if !namespaces.is_ok_and(|status| status.success()) {
                fcgi_tests::skip!("no network namespace can be made");
            }
            super::$name(&mut super::Site::start(&super::$balancer, &program));
        })*
    };
}

mod nginx {
    tests! { NGINX: reloaded_stopped_cut_off }
}
mod haproxy {
    tests! { HAPROXY: reloaded_stopped_cut_off drained }
}
