//! Programs that others wrote, at the client's end of nginx and Apache: git's http-backend and cgit, which cgi-bridge
//! runs, php-cgi and flup, which fcgi-spawn keeps running. What the client is told of a response: its length, that there
//! is no body, that it is not whole. What is a server's or a program's own fault is asserted as it is.

use std::env;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fcgi_tests::{
    Address, Process, Program, Signal, Stray, TempDir, WebServer, copy_program, proc, repository, temp_dir,
};

use super::cgi_bridge::noise;
use super::git;
use super::scenario::{digest, pattern};
use super::site::give_to;
use crate::app::wait_until_it_listens;

/// A web server, and where it differs from the other.
struct Server {
    program: &'static str,
    configuration: &'static str,
    command: fn(&Program, &Path, &Path) -> Command,
    user: Option<&'static str>,
    /// Whether the length that an application tells reaches the client: mod_proxy_fcgi drops it.
    passes_lengths: bool,
    /// Whether an upload in chunks has a `CONTENT_LENGTH` at the application.
    counts_chunks: bool,
    /// Whether a connection that an application closes without `FCGI_END_REQUEST` passes for the end of a response
    /// without a length. nginx does not notice it, unless it keeps connections to the application.
    takes_close_for_end: bool,
}

/// Locations for all programs; a client's connection is kept for two seconds, for that long nginx does not tell that a
/// response with a length is not whole.
const NGINX: Server = Server {
    program: "nginx",
    configuration: "
daemon off;
worker_processes 1;
pid @DIR@/nginx.pid;
error_log @DIR@/error.log info;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path @DIR@/client-body;
    fastcgi_temp_path @DIR@/fastcgi;
    proxy_temp_path @DIR@/proxy;
    scgi_temp_path @DIR@/scgi;
    uwsgi_temp_path @DIR@/uwsgi;
    client_max_body_size 0;
    keepalive_timeout 2s;
    fastcgi_max_temp_file_size 0;
    include /etc/nginx/fastcgi_params;
    upstream kept { server unix:@SOCKET@; keepalive 4; }
    server {
        listen 127.0.0.1:@PORT@;
        root @ROOT@;
        location ~ ^/git(/.*)$ {
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend;
            fastcgi_param PATH_INFO $1;
            fastcgi_param GIT_PROJECT_ROOT @ROOT@/repositories;
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param REMOTE_USER tests;
            fastcgi_pass unix:@SOCKET@;
        }
        location ~ ^/cgit(/.*)$ {
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME /usr/lib/cgit/cgit.cgi;
            fastcgi_param SCRIPT_NAME /cgit;
            fastcgi_param PATH_INFO $1;
            fastcgi_param CGIT_CONFIG @ROOT@/cgitrc;
            fastcgi_pass unix:@SOCKET@;
        }
        location /cgi-bin/ { fastcgi_pass unix:@SOCKET@; }
        location /page {
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME @ROOT@/page.php;
            fastcgi_pass unix:@SOCKET@;
        }
        location /kept {
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME @ROOT@/page.php;
            fastcgi_pass kept;
            fastcgi_keep_conn on;
        }
    }
}
",
    command: super::start_nginx,
    user: None,
    passes_lengths: true,
    counts_chunks: true,
    takes_close_for_end: true,
};

