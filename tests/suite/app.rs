//! A FastCGI application under test, started as a web server would start it.

use std::process::{Command, Stdio};

use fcgi_tests::{Address, Connection, Process, Program, eventually, wire};

/// A running application and where it listens.
pub(crate) struct App {
    pub(crate) process: Process,
    pub(crate) address: Address,
}

impl App {
    /// Starts `name` with a listening socket as descriptor 0, as lighttpd, mod_fastcgi and launchers do.
    #[track_caller]
    pub(crate) fn on_descriptor_0(name: &str, address: &Address) -> Self {
        Self::on_descriptor_0_as(Program::ours(name).command(), address)
    }

    /// The same for a command.
    #[track_caller]
    pub(crate) fn on_descriptor_0_as(mut command: Command, address: &Address) -> Self {
        let (listener, address) = address.listen().expect("the test cannot listen");
        let process = Process::start(command.stdin(Stdio::from(listener)));
        App { process, address }
    }

    /// Starts `echo` with many requests at once on a connection.
    #[track_caller]
    pub(crate) fn multiplexing(address: &Address) -> Self {
        let mut command = Program::ours("echo").command();
        command.env("FCGI_MULTIPLEX", "1");
        Self::on_descriptor_0_as(command, address)
    }

    /// Starts `name` so that it binds a socket of its own, and waits for that.
    #[track_caller]
    pub(crate) fn with_bind(name: &str, address: Address) -> Self {
        let process = Process::start(Program::ours(name).command().env("FCGI_BIND", address.to_string()));
        wait_until_it_listens(&address);
        App { process, address }
    }

    /// A new connection.
    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        connect(&self.address)
    }

    /// The response to one request on a connection of its own, which has to be closed afterwards.
    #[track_caller]
    pub(crate) fn ask(&self, path: &str) -> wire::Response {
        ask(&self.address, path)
    }
}

#[track_caller]
pub(crate) fn connect(address: &Address) -> Connection {
    address.connect().unwrap_or_else(|error| panic!("{address} does not accept: {error}"))
}

#[track_caller]
pub(crate) fn ask(address: &Address, path: &str) -> wire::Response {
    let mut connection = connect(address);
    connection.send(&wire::get(1, 0, path));
    let response = connection.response(1);
    connection.expect_closed();
    response
}

/// Asserts that `/hello` is answered with its 13 bytes.
#[track_caller]
pub(crate) fn expect_hello(address: &Address) {
    assert_eq!(ask(address, "/hello").text(), "Hello, World!");
}

#[track_caller]
pub(crate) fn wait_until_it_listens(address: &Address) {
    eventually(&format!("somebody who listens on {address}"), || address.connect().ok());
}

/// Runs a command that is to fail at once: its exit status and the one line it writes to stderr.
#[track_caller]
pub(crate) fn fails_with_one_line(command: &mut Command) -> (i32, String) {
    let mut process = Process::start(command);
    let status = process.wait_exit();
    let (stdout, stderr) = (process.stdout().to_end(), process.stderr().to_end());
    assert_eq!(stderr.lines().count(), 1, "not one line on stderr for {command:?}:\n{stderr}");
    assert_eq!(stdout, "", "output of {command:?}");
    (status.code().unwrap_or_else(|| panic!("{command:?} ended by a signal: {status}")), stderr)
}

/// What a browser shows of HTML text: `<` for `&lt;`, `&#60;` and `&#x3c;`, however the application spells it.
pub(crate) fn unescape(html: &str) -> String {
    let mut parts = html.split('&');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(';').unwrap_or_else(|| panic!("a bare & in {html}"));
        let code = match name.strip_prefix('#') {
            Some(number) => match number.strip_prefix('x') {
                Some(number) => u32::from_str_radix(number, 16).ok(),
                None => number.parse().ok(),
            },
            None => {
                let known = [("lt", '<'), ("gt", '>'), ("amp", '&'), ("quot", '"'), ("apos", '\'')];
                known.into_iter().find(|(known, _)| *known == name).map(|(_, c)| u32::from(c))
            }
        };
        let c = code.and_then(char::from_u32).unwrap_or_else(|| panic!("what is &{name}; in {html}"));
        text.push(c);
        text.push_str(rest);
    }
    text
}
