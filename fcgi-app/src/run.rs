use std::ffi::OsString;
use std::path::Path;
use std::{env, fmt, io};

use crate::{Address, InvalidAddress, Listener, Roles, Server};

/// What `main` returns: an error prints itself as one line and ends the program with status 1.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why a program cannot serve requests.
#[non_exhaustive]
pub enum Error {
    /// It was started in none of the ways that [`run`] knows.
    NotStarted,
    /// The environment variable `FCGI_BIND` holds no address.
    InvalidBind(OsString, InvalidAddress),
    /// The address in `FCGI_BIND` cannot be listened on.
    Bind(Address, io::Error),
    /// The listening socket on descriptor 0 cannot be used.
    Stdin(io::Error),
    /// The socket that systemd passed cannot be used.
    Systemd(io::Error),
    /// The server cannot start.
    Serve(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str(
                "this is a FastCGI application, and nothing to listen on was given. Start it\n  \
                 - from a web server or fcgi-spawn, with a listening socket on descriptor 0:\n      \
                 fcgi-spawn -n -s /run/app.sock -- /path/to/this-program\n  \
                 - by itself, with an address (HOST:PORT, [V6]:PORT or unix:/path) in FCGI_BIND:\n      \
                 FCGI_BIND=127.0.0.1:9000 /path/to/this-program",
            ),
            Self::InvalidBind(text, error) => {
                write!(f, "cannot listen on FCGI_BIND '{}': {error}", Path::new(text).display())
            }
            Self::Bind(address, error) => write!(f, "cannot listen on FCGI_BIND '{address}': {error}"),
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

/// Serves requests with the handlers of `roles`, often just a [`Responder`](crate::Responder), in whatever way the program was started, until SIGTERM.
///
/// It listens on descriptor 0 if that is a listening socket (as web servers, spawn-fcgi and fcgi-spawn leave it
/// there), else on the socket that systemd passes (`LISTEN_FDS`, see [`Listener::from_systemd`]), else on the address in
/// the environment variable `FCGI_BIND`: `HOST:PORT`, `[V6]:PORT` or `unix:/path`. With none of them it fails with a
/// short help.
///
/// SIGTERM or SIGUSR1 ends it cleanly, see [`Server::serve`]. If the program has installed no logger, log lines of
/// level `warn` and above go to stderr; the variable `RUST_LOG` changes the level, and [`ErrorLog`](crate::ErrorLog) is how
/// a program has those of a request in the error log of its web server.
///
/// # Errors
/// [`Error`], which a `main` returns.
pub fn run(roles: impl Into<Roles>) -> Result {
    // Fails when the program has a logger: then that one is used.
    let _ = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).try_init();
    let server = Server::new(find_listener()?).map_err(Error::Serve)?;
    server.stop_on_signals(true).serve(roles).map_err(Error::Serve)
}

fn find_listener() -> Result<Listener> {
    if let Some(listener) = Listener::from_stdin().map_err(Error::Stdin)? {
        return Ok(listener);
    }
    if let Some(listener) = Listener::from_systemd().map_err(Error::Systemd)? {
        return Ok(listener);
    }
    let text = env::var_os("FCGI_BIND").ok_or(Error::NotStarted)?;
    match Address::parse(&text) {
        Ok(address) => Listener::bind(&address).map_err(|error| Error::Bind(address, error)),
        Err(error) => Err(Error::InvalidBind(text, error)),
    }
}
