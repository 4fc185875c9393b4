//! CGI programs behind web servers that have cgi-bridge run them: git's, one in Perl, and some in shell.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use fcgi_tests::{Address, Process, Program, Stray, TempDir, WebServer, eventually, repository, temp_dir};

use super::git;
use super::scenario::{digest, pattern};
use crate::app::wait_until_it_listens;

/// Where Debian has it.
const GIT_HTTP_BACKEND: &str = "/usr/lib/git-core/git-http-backend";

/// A web server, fcgi-spawn, and cgi-bridge.
struct Site {
    web: WebServer,
    _launcher: Process,
    dir: TempDir,
}

/// A web server that has a configuration for it.
struct Server {
    program: &'static str,
    configuration: &'static str,
    command: fn(&Program, &Path, &Path) -> Command,
}

const NGINX: Server = Server { program: "nginx", configuration: "nginx-cgi.conf", command: super::start_nginx };

const LIGHTTPD: Server =
    Server { program: "lighttpd", configuration: "lighttpd-cgi.conf", command: super::lighttpd::start };

impl Site {
    fn start(server: &Server, program: &Program) -> Self {
        let dir = temp_dir();
        let path = |name: &str| dir.path().join(name);
        let (root, repositories, socket) = (path("root"), path("repositories"), path("bridge.sock"));
        fs::create_dir(&root).expect("a document root");
        fs::create_dir(&repositories).expect("a folder of repositories");
        symlink(repository().join("tests/fixtures/cgi"), root.join("cgi-bin")).expect("the programs");
        let mut command = Program::ours("fcgi-spawn").command();
        command.arg("-s").arg(&socket).args(["-n", "--"]).arg(Program::ours("cgi-bridge").path());
        let launcher = Process::start(&mut command);
        wait_until_it_listens(&Address::Unix(socket.clone()));
        let text = |path: PathBuf| path.display().to_string();
        let (socket, root, repositories) = (text(socket), text(root), text(repositories));
        let fill = [("SOCKET", &socket[..]), ("ROOT", &root), ("REPOSITORIES", &repositories)];
        let web = WebServer::start(server.configuration, &fill, |dir, file| (server.command)(program, dir, file));
        Site { web, _launcher: launcher, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[track_caller]
    fn get(&self, path: &str) -> (u16, String) {
        let answer = self.web.client("localhost").get(path).expect("an answer");
        (answer.status(), answer.text())
    }

    #[track_caller]
    fn git(&self, folder: &str, arguments: &[&str]) -> String {
        git::run(self.dir.path(), &self.path(folder), arguments)
    }

    /// Makes a commit of a file.
    fn commit(&self, folder: &str, file: &str, content: &[u8]) {
        fs::write(self.path(folder).join(file), content).expect("a file");
        self.git(folder, &["add", file]);
        self.git(folder, &["commit", "-q", "-m", file]);
    }
}

/// Bytes that cannot be compressed.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Clones, pushes a little, pushes so much that it comes in chunks, fetches with a question so long that it is compressed,
/// and finds everything.
fn git_at(site: &Site, location: &str) {
    let url = format!("http://{}/{location}/project.git", site.web.address());
    site.git("repositories", &["init", "-q", "--bare", "project.git"]);
    for setting in [["http.receivepack", "true"], ["gc.auto", "0"], ["receive.autogc", "false"]] {
        site.git("repositories/project.git", &["config", setting[0], setting[1]]);
    }
    site.git("", &["clone", "-q", &url, "first"]);
    site.commit("first", "readme", b"a line\n");
    site.git("first", &["push", "-q", "origin", "main"]);

    site.git("", &["clone", "-q", &url, "second"]);
    assert_eq!(fs::read(site.path("second/readme")).expect("a file"), b"a line\n");

    let large = noise(6_000_000);
    site.commit("first", "large", &large);
    let said = site.git("first", &["push", "origin", "main"]);
    assert!(said.contains("Transfer-Encoding: chunked"), "{said}");

    for number in 0..40 {
        site.git("second", &["commit", "-q", "--allow-empty", "-m", &format!("{number}")]);
    }
    let said = site.git("second", &["fetch", "origin"]);
    assert!(said.contains("Content-Encoding: gzip"), "{said}");
    site.git("second", &["merge", "-q", "origin/main"]);
    assert!(fs::read(site.path("second/large")).expect("a file") == large, "the large file differs");
    site.git("second", &["push", "-q", "origin", "main"]);

    site.git("", &["clone", "-q", &url, "third"]);
    let head = |folder: &str| site.git(folder, &["rev-parse", "main"]);
    assert_eq!(head("third"), head("second"));
    site.git("third", &["fsck", "--strict"]);
    site.git("repositories/project.git", &["fsck", "--strict"]);
}

fn git(site: &Site) {
    git_at(site, "git");
}

fn git_streamed(site: &Site) {
    git_at(site, "streamed-git");
}

fn perl(site: &Site) {
    assert_eq!(
        site.get("/cgi-bin/digest.pl/a/b?name=Ann"),
        (200, "Hello, Ann at /cgi-bin/digest.pl and /a/b\n".to_owned())
    );
    for length in [10_000, 1_048_576] {
        let answer = site.web.client("localhost").post("/cgi-bin/digest.pl", &pattern(length)).expect("an answer");
        assert_eq!((answer.status(), answer.text()), (200, digest(length)));
    }
    eventually("its words in the error log", || {
        site.web.error_log().contains("the-program-says 1048576").then_some(())
    });
}

fn shell(site: &Site) {
    let (status, text) = site.get("/cgi-bin/environment.sh/a%20b?c=d");
    assert_eq!(status, 200);
    for line in [
        "SCRIPT_NAME=/cgi-bin/environment.sh",
        "PATH_INFO=/a b",
        "QUERY_STRING=c=d",
        "GATEWAY_INTERFACE=CGI/1.1",
        &format!("DOCUMENT_ROOT={}", site.path("root").display()),
        &format!("PATH_TRANSLATED={}/a b", site.path("root").display()),
        &format!("SCRIPT_FILENAME={}/cgi-bin/environment.sh", site.path("root").display()),
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
    let body = pattern(3_000_000);
    let answer = site.web.client("localhost").post("/cgi-bin/cat.sh", &body).expect("an answer");
    assert!(answer.status() == 200 && answer.body() == body, "{} bytes", answer.body().len());
    assert_eq!(site.get("/cgi-bin/log.sh"), (200, "logged".to_owned()));
    eventually("its words in the error log", || site.web.error_log().contains("the-program-says").then_some(()));
}

fn refusals(site: &Site) {
    for (path, status, words) in [
        ("/cgi-bin/nothing.sh", 404, "nothing.sh' is not there"),
        ("/cgi-bin/plain.txt", 403, "plain.txt' cannot be executed"),
        ("/cgi-bin/say.sh", 502, "its output ended without a header block"),
    ] {
        assert_eq!(site.get(path).0, status, "{path}");
        eventually(words, || site.web.error_log().contains(words).then_some(()));
    }
}

/// A program whose client has gone ends.
fn client_gone(site: &Site) {
    let (journal, signpost) = (site.path("journal"), site.path("signpost"));
    let address = site.web.address();
    let mut client = Address::Tcp(address).connect().expect("the web server accepts");
    client.send(
        format!(
            "GET /cgi-bin/hold.sh HTTP/1.1\r\nHost: {address}\r\nX-Journal: {}\r\nX-Signpost: {}\r\n\r\n",
            journal.display(),
            signpost.display()
        )
        .as_bytes(),
    );
    let line =
        eventually("a program that runs", || fs::read_to_string(&journal).ok().filter(|text| text.ends_with('\n')));
    let held: Vec<_> = line.split_whitespace().map(|pid| Stray::adopt(pid.parse().expect("a pid"))).collect();
    drop(client);
    held.iter().for_each(Stray::wait_gone);
}

/// Many clients at once, more than programs may run.
fn parallel_clients(site: &Site) {
    thread::scope(|scope| {
        for number in 0..24 {
            scope.spawn(move || {
                let body = pattern(1 + 1000 * number);
                let answer = site.web.client("localhost").post("/cgi-bin/cat.sh", &body).expect("an answer");
                assert!(answer.status() == 200 && answer.body() == body, "{answer:?}");
            });
        }
    });
}

macro_rules! tests {
    ($server:ident: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            fcgi_tests::once_is_enough!();
            let Some(program) = fcgi_tests::Program::installed(super::$server.program) else {
                fcgi_tests::skip!("{} is not installed", super::$server.program)
            };
            let needs_git = stringify!($name).starts_with("git");
            let perl = std::process::Command::new("perl").args(["-MDigest::SHA", "-e1"]).status();
            if stringify!($name) == "perl" && !perl.is_ok_and(|status| status.success()) {
                fcgi_tests::skip!("perl is not installed");
            }
            if needs_git && !std::path::Path::new(super::GIT_HTTP_BACKEND).is_file() {
                fcgi_tests::skip!("git is not installed");
            }
            super::$name(&super::Site::start(&super::$server, &program));
        })*
    };
}

mod nginx {
    tests! { NGINX: git git_streamed perl shell refusals parallel_clients client_gone }
}
mod lighttpd {
    tests! { LIGHTTPD: git perl shell refusals parallel_clients }
}
