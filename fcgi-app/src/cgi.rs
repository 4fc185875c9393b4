use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::{env, str};

use crate::app::App;
use crate::client::{Error, Request};
use crate::loopback::{self, Sink};
use crate::{Limits, Roles};

/// The one request of a program that was started as a CGI/1.1 program (RFC 3875).
///
/// Its params are the environment, byte for byte; its body is stdin, as far as `CONTENT_LENGTH` says and nothing without
/// it. The answer goes to stdout, what is for the web server's error log to stderr. For handlers there is one
/// difference: [`wait`](crate::Response::wait) and `is_wanted` notice neither a client that has gone nor a stop. Of the
/// [`Limits`] those that are times, and those of several requests, have no meaning here: the web server watches over its
/// CGI programs.
#[derive(Debug, Default)]
pub struct Cgi {
    limits: Limits,
}

impl Cgi {
    /// Whether the environment is that of a CGI program: `GATEWAY_INTERFACE` or `REQUEST_METHOD` is there.
    pub fn from_environment() -> Option<Self> {
        let is_there = |name| env::var_os(name).is_some();
        (is_there("GATEWAY_INTERFACE") || is_there("REQUEST_METHOD")).then(Self::default)
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves the request with the responder of `roles`, and gives the exit status that the program is to have: the
    /// appStatus of the answer, or 1 when that is over 255.
    ///
    /// # Errors
    /// When the answer cannot be written, and when there is no responder: CGI knows no other role.
    pub fn serve(self, roles: impl Into<Roles>) -> io::Result<u8> {
        self.answer(roles.into())
    }

    // A server does without the buffers of this on the stack of its main thread.
    #[inline(never)]
    fn answer(self, roles: Roles) -> io::Result<u8> {
        let content_length = env::var_os("CONTENT_LENGTH").and_then(|length| decimal(length.as_bytes()));
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut request = Request::empty().body_from(stdin.take(content_length.unwrap_or(0)));
        for (name, value) in env::vars_os() {
            request = request.param(name.as_bytes(), value.as_bytes());
        }
        let mut output = Output {
            stdout: File::from(io::stdout().as_fd().try_clone_to_owned()?),
            stderr: File::from(io::stderr().as_fd().try_clone_to_owned()?),
        };
        let app = App::new(roles, self.limits).with_stderr_as_error_log();
        match loopback::serve(&app, request.into_records(false, 32 << 10), &mut output) {
            Ok(end) => Ok(u8::try_from(end.app_status).unwrap_or(1)),
            Err(Error::Lost(error)) => Err(error),
            Err(error) => Err(io::Error::new(io::ErrorKind::Unsupported, error)),
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits?.parse().ok()
}

/// The descriptors of a CGI program.
struct Output {
    stdout: File,
    stderr: File,
}

impl Sink for Output {
    fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.write_all(bytes)
    }

    fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stderr.write_all(bytes)
    }
}
