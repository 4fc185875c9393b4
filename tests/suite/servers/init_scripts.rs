//! nginx in front of what is started as people start it with spawn-fcgi: by Debian's init script of fcgiwrap, and
//! php-cgi by the line that is in wikis everywhere. `FCGI_TEST_BIN_SPAWN_FCGI` aims these, too, at the original.

use std::fs;
use std::path::Path;
use std::process::Command;

use fcgi_tests::{Process, Program, Stray, WebServer, eventually, is_root, needs_root, proc, skip};

use super::start_nginx;
use crate::contract::{Case, text};

/// nginx with one application, whose params are those that Debian ships.
fn serve(nginx: &Program, socket: &Path, script: &Path) -> WebServer {
    let configuration = "daemon off; worker_processes 1; pid @DIR@/pid; error_log @DIR@/error.log;\n\
        events { }\n\
        http { access_log off; client_body_temp_path @DIR@/b; fastcgi_temp_path @DIR@/f; proxy_temp_path @DIR@/p;\n\
        scgi_temp_path @DIR@/s; uwsgi_temp_path @DIR@/u;\n\
        server { listen 127.0.0.1:@PORT@; location / { include /etc/nginx/fastcgi_params;\n\
        fastcgi_param SCRIPT_FILENAME @SCRIPT@; fastcgi_pass unix:@SOCKET@; } } }\n";
    let fill = [("SOCKET", text(socket)), ("SCRIPT", text(script))];
    WebServer::start_with_text(configuration, &fill, |dir, file| start_nginx(nginx, dir, file))
}

#[track_caller]
fn ask(server: &WebServer, path: &str) -> String {
    let answer = server.client("localhost").get(path).expect("an answer");
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.text()
}

/// The processes of a pid file, which end with the value.
fn pids(file: &Path) -> Vec<Stray> {
    let text = fs::read_to_string(file).expect("a pid file");
    text.lines().map(|pid| Stray::adopt(pid.parse().unwrap_or_else(|_| panic!("not a pid: {pid}")))).collect()
}

/// A machine on which spawn-fcgi is the program under test and /run and /etc/default are private, for one command.
/// The machine itself stays as it is: this is a mount namespace.
fn script(case: &Case, action: &str) -> (bool, String) {
    let command = format!(
        "mount --bind {} /usr/bin/spawn-fcgi && mount --bind run /run && mount --bind default /etc/default && \
         exec /etc/init.d/fcgiwrap {action}",
        text(case.program())
    );
    let mut process =
        Process::start(Command::new("unshare").args(["-m", "/bin/sh", "-c", &command]).current_dir(case.path("")));
    let status = process.wait_exit();
    (status.success(), process.stdout().to_end() + &process.stderr().to_end())
}

#[test]
fn debians_fcgiwrap() {
    needs_root!();
    let Some(nginx) = Program::installed("nginx") else { skip!("nginx is not installed") };
    if Program::installed("fcgiwrap").is_none() || !Path::new("/etc/init.d/fcgiwrap").exists() {
        skip!("fcgiwrap is not installed with its init script");
    }
    if Program::installed("spawn-fcgi").is_none() {
        skip!("there is no /usr/bin/spawn-fcgi to be in place of");
    }
    let namespaces = Command::new("unshare").args(["-m", "true"]).status();
    if !namespaces.is_ok_and(|status| status.success()) {
        skip!("no mount namespace can be made");
    }
    let case = Case::new();
    case.folder("run");
    case.folder("default");
    case.file("default/fcgiwrap", "FCGI_CHILDREN=3\n", 0o644);
    let cgi = case.file(
        "page.cgi",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'; echo \"$REQUEST_URI as $(id -un):$(id -gn), $(umask)\"\n",
        0o755,
    );
    let (pid_file, socket) = (case.path("run/fcgiwrap.pid"), case.path("run/fcgiwrap.socket"));

    let (running, said) = script(&case, "status");
    assert!(!running && said.contains("apparently not running"), "{said}");

    let (started, said) = script(&case, "start");
    let workers = if pid_file.exists() { pids(&pid_file) } else { Vec::new() };
    assert!(started && said.contains("Starting FastCGI wrapper"), "{said}");
    assert!(workers.len() == 3 && workers.iter().all(Stray::is_alive), "{workers:?}\n{said}");
    let (_, user, group) = case.owner("run/fcgiwrap.socket");
    assert_eq!((user, group), (33, 33), "the socket is www-data's");

    let server = serve(&nginx, &socket, &cgi);
    for number in 0..10 {
        let page = ask(&server, &format!("/some/page?{number}"));
        assert!(page.starts_with(&format!("/some/page?{number} as www-data:www-data, ")), "{page}");
    }

    let (running, said) = script(&case, "status");
    assert!(running && said.contains("running"), "{said}");
    let (again, said) = script(&case, "start");
    assert!(again && said.contains("already running"), "{said}");

    let (stopped, said) = script(&case, "stop");
    assert!(stopped, "{said}");
    workers.iter().for_each(Stray::wait_gone);
    assert!(!pid_file.exists() && !socket.exists());
}

#[test]
fn php_with_children_of_its_own() {
    let (Some(nginx), Some(php)) = (Program::installed("nginx"), Program::installed("php-cgi")) else {
        skip!("nginx or php-cgi is not installed")
    };
    let case = Case::new();
    let page =
        case.file("page.php", "<?php echo getmypid(), ' ', getenv('PHP_FCGI_CHILDREN'), ' ', $_GET['x'];", 0o644);
    let user = if is_root() { "-u www-data -g www-data -U www-data -G www-data" } else { "" };
    let started = case.run(&format!("-s sock -P pid {user} -C 4 -F 2 -- {} -n", text(php.path())));
    assert_eq!((started.status, started.children.len()), (0, 2), "{started:?}");
    let masters = pids(&case.path("pid"));
    let children: Vec<Vec<Stray>> = masters
        .iter()
        .map(|master| {
            eventually("four children of php-cgi", || {
                let found = proc::children(master.pid());
                (found.len() == 4).then(|| found.into_iter().map(Stray::adopt).collect())
            })
        })
        .collect();

    let server = serve(&nginx, &case.path("sock"), &page);
    for number in 0..20 {
        let answer = ask(&server, &format!("/page.php?x={number}"));
        let words: Vec<&str> = answer.split(' ').collect();
        let [pid, "4", last] = words[..] else { panic!("{answer}") };
        assert_eq!(last, number.to_string());
        assert!(children.iter().flatten().any(|child| child.pid().to_string() == pid), "{answer}");
    }

    for master in &masters {
        master.signal(fcgi_tests::Signal::TERM);
    }
    masters.iter().chain(children.iter().flatten()).for_each(Stray::wait_gone);
}