/// The same locations. It keeps a client's connection for five seconds, for that long it does not tell that a response is
/// not whole.
const APACHE: Server = Server {
    program: "apache2",
    configuration: r#"
ServerRoot /usr/lib/apache2
DefaultRuntimeDir @DIR@
PidFile @DIR@/httpd.pid
Mutex file:@DIR@ default
Listen 127.0.0.1:@PORT@
ServerName example.test
User www-data
Group www-data
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule env_module modules/mod_env.so
LoadModule proxy_module modules/mod_proxy.so
LoadModule proxy_fcgi_module modules/mod_proxy_fcgi.so
ErrorLog @DIR@/error.log
LogLevel info
StartServers 1
ServerLimit 2
ThreadsPerChild 25
MaxRequestWorkers 50
DocumentRoot @ROOT@
ProxyPass /git/ unix:@SOCKET@|fcgi://git/
<Location /git/>
    ProxyFCGISetEnvIf true SCRIPT_FILENAME /usr/lib/git-core/git-http-backend
    ProxyFCGISetEnvIf "%{REQUEST_URI} =~ m#^/git(/.*)$#" PATH_INFO "$1"
    SetEnv GIT_PROJECT_ROOT @ROOT@/repositories
    SetEnv GIT_HTTP_EXPORT_ALL 1
    SetEnv REMOTE_USER tests
</Location>
ProxyPass /cgit/ unix:@SOCKET@|fcgi://cgit/
<Location /cgit/>
    ProxyFCGISetEnvIf true SCRIPT_FILENAME /usr/lib/cgit/cgit.cgi
    ProxyFCGISetEnvIf true SCRIPT_NAME /cgit
    ProxyFCGISetEnvIf "%{REQUEST_URI} =~ m#^/cgit(/.*)$#" PATH_INFO "$1"
    SetEnv CGIT_CONFIG @ROOT@/cgitrc
</Location>
ProxyPass /cgi-bin/ unix:@SOCKET@|fcgi://cgi-bin@ROOT@/cgi-bin/
ProxyPass /page unix:@SOCKET@|fcgi://page/
ProxyPass /kept unix:@SOCKET@|fcgi://kept/ enablereuse=on
<Location /page>
    ProxyFCGISetEnvIf true SCRIPT_FILENAME @ROOT@/page.php
</Location>
<Location /kept>
    ProxyFCGISetEnvIf true SCRIPT_FILENAME @ROOT@/page.php
</Location>
"#,
    command: super::apache::start,
    user: Some("www-data"),
    passes_lengths: false,
    counts_chunks: false,
    takes_close_for_end: false,
};

/// An application that others wrote.
struct Application {
    name: &'static str,
    /// The program, if it is installed.
    find: fn() -> Option<Program>,
    /// What fcgi-spawn starts: from the program, the file of the document root that is for it, and a private directory.
    worker: fn(&Program, &Path) -> Vec<PathBuf>,
    /// Pages that do not change, and whether the program tells the length of each.
    pages: &'static [(&'static str, bool)],
    /// Whether cgi-bridge runs it, with git's repositories.
    has_repositories: bool,
    /// Whether it reads a request to the end before it answers.
    reads_to_end: bool,
}

/// What cgi-bridge runs is not started by fcgi-spawn.
fn bridge(_: &Program, _: &Path) -> Vec<PathBuf> {
    vec![Program::ours("cgi-bridge").path().to_owned()]
}

const GIT: Application = Application {
    name: "git-http-backend",
    find: || Program::at(Path::new("/usr/lib/git-core/git-http-backend")),
    worker: bridge,
    has_repositories: true,
    reads_to_end: true,
    pages: &[("/git/project.git/HEAD", true), ("/git/project.git/info/refs?service=git-upload-pack", false)],
};

const CGIT: Application = Application {
    name: "cgit",
    find: || Program::at(Path::new("/usr/lib/cgit/cgit.cgi")).filter(|_| (GIT.find)().is_some()),
    worker: bridge,
    has_repositories: true,
    reads_to_end: true,
    pages: &[("/cgit/project/plain/readme", true), ("/cgit/project/tree/", false)],
};

const PHP: Application = Application {
    name: "php-cgi",
    find: || Program::installed("php-cgi"),
    worker: |php, _| vec![php.path().to_owned(), "-n".into()],
    has_repositories: false,
    reads_to_end: false,
    pages: &[("/page?length", true), ("/page", false), ("/kept?length", true), ("/kept", false)],
};

/// Python with flup, in the environment that tests/run made.
const FLUP: Application = Application {
    name: "flup",
    find: || Program::at(&PathBuf::from(env::var_os("FCGI_TEST_FLUP")?).join("bin/python")),
    worker: |python, root| vec![python.path().to_owned(), root.join("page.py")],
    has_repositories: false,
    reads_to_end: true,
    pages: &[("/page?length", true), ("/page", false), ("/kept?length", true), ("/kept", false)],
};

/// A web server, the application behind it, and curl.
struct Site {
    web: WebServer,
    server: &'static Server,
    launcher: Process,
    curl: Program,
    dir: TempDir,
}

