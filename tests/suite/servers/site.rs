//! A web server with an application behind it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use fcgi_tests::{
    Address, Answer, Connection, HttpClient, Process, Program, Relay, Signal, TempDir, WebServer, copy_program,
    eventually, free_port, is_root, proc, repository, temp_dir,
};

use super::table::{self, Case};
use crate::app::{App, wait_until_it_listens};

/// A web server of the matrix: how it is started, and where it differs from the others.
pub(crate) struct Server {
    /// What is executed.
    pub(crate) program: &'static str,
    /// Where it is, if it is there.
    pub(crate) find: fn(&str) -> Option<Program>,
    /// What its clients see.
    pub(crate) clients_see: Seen,
    /// Its configuration.
    pub(crate) configuration: Configuration,
    /// The command line, from the private folder and the finished configuration.
    pub(crate) command: fn(&Program, &Path, &Path) -> Command,
    /// What is put into the document root first, for an application at that address.
    pub(crate) prepare: fn(&Path, &Address),
    /// Whether no signal is lost on it any more, if that is later than it accepts connections.
    pub(crate) ready: fn(&WebServer) -> bool,
    /// How it is told to start afresh without refusing anybody.
    pub(crate) restart: Restart,
    /// Whether it answers all requests meanwhile, and none with an error of its own.
    pub(crate) restarts_cleanly: bool,
    /// Whether a GET that meets the end of a kept connection is sent again.
    pub(crate) sends_again: bool,
    /// Whose its processes are when root starts it, if not root's.
    pub(crate) user: Option<&'static str>,
    /// The path under which the application is.
    pub(crate) prefix: &'static str,
    /// Whether it starts the application itself.
    pub(crate) starts_application: bool,
    /// The length of a header's value that reaches the application. A megabyte does not.
    pub(crate) largest_header: usize,
    /// The length of an upload in chunks that reaches the application; without one, chunks are refused with 411.
    pub(crate) largest_chunked: Option<usize>,
    /// Whether an upload in chunks reaches the application without its body.
    pub(crate) loses_chunks: bool,
    /// The only status that it gives to redirects, whatever the application says.
    pub(crate) redirect: Option<u16>,
    /// How many clients at once it lets in.
    pub(crate) clients: usize,
    /// Whether a kept connection serves one client after the other; if not, each client has its own.
    pub(crate) clients_share_connections: bool,
    /// Whether an upload reaches the application while it comes.
    pub(crate) streams_uploads: bool,
    /// Whether it stops taking an answer when its client is gone.
    pub(crate) reports_gone_clients: bool,
    /// Whether it lives on when the application answers before it has read an upload.
    pub(crate) survives_early_answers: bool,
    /// Whether it adds a length to the response to a HEAD request.
    pub(crate) invents_lengths: bool,
    /// Whether what the application writes to FCGI_STDERR is in the error log.
    pub(crate) logs_stderr: bool,
    /// The status for those whom an authorizer denies: 403 is the application's, any other the server's own.
    pub(crate) denial: u16,
    /// The variables that the server gives to an application that it starts.
    pub(crate) worker_environment: &'static [&'static str],
    /// The descriptors from 0 on that it gives to it.
    pub(crate) worker_descriptors: &'static [&'static str],
}

