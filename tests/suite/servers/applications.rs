//! Applications that others wrote, kept running by fcgi-spawn, behind nginx.

use std::env;
use std::fs::{self, Permissions};
use std::mem;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use fcgi_tests::{
    Address, HttpClient, Process, Program, Signal, Stray, TempDir, WebServer, copy_program, eventually, free_port,
    proc, repository, temp_dir,
};

use super::scenario::{digest, pattern};
use crate::app::wait_until_it_listens;

/// An application and how it is started.
struct Application {
    /// Its file in examples/applications.
    file: &'static str,
    /// The program that fcgi-spawn starts; `None` when it is not there.
    program: fn() -> Option<Program>,
    /// Its arguments, from the file and a private folder.
    arguments: fn(&Path, &Path) -> Vec<PathBuf>,
    /// What its processes are called.
    name: &'static str,
    /// The virtual host of nginx.conf.
    host: &'static str,
    /// Whether a process that is told to end answers what it has begun with.
    finishes: bool,
}

const PHP: Application = Application {
    file: "hello.php",
    program: || Program::installed("php-cgi"),
    arguments: |_, private| {
        let sessions = format!("session.save_path={}", private.display());
        ["-n", "-d", &sessions, "-d", "log_errors=1", "-d", "upload_max_filesize=64M", "-d", "post_max_size=64M"]
            .map(PathBuf::from)
            .into()
    },
    name: "php-cgi",
    host: "files.test",
    finishes: true,
};

/// Python with flup, in the environment that tests/run made.
const FLUP: Application = Application {
    file: "hello.py",
    program: || Program::at(&PathBuf::from(env::var_os("FCGI_TEST_FLUP")?).join("bin/python")),
    arguments: |file, _| vec![file.to_owned()],
    name: "python",
    host: "unix.test",
    finishes: false,
};

const PERL: Application = Application {
    file: "hello.pl",
    program: || {
        let perl = Program::installed("perl")?;
        let has_fcgi = perl.command().args(["-MFCGI", "-e1"]).output().is_ok_and(|output| output.status.success());
        has_fcgi.then_some(perl)
    },
    arguments: |file, _| vec![file.to_owned()],
    name: "perl",
    host: "unix.test",
    finishes: false,
};

const FCGIWRAP: Application = Application {
    file: "hello.cgi",
    program: || Program::installed("fcgiwrap"),
    arguments: |_, _| vec!["-f".into()],
    name: "fcgiwrap",
    host: "files.test",
    finishes: false,
};

/// nginx, fcgi-spawn and two workers.
struct Site {
    nginx: WebServer,
    launcher: Process,
    client: HttpClient,
    application: &'static Application,
    dir: TempDir,
}

impl Site {
    fn start(application: &'static Application, nginx: &Program, program: &Program, php_requests: &str) -> Self {
        let dir = temp_dir();
        let root = dir.path().join("root");
        fs::create_dir(&root).expect("a document root");
        let file = root.join(application.file);
        copy_program(&repository().join("examples/applications").join(application.file), &file);
        fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("our own file");

        let socket = dir.path().join("app.sock");
        let mut command = Program::ours("fcgi-spawn").command();
        command.arg("-s").arg(&socket).args(["-F", "2", "-n", "--restart-delay", "1s", "--stop-timeout", "3s"]);
        command.arg("--log").arg(dir.path().join("workers.log")).args(crate::launcher::SHORT_RELOAD);
        // Each says something before it is what it is.
        command.args(["--", "/bin/sh", "-c", "echo 'a worker starts' >&2; exec \"$0\" \"$@\""]).arg(program.path());
        command.args((application.arguments)(&file, dir.path())).env("PHP_FCGI_MAX_REQUESTS", php_requests);
        let launcher = Process::start(&mut command);
        wait_until_it_listens(&Address::Unix(socket.clone()));

        let (socket, root) = (socket.display().to_string(), root.display().to_string());
        let fill = [("SOCKET", &socket[..]), ("APPPORT", &free_port().to_string()), ("ROOT", &root)];
        let nginx =
            WebServer::start("nginx.conf", &fill, |dir, configuration| super::start_nginx(nginx, dir, configuration));
        let client = nginx.client(application.host);
        Site { nginx, launcher, client, application, dir }
    }

    fn path(&self, query: &str) -> String {
        format!("/{}?{query}", self.application.file)
    }

    #[track_caller]
    fn get(&self, query: &str) -> String {
        let answer = self.client.get(&self.path(query)).expect("an answer");
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.text()
    }

    /// What the launcher has written down of its workers' output.
    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("workers.log")).unwrap_or_default()
    }

    /// Sends the launcher a signal that does not end it.
    fn tell(&self, signal: Signal) {
        let launcher = Stray::adopt(self.launcher.pid());
        launcher.signal(signal);
        mem::forget(launcher);
    }

    fn workers(&self) -> Vec<u32> {
        let mut found = proc::children(self.launcher.pid());
        found.retain(|&pid| proc::name(pid).is_some_and(|name| name.starts_with(self.application.name)));
        found
    }

    /// Waits until there are two workers, none of which is an old one.
    fn two_new_workers(&self, old: &[u32]) -> Vec<u32> {
        eventually("two workers, all of them new", || {
            let now = self.workers();
            (now.len() == 2 && !now.iter().any(|pid| old.contains(pid))).then_some(now)
        })
    }
}

fn page(site: &Site) {
    for name in ["Ann", "Bob", "Ann"] {
        assert_eq!(site.get(&format!("name={name}")), format!("Hello, {name}\n"));
    }
}