impl Site {
    fn start(
        server: &'static Server,
        web: &Program,
        application: &Application,
        program: &Program,
        curl: Program,
    ) -> Self {
        let dir = temp_dir();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).expect("our own directory");
        let (root, socket) = (dir.path().join("root"), dir.path().join("app.sock"));
        fs::create_dir(&root).expect("a document root");
        let fixtures = repository().join("tests/fixtures");
        symlink(fixtures.join("cgi"), root.join("cgi-bin")).expect("the programs");
        for page in ["page.php", "page.py"] {
            copy_program(&fixtures.join("applications").join(page), &root.join(page));
        }
        let repositories = root.join("repositories");
        fs::create_dir(&repositories).expect("a directory of repositories");
        // Without the footer, which has the time: two pages are compared.
        let settings = "cache-size=0\nsnapshots=tar\nremove-suffix=1\nfooter=/dev/null\nscan-path=";
        fs::write(root.join("cgitrc"), format!("{settings}{}\n", repositories.display())).expect("cgit's settings");

        let mut command = Program::ours("fcgi-spawn").command();
        command.arg("-s").arg(&socket).args(["-M", "666", "-F", "2", "-n", "--restart-delay", "1s", "--"]);
        let launcher = Process::start(command.args((application.worker)(program, &root)));
        wait_until_it_listens(&Address::Unix(socket.clone()));
        let (socket, root) = (socket.display().to_string(), root.display().to_string());
        let fill = [("SOCKET", &socket[..]), ("ROOT", &root)];
        let web = WebServer::start_with_text(server.configuration, &fill, |private, file| {
            if let Some(user) = server.user {
                give_to(user, private);
            }
            (server.command)(web, private, file)
        });
        Site { web, server, launcher, curl, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Asks for these pages one after the other, over one connection as long as the server keeps it; each is a path and
    /// more arguments of curl.
    #[track_caller]
    fn curl(&self, transfers: &[(&str, &[&str])]) -> Vec<Got> {
        let mut command = self.curl.command();
        for (number, (path, arguments)) in transfers.iter().enumerate() {
            if number > 0 {
                command.arg("--next");
            }
            command.args(["-s", "--max-time", "60", "-w", "%{exitcode} %{http_code} %{num_connects}\n"]);
            command.arg("-D").arg(self.path(&format!("{number}.head")));
            command.arg("-o").arg(self.path(&format!("{number}.body")));
            command.args(*arguments).arg(format!("http://{}{path}", self.web.address()));
        }
        let mut curl = Process::start(&mut command);
        curl.wait_exit_within(3 * fcgi_tests::PATIENCE);
        let lines = curl.stdout().to_end();
        assert_eq!(lines.lines().count(), transfers.len(), "{lines}");
        let got = |(number, line): (usize, &str)| {
            let take = |part: &str| {
                let path = self.path(&format!("{number}.{part}"));
                let bytes = fs::read(&path).unwrap_or_default();
                let _ = fs::remove_file(path);
                bytes
            };
            let numbers: Vec<u32> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
            let [exit, status, connects] = numbers[..] else { panic!("three numbers: {line}") };
            let head = String::from_utf8_lossy(&take("head")).to_ascii_lowercase();
            Got { exit, status, connects, head, body: take("body") }
        };
        lines.lines().enumerate().map(got).collect()
    }

    #[track_caller]
    fn git(&self, directory: &Path, arguments: &[&str]) -> String {
        git::run(self.dir.path(), directory, arguments)
    }

    /// Makes a repository with a commit of a file of so many bytes that cannot be compressed, and gives a clone of it.
    fn repository(&self, large: usize) -> PathBuf {
        let bare = self.path("root/repositories/project.git");
        self.git(self.dir.path(), &["init", "-q", "--bare", bare.to_str().expect("a plain path")]);
        for (name, value) in [("http.receivepack", "true"), ("receive.autogc", "false"), ("core.compression", "0")] {
            self.git(&bare, &["config", name, value]);
        }
        let clone = self.path("clone");
        self.git(self.dir.path(), &["clone", "-q", bare.to_str().expect("a plain path"), "clone"]);
        self.git(&clone, &["config", "core.compression", "0"]);
        fs::write(clone.join("readme"), "a line\n").expect("a file");
        fs::write(clone.join("large"), noise(large)).expect("a file");
        self.git(&clone, &["add", "."]);
        self.git(&clone, &["commit", "-q", "-m", "all"]);
        self.git(&clone, &["push", "-q", "origin", "main"]);
        clone
    }

    /// Has curl ask for a large page, and kills the program that sends it when part of it has come; nothing more is read
    /// before. Then the next page.
    #[track_caller]
    fn kill_while_it_sends(&self, program: &str, path: &str, (next, text): (&str, &str)) {
        let url = |path: &str| format!("http://{}{path}", self.web.address());
        let mut command = self.curl.command();
        command.args(["-s", "-S", "--max-time", "60", "-w", "%{stderr}%{exitcode} %{http_code}\n", "-o", "-"]);
        command.arg(url(path)).arg("--next").args(["-s", "--max-time", "60"]);
        command.args(["-w", "%{stderr}%{exitcode} %{http_code}\n", "-o"]).arg(self.path("next.body")).arg(url(next));
        let mut curl = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("curl starts");
        let mut body = curl.stdout.take().expect("a pipe");
        let mut begin = [0; 1000];
        body.read_exact(&mut begin).expect("the begin of the page");
        let running = proc::descendants_named(self.launcher.pid(), &program[..program.len().min(15)]);
        assert_eq!(running.len(), 1, "{program} has ended already, or runs twice");
        let program = Stray::adopt(running[0]);
        program.signal(Signal::KILL);
        program.wait_gone();
        let mut rest = Vec::new();
        body.read_to_end(&mut rest).expect("what had come");
        let mut lines = String::new();
        curl.stderr.take().expect("a pipe").read_to_string(&mut lines).expect("text");
        curl.wait().expect("curl ends");
        let codes: Vec<&str> = lines.lines().filter(|line| !line.starts_with("curl: ")).collect();
        let told = ["18 200", "56 200", "92 200"].contains(&codes[0]);
        assert!(told, "{} bytes of {path}, taken for whole: {lines}", begin.len() + rest.len());
        assert_eq!(codes[1], "0 200", "{lines}");
        assert_eq!(fs::read_to_string(self.path("next.body")).expect("the next page"), text);
    }
}

/// What curl got, and its exit status.
#[derive(Debug)]
struct Got {
    exit: u32,
    status: u32,
    /// Connections that were made for it.
    connects: u32,
    /// In small letters.
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn length(&self) -> Option<usize> {
        let value = self.head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        Some(value.trim().parse().expect("a length"))
    }

