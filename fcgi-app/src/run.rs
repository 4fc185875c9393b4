use std::ffi::OsString;
use std::path::Path;
use std::{env, fmt, io, process};

use crate::{Address, Cgi, InvalidAddress, Listener, Roles, Server, environment};

/// What `main` returns: an error prints itself as one line and ends the program with status 1.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why a program cannot serve requests.
#[non_exhaustive]
pub enum Error {
    /// It was started in none of the ways that [`run`] knows.
    NotStarted,
    /// The environment variable `FCGI_BIND` holds no address.
    InvalidBind(OsString, InvalidAddress),
    /// The environment variable of this name has this value, which is invalid; the last field is the reason.
    InvalidVariable(&'static str, OsString, &'static str),
    /// This address cannot be listened on.
    Bind(Address, io::Error),
    /// The listening socket on descriptor 0 cannot be used.
    Stdin(io::Error),
    /// The socket that systemd passed cannot be used.
    Systemd(io::Error),
    /// The server cannot start, or the answer of a CGI program has nowhere to go.
    Serve(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str(
                "this is a FastCGI application, and nothing to listen on was given. Start it\n  \
                 - from a web server or fcgi-spawn, with a listening socket on descriptor 0:\n      \
                 fcgi-spawn -n -s /tmp/app.sock -M 666 -- /path/to/this-program\n  \
                 - by itself, with an address (HOST:PORT, [V6]:PORT, unix:/path or unix:@name) in FCGI_BIND:\n      \
                 FCGI_BIND=127.0.0.1:9000 /path/to/this-program\n  \
                 - as a CGI program, for one request:\n      \
                 REQUEST_METHOD=GET SCRIPT_NAME=/ /path/to/this-program",
            ),
            Self::InvalidBind(text, error) => {
                write!(f, "cannot listen on FCGI_BIND '{}': {error}", Path::new(text).display())
            }
            Self::InvalidVariable(name, text, why) => write!(f, "{name}='{}': {why}", Path::new(text).display()),
            Self::Bind(address, error) => write!(f, "cannot listen on '{address}': {error}"),
            Self::Stdin(error) => write!(f, "cannot use the listening socket on descriptor 0: {error}"),
            Self::Systemd(error) => write!(f, "cannot use the socket systemd passes: {error}"),
            Self::Serve(error) => write!(f, "cannot serve requests: {error}"),
        }
    }
}

/// The same as `Display`: it is what a `main` that returns the error prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// What a [`Server`] and a [`Cgi`] fail with.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Serve(error)
    }
}

/// How a program was started, and therefore what it serves.
///
/// [`run`] is made of it; a program that sets limits uses it directly:
///
/// ```no_run
/// use fcgi_app::{Limits, Server, Start};
/// # fn handler(_: &fcgi_app::Request, _: &mut fcgi_app::Body, _: &mut fcgi_app::Response) -> std::io::Result<()> { Ok(()) }
///
/// let limits = Limits { connections: 64, ..Limits::default() };
/// match Start::find(None)? {
///     Start::Listening(listener) => Server::new(listener)?.limits(limits).stop_on_signals(true).serve(handler)?,
///     Start::Cgi(request) => std::process::exit(request.limits(limits).serve(handler)?.into()),
/// }
/// # Ok::<(), fcgi_app::Error>(())
/// ```
#[derive(Debug)]
pub enum Start {
    /// With a listening socket, or an address to listen on.
    Listening(Listener),
    /// As a CGI program, for one request.
    Cgi(Cgi),
}

impl Start {
    /// Finds out how the program was started; these ways are looked for in this order:
    ///
    /// 1. descriptor 0 is a listening socket: [`Listener::from_stdin`];
    /// 2. systemd passes one: [`Listener::from_systemd`];
    /// 3. the program has an `address` of its own, from its configuration or command line;
    /// 4. the environment variable `FCGI_BIND` has one: `HOST:PORT`, `[V6]:PORT`, `unix:/path` or `unix:@name`;
    /// 5. the environment is that of a CGI program: [`Cgi::from_environment`].
    ///
    /// A unix socket of 3 or 4 has the mode of `FCGI_BIND_MODE`, in octal digits (default 660), and the group of
    /// `FCGI_BIND_GROUP`, a name of `/etc/group` or a number (default that of the process).
    ///
    /// # Errors
    /// [`Error::NotStarted`] when it is none of them; else why the first that it is cannot be used.
    pub fn find(address: Option<&Address>) -> Result<Self> {
        if let Some(listener) = Listener::from_stdin().map_err(Error::Stdin)? {
            return Ok(Self::Listening(listener));
        }
        if let Some(listener) = Listener::from_systemd().map_err(Error::Systemd)? {
            return Ok(Self::Listening(listener));
        }
        let variable = match address {
            None => env::var_os("FCGI_BIND"),
            Some(_) => None,
        };
        let bind = variable.map(|text| Address::parse(&text).map_err(|error| Error::InvalidBind(text, error)));
        if let Some(address) = bind.transpose()?.as_ref().or(address) {
            let (mode, group) = (environment::bind_mode()?, environment::bind_group()?);
            let bound = Listener::bind_with(address, mode, group);
            let listener = bound.map_err(|error| Error::Bind(address.clone(), error))?;
            return Ok(Self::Listening(listener));
        }
        Cgi::from_environment().map(Self::Cgi).ok_or(Error::NotStarted)
    }
}

/// Serves requests with the handlers of `roles`, often just a [`Responder`](crate::Responder), in whatever way the
/// program was started: over a listening socket until SIGTERM, or as a CGI program for one request.
///
/// [`Start::find`] lists the ways; started in none of them it fails with a short help. SIGTERM and SIGUSR1 end it
/// cleanly, see [`Server::serve`]. A CGI program whose appStatus is not 0 exits with it. Log lines go to stderr:
/// [`log_to_stderr`]. [`ErrorLog`](crate::ErrorLog) writes them into the web server's error log instead.
///
/// # Errors
/// [`Error`], which a `main` returns.
pub fn run(roles: impl Into<Roles>) -> Result {
    log_to_stderr();
    match Start::find(None)? {
        Start::Listening(listener) => Server::new(listener)?.stop_on_signals(true).serve(roles)?,
        Start::Cgi(request) => match request.serve(roles)? {
            0 => {}
            status => process::exit(status.into()),
        },
    }
    Ok(())
}

/// Installs a logger that writes lines of level `warn` and above to stderr, or of the levels in `RUST_LOG`. A logger that
/// is installed already stays.
pub fn log_to_stderr() {
    let _ = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).try_init();
}