fn upload(site: &Site) {
    for length in [10_000, 65_536, 1_048_576] {
        let answer = site.client.post(&site.path(""), &pattern(length)).expect("an answer");
        assert_eq!((answer.status(), answer.text()), (200, digest(length)));
    }
}

/// What it says of a request is in nginx's error log, and the launcher says what becomes of its workers.
fn logs(site: &Site) {
    assert_eq!(site.get("log=the-application-says"), "Hello, World\n");
    eventually("its words in the error log", || site.nginx.error_log().contains("the-application-says").then_some(()));
    for pid in site.two_new_workers(&[]) {
        let is_said = || site.log().contains(&format!("(pid {pid}) started")).then_some(());
        eventually("a worker's start in the launcher's log", is_said);
    }
}

/// What the workers say is in the launcher's log, with their pids, and the log may be moved away.
fn worker_logs(site: &Site) {
    let says = |pid: u32| {
        let is_said = |line: &str| line.contains(&format!("pid {pid}")) && line.ends_with("a worker starts");
        eventually("a worker's words in the log", || site.log().lines().any(is_said).then_some(()));
    };
    let first = site.two_new_workers(&[]);
    first.iter().copied().for_each(says);
    let log = site.dir.path().join("workers.log");
    fs::rename(&log, site.dir.path().join("workers.log.1")).expect("a log");
    site.tell(Signal::USR1);
    eventually("a new log", || log.exists().then_some(()));
    site.tell(Signal::HUP);
    site.two_new_workers(&first).into_iter().for_each(says);
}

/// A reload replaces the workers one at a time while a client asks. Nobody is turned away, except by an application whose
/// processes drop what they are at when they are told to end: that is one request for each of them at most.
fn reload(site: &Site) {
    let (over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let old = site.two_new_workers(&[]);
    let more = || {
        let target = answers.load(Ordering::SeqCst) + 20;
        eventually("20 more answers", || (answers.load(Ordering::SeqCst) >= target).then_some(()));
    };
    let failed = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut failed = 0;
            while !over.load(Ordering::SeqCst) {
                let answer = site.client.get(&site.path("name=Ann")).expect("an answer");
                match answer.status() {
                    // Dropped behind its header.
                    200 if !site.application.finishes && answer.text().is_empty() => failed += 1,
                    200 => assert_eq!(answer.text(), "Hello, Ann\n"),
                    502 => failed += 1,
                    _ => panic!("{answer:?}"),
                }
                answers.fetch_add(1, Ordering::SeqCst);
            }
            failed
        });
        let reloaded = catch_unwind(AssertUnwindSafe(|| {
            more();
            site.tell(Signal::HUP);
            site.two_new_workers(&old);
            more();
        }));
        over.store(true, Ordering::SeqCst);
        let failed = client.join().expect("a client that got its answers");
        reloaded.unwrap_or_else(|panic| resume_unwind(panic));
        failed
    });
    let most = if site.application.finishes { 0 } else { old.len() };
    assert!(failed <= most, "{failed} of {} requests failed", answers.into_inner());
}

/// Workers that are killed are replaced, and clients wait meanwhile.
fn crash(site: &Site) {
    page(site);
    let before = site.two_new_workers(&[]);
    for &pid in &before {
        let worker = Stray::adopt(pid);
        worker.signal(Signal::KILL);
        worker.wait_gone();
    }
    page(site);
    site.two_new_workers(&before);
}

/// A form with a file in it.
fn php_upload(site: &Site) {
    let file = pattern(1_048_576);
    let head = "--limit\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";
    let body = [head.as_bytes(), &file, b"\r\n--limit--\r\n"].concat();
    let form = "multipart/form-data; boundary=limit";
    let answer = site.client.post_as(form, &site.path(""), &body).expect("an answer");
    assert_eq!((answer.status(), answer.text()), (200, digest(file.len())));
}

/// A session goes on from one process to the other.
fn php_session(site: &Site) {
    let first = site.client.get(&site.path("count")).expect("an answer");
    assert_eq!(first.text(), "1\n");
    let cookie = first.header("Set-Cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
    for count in 2..6 {
        let next = site.client.get_with(&site.path("count"), &[("Cookie", &cookie)]).expect("an answer");
        assert_eq!(next.text(), format!("{count}\n"));
    }
}

/// php-cgi ends itself after five requests here (500 unless PHP_FCGI_MAX_REQUESTS says otherwise), with status 0: that is
/// no failure, and nobody is turned away.
fn php_recycling(site: &Site) {
    let first = site.two_new_workers(&[]);
    for _ in 0..4 {
        for name in ["Ann", "Bob", "Cid", "Dan", "Eve"] {
            assert_eq!(site.get(&format!("name={name}")), format!("Hello, {name}\n"));
        }
    }
    site.two_new_workers(&first);
}

macro_rules! tests {
    ($application:ident: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            fcgi_tests::once_is_enough!();
            let Some(nginx) = fcgi_tests::Program::installed("nginx") else { fcgi_tests::skip!("nginx is not installed") };
            let Some(program) = (super::$application.program)() else {
                fcgi_tests::skip!("{} is not installed", super::$application.name)
            };
            // How many a process of PHP answers before it ends itself.
            let php_requests = if stringify!($name) == "php_recycling" { "5" } else { "500" };
            super::$name(&super::Site::start(&super::$application, &nginx, &program, php_requests));
        })*
    };
}

mod php {
    tests! { PHP: page upload logs worker_logs crash reload php_upload php_session php_recycling }
}
mod flup {
    tests! { FLUP: page upload logs worker_logs crash reload }
}
mod perl {
    tests! { PERL: page upload logs worker_logs crash reload }
}
mod fcgiwrap {
    tests! { FCGIWRAP: page upload logs worker_logs crash reload }
}