    /// Asserts that it came whole, on the connection of the one before it.
    #[track_caller]
    fn is(&self, status: u32, body: &[u8]) {
        assert_eq!((self.exit, self.status, self.connects), (0, status, 0), "{self:?}");
        assert!(self.body == body, "{} bytes instead of {}: {}", self.body.len(), body.len(), self.head);
    }
}

/// HEAD has no body and the length of GET, or none, and the next response on the connection is right.
fn head(site: &Site, application: &Application) {
    if application.has_repositories {
        site.repository(1000);
    }
    for &(page, is_length_known) in application.pages {
        let got = site.curl(&[(page, &[]), (page, &["--head"]), (page, &[])]);
        let [get, head, again] = &got[..] else { panic!("three responses") };
        assert!(get.exit == 0 && get.status == 200 && !get.body.is_empty(), "{page}: {get:?}");
        assert_eq!((head.exit, head.status, head.connects), (0, 200, 0), "{page}: {head:?}");
        let length = head.length();
        assert!(length.is_none() || length == Some(get.body.len()), "{page}: {head:?} for {} bytes", get.body.len());
        assert!(length.is_some() || !(is_length_known && site.server.passes_lengths), "{page}: {head:?}");
        again.is(200, &get.body);
    }
}

/// A conditional request has the response 304 without a body, and the next response on the connection is right.
/// git's http-backend and cgit take no notice of the condition; a program of our own stands in for them.
fn conditional(site: &Site, application: &Application) {
    let pages = if application.has_repositories { &["/cgi-bin/tag.sh"][..] } else { &["/page?tag", "/kept?tag"] };
    for page in pages {
        let tag: &[&str] = &["-H", "If-None-Match: \"1\""];
        let got =
            site.curl(&[(page, &[]), (page, tag), (page, &["-H", "If-None-Match: \"2\""]), (page, tag), (page, &[])]);
        assert!(got[0].exit == 0 && got[0].body == b"tagged\n", "{page}: {:?}", got[0]);
        for number in [1, 3] {
            let unchanged = &got[number];
            unchanged.is(304, b"");
            assert!(unchanged.head.contains("etag: \"1\""), "{page}: {unchanged:?}");
            assert!(matches!(unchanged.length(), None | Some(7)), "{page}: {unchanged:?}");
        }
        for number in [2, 4] {
            got[number].is(200, b"tagged\n");
        }
    }
    if application.has_repositories {
        site.repository(1000);
        let (page, _) = application.pages[0];
        let since: &[&str] = &["-H", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", "-H", "If-None-Match: *"];
        let got = site.curl(&[(page, &[]), (page, since), (page, &[])]);
        for again in &got[1..] {
            again.is(200, &got[0].body);
        }
    }
}

/// A POST in chunks.
fn chunked(site: &Site, application: &Application) {
    let (file, body) = (site.path("upload"), pattern(65_536));
    fs::write(&file, &body).expect("a file");
    let file = format!("@{}", file.display());
    let post: &[&str] = &["-H", "Transfer-Encoding: chunked", "-H", "Expect:", "--data-binary", &file];
    if !application.has_repositories {
        for page in ["/page", "/kept"] {
            let got = site.curl(&[(page, &[]), (page, post), (page, &[]), (page, &[])]);
            assert!(got[0].exit == 0 && got[0].status == 200, "{:?}", got[0]);
            if application.name == PHP.name && !site.server.counts_chunks {
                // Apache passes a body in chunks on without its length. PHP takes that for no body and closes the
                // connection, a kept one when it finds the body in place of the next request. While Apache still sends
                // on it, the body or that next request, the response is a 503, or is cut.
                let is = |number: usize, body: &[u8], may_fail: bool| {
                    let Got { exit, status, body: came, .. } = &got[number];
                    let is_right = (*exit, *status) == (0, 200) && came == body;
                    let is_failure = *status == 503 || *exit != 0;
                    assert!(is_right || may_fail && is_failure, "{page}, {number}: {:?}", got[number]);
                };
                is(1, digest(0).as_bytes(), true);
                is(2, b"Hello, World!\n", page == "/kept");
                is(3, b"Hello, World!\n", false);
            } else {
                got[1].is(200, digest(body.len()).as_bytes());
                got[2].is(200, b"Hello, World!\n");
            }
        }
        return;
    }
    let clone = site.repository(1000);
    if application.name == CGIT.name {
        // It takes no body, and no notice of one.
        let (page, _) = application.pages[0];
        let got = site.curl(&[(page, &[]), (page, post), (page, &[])]);
        for again in &got[1..] {
            again.is(200, b"a line\n");
        }
        return;
    }
    let head = site.git(&clone, &["rev-parse", "main"]);
    let want = format!("0032want {}\n00000009done\n", head.trim_end());
    fs::write(site.path("upload"), want).expect("a file");
    let kind = ["-H", "Content-Type: application/x-git-upload-pack-request"];
    let page = "/git/project.git/git-upload-pack";
    let readme = "/git/project.git/HEAD";
    let got = site.curl(&[(readme, &[]), (page, &[post, &kind].concat()), (readme, &[])]);
    let pack = &got[1].body;
    assert!(got[1].exit == 0 && got[1].status == 200 && pack.starts_with(b"0008NAK\nPACK"), "{:?}", got[1]);
    got[2].is(200, &got[0].body);

    // A push that is too long for one buffer of git's.
    let url = format!("http://{}/git/project.git", site.web.address());
    fs::write(clone.join("more"), noise(2_000_000)).expect("a file");
    site.git(&clone, &["add", "."]);
    site.git(&clone, &["commit", "-q", "-m", "more"]);
    let printed = site.git(&clone, &["push", &url, "main"]);
    assert!(printed.contains("Transfer-Encoding: chunked"), "{printed}");
    let bare = site.path("root/repositories/project.git");
    assert_eq!(site.git(&bare, &["rev-parse", "main"]), site.git(&clone, &["rev-parse", "main"]));
    site.git(&bare, &["fsck", "--strict"]);
}

/// A program is killed when part of its response was sent. The client is told, and its next response is right.
fn killed(site: &Site, application: &Application) {
    let is_told = |page: &str, arguments: &[&str], next: &str, want: bool| {
        let got = site.curl(&[(page, arguments), (next, &[])]);
        let told = [18, 52, 56, 92].contains(&got[0].exit) || got[0].status == 502;
        assert_eq!(told, want, "{page}: {} bytes, exit {}\n{}", got[0].body.len(), got[0].exit, got[0].head);
        let is_part = got[0].status != 200 || got[0].body.len() <= 20_000;
        assert!(is_part, "{page}: {} bytes", got[0].body.len());
        assert_eq!((got[1].exit, got[1].status), (0, 200), "{:?}", got[1]);
        got
    };
    if !application.has_repositories {
        for (path, is_kept) in [("/page", false), ("/kept", true)] {
            // A process that is killed sends nothing: the server has to notice the end of the connection. That is a reset
            // as long as some of the request was not read, which is so after a GET, and always with PHP. When all was
            // read it is a close.
            let post: &[&str] = &["--data", "x"];
            for (arguments, closes) in [(&[][..], false), (post, application.reads_to_end)] {
                let passes = closes && site.server.takes_close_for_end && !is_kept;
                for (query, told) in [("killed", !passes), ("killed&length", true)] {
                    // Five seconds each, and all alike.
                    if !site.server.takes_close_for_end && is_kept == query.ends_with("length") {
                        continue;
                    }
                    let got = is_told(&format!("{path}?{query}"), arguments, path, told);
                    assert_eq!(got[1].body, b"Hello, World!\n");
                }
            }
        }
        return;
    }
    for query in ["", "?length"] {
        let got = is_told(&format!("/cgi-bin/cut.sh{query}"), &[], "/cgi-bin/tag.sh", true);
        assert_eq!(got[1].body, b"tagged\n");
    }
    let clone = site.repository(40_000_000);
    if application.name == CGIT.name {
        let next = ("/cgit/project/plain/readme", "a line\n");
        site.kill_while_it_sends("cgit.cgi", "/cgit/project/plain/large", next);
        site.kill_while_it_sends("cgit.cgi", "/cgit/project/snapshot/project-main.tar", next);
        return;
    }
    let blob = site.git(&clone, &["rev-parse", "main:large"]);
    let (directory, file) = blob.trim_end().split_at(2);
    let object = format!("/git/project.git/objects/{directory}/{file}");
    site.kill_while_it_sends("git-http-backend", &object, ("/git/project.git/HEAD", "ref: refs/heads/main\n"));
}

/// The application that is asked for, at this server, or why there is none.
fn site(server: &'static Server, application: &Application) -> Result<Site, String> {
    let missing = |name: &str| format!("{name} is not installed");
    let web = Program::installed(server.program).ok_or_else(|| missing(server.program))?;
    let program = (application.find)().ok_or_else(|| missing(application.name))?;
    let curl = Program::installed("curl").ok_or_else(|| missing("curl"))?;
    Ok(Site::start(server, &web, application, &program, curl))
}

macro_rules! tests {
    ($server:ident: $($module:ident $application:ident)*) => {
        $(mod $module {
            tests! { @each $server, $application: head conditional chunked killed }
        })*
    };
    (@each $server:ident, $application:ident: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            use crate::servers::programs as here;
            fcgi_tests::once_is_enough!();
            match here::site(&here::$server, &here::$application) {
                Ok(site) => here::$name(&site, &here::$application),
                Err(missing) => fcgi_tests::skip!("{missing}"),
            }
        })*
    };
}

mod nginx {
    tests! { NGINX: git GIT cgit CGIT php PHP flup FLUP }
}
mod apache {
    tests! { APACHE: git GIT cgit CGIT php PHP flup FLUP }
}