/// What the clients of a server see, case by case.
pub(crate) enum Seen {
    /// What is in this column of the table of examples/servers/README.md.
    Column(&'static str),
    /// What is right; there is no column.
    AllRight,
    /// The same, but for these cases, in which it is one of these.
    RightBut(&'static [(Case, &'static [&'static str])]),
}

/// A configuration whose placeholders are to be filled in.
pub(crate) enum Configuration {
    /// A file in examples/servers.
    File(&'static str),
    /// Such a file, changed.
    Changed(&'static str, fn(&str) -> String),
    /// The text of one.
    Text(&'static str),
}

/// How a server is restarted without refusing anybody, and how one sees that it was.
pub(crate) enum Restart {
    /// By a signal, upon which it has new worker processes.
    Workers(Signal),
    /// By a signal, upon which its error log gets one more line with these words.
    Logged(Signal, &'static str),
    /// By a command that returns when it is done.
    Command(fn(&WebServer)),
    /// It cannot be.
    None,
}

/// What most servers do.
pub(crate) const USUAL: Server = Server {
    program: "",
    find: Program::installed,
    clients_see: Seen::AllRight,
    configuration: Configuration::Text(""),
    command: |_, _, _| unreachable!("each server has its command line"),
    prepare: |_, _| (),
    ready: |_| true,
    restart: Restart::Workers(Signal::HUP),
    restarts_cleanly: true,
    sends_again: true,
    user: None,
    prefix: "",
    starts_application: false,
    largest_header: 8000,
    largest_chunked: Some(64 << 10),
    loses_chunks: false,
    redirect: None,
    clients: 50,
    clients_share_connections: true,
    streams_uploads: true,
    reports_gone_clients: true,
    survives_early_answers: true,
    invents_lengths: false,
    logs_stderr: true,
    denial: 403,
    worker_environment: &[],
    worker_descriptors: &[],
};

/// A server and a transport: where a scenario takes place.
pub(crate) struct Place {
    pub(crate) server: &'static Server,
    pub(crate) transport: &'static str,
    pub(crate) program: Program,
}

/// The [`Place`] of a test, which is skipped if the server is not installed, and in a second run.
macro_rules! place {
    ($server:expr, $transport:expr) => {{
        fcgi_tests::once_is_enough!();
        let server: &'static crate::servers::site::Server = &$server;
        let Some(program) = (server.find)(server.program) else {
            fcgi_tests::skip!("{} is not installed", server.program)
        };
        crate::servers::site::Place { server, transport: $transport, program }
    }};
}
pub(crate) use place;

/// A running server, with the application behind the host in question.
pub(crate) struct Site {
    pub(crate) web: WebServer,
    server: &'static Server,
    host: String,
    relay: Option<Relay>,
    _app: Option<Behind>,
    dir: TempDir,
}

/// What answers.
enum Behind {
    App(App),
    Launcher(Process),
}

impl Place {
    /// The server in front of the application.
    pub(crate) fn site(&self) -> Site {
        self.site_with(&[])
    }

    /// The same with these variables in the environment of the application, unless the server starts it.
    pub(crate) fn site_with(&self, variables: &[(&str, &str)]) -> Site {
        let dir = self.dir();
        let app = || Behind::App(self.app_with(&self.listening_address(&dir), variables));
        let app = (!self.server.starts_application).then(app);
        let address = match &app {
            Some(Behind::App(app)) => app.address.clone(),
            _ => self.future_address(&dir),
        };
        self.serve(dir, &address, None, app)
    }

    /// The same with somebody in between who counts connections.
    pub(crate) fn counted_site(&self) -> Site {
        let dir = self.dir();
        let app = self.app(&Address::Unix(dir.path().join("behind")));
        let front = self.future_address(&dir);
        let relay = Relay::start(&front, app.address.clone());
        if let Address::Unix(path) = &front {
            open_to_all(path);
        }
        self.serve(dir, &front, Some(relay), Some(Behind::App(app)))
    }

    /// The server in front of a launcher with two workers.
    pub(crate) fn supervised_site(&self) -> Site {
        let dir = self.dir();
        let address = self.future_address(&dir);
        let mut command = self.multiplexing(Program::ours("fcgi-spawn").command());
        match &address {
            Address::Unix(path) => command.arg("-s").arg(path),
            Address::Tcp(tcp) => command.args(["-a", &tcp.ip().to_string(), "-p", &tcp.port().to_string()]),
        };
        command.args(crate::launcher::SHORT_RELOAD).args(["-F", "2", "--restart-delay", "1s", "-n", "--"]);
        command.arg(Program::ours("test-app").path());
        let launcher = Process::start(&mut command);
        wait_until_it_listens(&address);
        if let Address::Unix(path) = &address {
            open_to_all(path);
        }
        self.serve(dir, &address, None, Some(Behind::Launcher(launcher)))
    }

    /// A folder that the server's user may enter.
    fn dir(&self) -> TempDir {
        let dir = temp_dir();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).expect("our own folder");
        fs::create_dir(dir.path().join("root")).expect("a document root");
        dir
    }

    /// The command in an environment that has the application take many requests on a connection, if need be.
    fn multiplexing(&self, mut command: Command) -> Command {
        if self.transport.starts_with("multiplexed") {
            command.env("FCGI_MULTIPLEX", "1");
        }
        command
    }

    /// Compares what a client saw with what it should see.
    #[track_caller]
    pub(crate) fn expect(&self, case: Case, seen: &str) {
        let others = match self.server.clients_see {
            Seen::Column(column) => return table::expect(column, case, seen),
            Seen::AllRight => &[][..],
            Seen::RightBut(others) => others,
        };
        let other = others.iter().find(|(other, _)| *other == case);
        let expected = other.map_or(&[table::RIGHT][..], |(_, expected)| expected);
        assert!(expected.contains(&seen), "{}: '{seen}', not one of {expected:?}", case.name());
    }

    fn is_unix(&self) -> bool {
        self.transport.contains("unix")
    }

    /// Where an application can listen at once.
    fn listening_address(&self, dir: &TempDir) -> Address {
        if self.is_unix() { Address::Unix(dir.path().join("app.sock")) } else { Address::loopback(0) }
    }

    /// Where somebody will listen.
    fn future_address(&self, dir: &TempDir) -> Address {
        if self.is_unix() { Address::Unix(dir.path().join("app.sock")) } else { Address::loopback(free_port()) }
    }

    fn app(&self, address: &Address) -> App {
        self.app_with(address, &[])
    }

    fn app_with(&self, address: &Address, variables: &[(&str, &str)]) -> App {
        let mut command = self.multiplexing(Program::ours("test-app").command());
        command.envs(variables.iter().copied());
        let app = App::on_descriptor_0_as(command, address);
        if let Address::Unix(path) = address {
            open_to_all(path);
        }
        app
    }

    fn serve(&self, dir: TempDir, address: &Address, relay: Option<Relay>, app: Option<Behind>) -> Site {
        let (socket, port) = match address {
            Address::Unix(path) => (path.clone(), free_port()),
            Address::Tcp(tcp) => (dir.path().join("app.sock"), tcp.port()),
        };
        (self.server.prepare)(&dir.path().join("root"), address);
        let port = port.to_string();
        let (socket, root, program) = (text(&socket), dir.path().join("root"), self.copy_of_app(&dir));
        let (root, program) = (text(&root), text(&program));
        let fill = [("SOCKET", &socket[..]), ("APPPORT", &port), ("ROOT", &root), ("APP", &program)];
        let server = self.server;
        let command = |private: &Path, file: &Path| {
            if let Some(user) = server.user {
                give_to(user, private);
            }
            (server.command)(&self.program, private, file)
        };
        let web = match server.configuration {
            Configuration::File(name) => WebServer::start(name, &fill, command),
            Configuration::Changed(name, change) => {
                let text =
                    fs::read_to_string(repository().join("examples/servers").join(name)).expect("a configuration");
                WebServer::start_with_text(&change(&text), &fill, command)
            }
            Configuration::Text(text) => WebServer::start_with_text(text, &fill, command),
        };
        eventually("a web server that is ready", || (server.ready)(&web).then_some(()));
        let host = format!("{}.test", self.transport.replace('_', "-"));
        Site { web, server, host, relay, _app: app, dir }
    }

    /// The application where a server that starts it finds it, whoever its user is.
    fn copy_of_app(&self, dir: &TempDir) -> PathBuf {
        let copy = dir.path().join("test-app");
        if self.server.starts_application {
            copy_program(Program::ours("test-app").path(), &copy);
        }
        copy
    }
}

impl Site {
    /// The name by which clients ask for the application.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// A client.
    pub(crate) fn client(&self) -> HttpClient {
        self.web.client(&self.host)
    }

    /// A page's path at this server.
    pub(crate) fn path(&self, page: &str) -> String {
        format!("{}{page}", self.server.prefix)
    }

    #[track_caller]
    pub(crate) fn get(&self, page: &str) -> Answer {
        self.client().get(&self.path(page)).unwrap_or_else(|error| panic!("GET {page}: {error}"))
    }

    #[track_caller]
    pub(crate) fn post(&self, page: &str, body: &[u8]) -> Answer {
        self.client().post(&self.path(page), body).unwrap_or_else(|error| panic!("POST {page}: {error}"))
    }

    #[track_caller]
    pub(crate) fn expect_hello(&self) {
        let answer = self.get("/hello");
        assert_eq!((answer.status(), &answer.text()[..]), (200, "Hello, World!"));
    }

    /// A connection for a client that is in charge of every byte.
    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        Address::Tcp(self.web.address()).connect().expect("the web server accepts")
    }

    /// The head of a request with all that HTTP/1.1 asks for, and these header lines.
    pub(crate) fn head_of(&self, method: &str, page: &str, lines: &str) -> String {
        format!("{method} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{lines}\r\n", self.path(page), self.host)
    }

    /// How many connections the server has made to the application.
    pub(crate) fn connections(&self) -> usize {
        self.relay.as_ref().expect("a counted site").connections()
    }

    /// The processes of the workers.
    pub(crate) fn workers(&self) -> Vec<u32> {
        match &self._app {
            Some(Behind::Launcher(launcher)) => proc::descendants_named(launcher.pid(), "test-app"),
            Some(Behind::App(app)) => vec![app.process.pid()],
            None => proc::descendants_named(self.web.pid(), "test-app"),
        }
    }

    /// Puts a file into the server's document root.
    pub(crate) fn put(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join("root").join(name), text).expect("a file in the document root");
    }

    /// An empty file in which the application notes what happens.
    pub(crate) fn journal(&self) -> Journal {
        let path = self.dir.path().join("journal");
        fs::write(&path, "").expect("the journal can be made");
        open_to_all(&path);
        Journal(path)
    }

    /// A path at which nothing is, for the application to wait for.
    pub(crate) fn signpost(&self) -> PathBuf {
        self.dir.path().join("signpost")
    }

    /// Tells the server to restart in the way that refuses nobody.
    #[track_caller]
    pub(crate) fn restart(&self) -> Restarting<'_> {
        let (site, before) = (self, self.web_workers());
        let starts = self.starts();
        match self.server.restart {
            Restart::Workers(signal) | Restart::Logged(signal, _) => self.web.signal(signal),
            Restart::Command(command) => command(&self.web),
            Restart::None => panic!("it is not known how to restart this server"),
        }
        Restarting { site, workers: before, starts }
    }

    /// How often the server has logged that it started.
    fn starts(&self) -> usize {
        let Restart::Logged(_, words) = self.server.restart else { return 0 };
        self.web.error_log().lines().filter(|line| line.contains(words)).count()
    }

    fn web_workers(&self) -> Vec<u32> {
        let mut found = proc::children(self.web.pid());
        found.retain(|&pid| proc::name(pid).is_some_and(|name| name != "test-app"));
        found
    }

    /// Ends the server and then the application, so that nothing can happen any more. What they left is in the folder.
    pub(crate) fn end(self) -> TempDir {
        self.dir
    }
}

/// A server that was told to restart.
pub(crate) struct Restarting<'s> {
    site: &'s Site,
    workers: Vec<u32>,
    starts: usize,
}

impl Restarting<'_> {
    /// Waits until it has happened. Old worker processes stay until their requests are answered.
    #[track_caller]
    pub(crate) fn wait(self) {
        eventually("a restart of the web server", || {
            let happened = match self.site.server.restart {
                Restart::Workers(_) => self.site.web_workers().iter().any(|pid| !self.workers.contains(pid)),
                Restart::Logged(..) => self.site.starts() > self.starts,
                Restart::Command(_) | Restart::None => true,
            };
            happened.then_some(())
        });
    }
}

/// What the application noted.
pub(crate) struct Journal(PathBuf);

impl Journal {
    /// Where it is, for `journal=`.
    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.0).expect("the journal can be read");
        text.lines().map(str::to_owned).collect()
    }

    /// Waits for a line that begins so, and gives it.
    #[track_caller]
    pub(crate) fn wait_for(&self, begin: &str) -> String {
        let found = || self.lines().into_iter().find(|line| line.starts_with(begin));
        eventually(&format!("'{begin}' in the application's journal"), found)
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("a plain path").to_owned()
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o777)).expect("our own file");
}

/// Makes `folder` the user's if we are root, else leaves it ours, as the server will be.
pub(super) fn give_to(user: &str, folder: &Path) {
    if is_root() {
        let (uid, gid) = ids(user).unwrap_or_else(|error| panic!("{user}: {error}"));
        chown(folder, Some(uid), Some(gid)).expect("root may give a folder away");
    }
}

fn ids(user: &str) -> io::Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        (name == user).then_some((uid, gid))
    });
    found.ok_or_else(|| io::Error::other("no such user"))
}
