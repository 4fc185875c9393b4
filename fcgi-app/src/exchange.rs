//! A request and its answer, whatever connection they come over.

use std::any::Any;
use std::fmt::Display;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fcgi_proto::Limit;
use log::Level;

use crate::app::App;
use crate::roles::Handler;
use crate::source::Source;
use crate::wire::Output;
use crate::{Body, Request, Response};

/// That a handler failed, and how that is answered.
pub(crate) struct Failure {
    app_status: u32,
    status: u16,
    line: String,
}

/// Runs the handler of a request; the answer then lacks no more than its end.
pub(crate) fn run_handler(
    app: &App,
    handler: Handler<'_>,
    request: &Request<'_>,
    source: &mut dyn Source,
    response: &mut Response<'_>,
) -> Result<(), Failure> {
    let mut body = Body::new(source, *request, app.limits.body_len);
    let outcome = catch_unwind(AssertUnwindSafe(|| handler.run(request, &mut body, response)));
    let status = if body.is_too_large() { 413 } else { 500 };
    match outcome {
        Ok(Ok(())) => match response.misuse() {
            None => Ok(()),
            Some(misuse) => Err(Failure::new(request, 1, status, &misuse)),
        },
        Ok(Err(error)) => Err(Failure::new(request, 1, status, &error)),
        Err(payload) => {
            Err(Failure::new(request, 101, status, &format_args!("the handler panicked: {}", panic_message(&*payload))))
        }
    }
}

// What formats text is #[cold] and not inlined: on a thread's stack it would take room from all requests, and what a
// stack was once stays resident.
impl Failure {
    #[cold]
    #[inline(never)]
    fn new(request: &Request<'_>, app_status: u32, status: u16, why: &dyn Display) -> Self {
        let (method, path, why) = (request.method().escape_debug(), request.path(), why.to_string());
        Self { app_status, status, line: format!("{method} {}: {}", path.escape_debug(), why.escape_debug()) }
    }

    /// Makes the answer say it, as far as it was not sent.
    #[cold]
    #[inline(never)]
    pub(crate) fn answer(&self, response: &mut Response<'_>, is_wanted: bool) {
        if is_wanted {
            // Fails only when neither the web server nor stderr takes it.
            let _ = writeln!(response.error_log(), "{}", self.line);
        }
        response.app_status(self.app_status).replace(self.status);
    }

    /// Logs it: when the request is over, since the web server has the line already.
    #[cold]
    #[inline(never)]
    pub(crate) fn log(&self, app: &App, is_wanted: bool) {
        if app.stderr_is_error_log && is_wanted {
            return;
        }
        // That a peer went away is no fault of the handler, and nothing to wake anybody for.
        log::log!(if is_wanted { Level::Error } else { Level::Debug }, "{}", self.line);
    }
}

/// Why a request is answered without its handler.
pub(crate) enum Refusal {
    /// Its params went over a limit: 431.
    Oversized(Limit),
    /// There is no memory for its params: 503.
    NoMemory,
    /// There is no thread for its handler: 503.
    NoThread,
    /// The server stops: 503.
    Stopping,
}

impl Refusal {
    /// Answers the request: a real answer, since servers take a bare refusal for success.
    pub(crate) fn answer(&self, app: &App, output: &dyn Output, id: u16, buffer: &mut Vec<u8>) -> std::io::Result<()> {
        let (status, why) = match self {
            Self::Oversized(Limit::ParamsLen) => (431, "its params are longer than allowed"),
            Self::Oversized(Limit::Pairs) => (431, "it has more params than allowed"),
            Self::NoMemory => (503, "no memory is left for its params"),
            Self::NoThread => (503, "no thread is left for its handler"),
            Self::Stopping => (503, "the server stops"),
        };
        if !app.stderr_is_error_log && app.clock.may_log() {
            log::warn!("request {id} is answered {status}: {why}");
        }
        let mut response = Response::new(output, id, buffer, false);
        let _ = writeln!(response.error_log(), "the request is answered {status}: {why}");
        response.replace(status);
        response.finish()
    }
}

/// What a panic said, if it said text.
fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
