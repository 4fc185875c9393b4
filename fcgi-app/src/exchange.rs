//! A request and its answer, whatever connection they come over.

use std::any::Any;
use std::error::Error;
use std::io::{self, Write};
use std::iter::successors;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fcgi_proto::Limit;
use log::Level;

use crate::app::App;
use crate::error_log::escaped;
use crate::roles::Handler;
use crate::source::Source;
use crate::wire::{Ended, Output};
use crate::{Body, FormError, HttpError, Request, Response};

/// That a handler failed, and how that is answered.
pub(crate) struct Failure {
    app_status: u32,
    status: u16,
    line: String,
}

/// Runs the handler of a request; the response then lacks no more than its end.
pub(crate) fn run_handler(
    app: &App,
    handler: Handler<'_>,
    request: &Request<'_>,
    source: &mut dyn Source,
    response: &mut Response<'_>,
) -> Result<(), Failure> {
    let mut body = Body::new(source, *request, app.limits.body_len);
    // Whatever is the application's is called in here, the message of its error, too.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let failed = handler.run(request, &mut body, response).err();
        failed.map(|error| (status_of(&*error), chain(&*error)))
    }));
    let (status, why) = match outcome {
        Ok(None) => match response.fault() {
            None => return Ok(()),
            Some(fault) => (None, fault),
        },
        Ok(Some(failed)) => failed,
        Err(payload) => {
            let why = format!("the handler panicked: {}", panic_message(&*payload));
            // To drop it may panic, too, and so may the payload of that panic.
            if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                mem::forget(another);
            }
            return Err(Failure::new(request, 101, 500, &why));
        }
    };
    let status = status.unwrap_or(if body.is_too_large() { 413 } else { 500 });
    Err(Failure::new(request, 1, status, &why))
}

/// Ends the response of a handler that has returned, and says why if it failed.
pub(crate) fn end_response(app: &App, response: &mut Response<'_>, failure: Option<&Failure>) -> io::Result<Ended> {
    let Some(failure) = failure else { return response.end() };
    let is_gone = response.is_gone();
    let is_told = !is_gone && !response.is_over();
    failure.answer(response, is_told);
    let ended = response.end();
    failure.log(app, is_told, is_gone);
    ended
}

/// How many sources of an error are looked at: one may be its own.
const SOURCES: usize = 64;

/// The messages of an error and of those that it came from.
#[cold]
#[inline(never)]
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for source in successors(error.source(), |&error| error.source()).take(SOURCES) {
        let message = source.to_string();
        // Some repeat the message of their source in their own.
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
    }
    text
}

/// The HTTP status that an error carries, or one of those that it came from.
#[cold]
#[inline(never)]
fn status_of(error: &(dyn Error + 'static)) -> Option<u16> {
    successors(Some(error), |&error| error.source()).take(SOURCES).find_map(|error| {
        // What an io::Error was made of is not its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let error = inner.map_or(error, |inner| inner);
        let form = error.downcast_ref::<FormError>().map(FormError::status);
        form.or_else(|| error.downcast_ref::<HttpError>().map(HttpError::status))
    })
}

// What formats text is #[cold] and not inlined: on a thread's stack it would take room from all requests, and what a
// stack was once stays resident.
impl Failure {
    #[cold]
    #[inline(never)]
    fn new(request: &Request<'_>, app_status: u32, status: u16, why: &str) -> Self {
        let line = format!("{} {}: {why}", request.method(), request.path());
        Self { app_status, status, line: escaped(&line) }
    }

    /// Makes the response say it, as far as it was not sent.
    #[cold]
    #[inline(never)]
    fn answer(&self, response: &mut Response<'_>, is_told: bool) {
        if is_told {
            let cut = if response.is_sent() { "; the response is broken off" } else { "" };
            // Fails only when neither the web server nor stderr takes it.
            let _ = writeln!(response.error_log(), "{}{cut}", self.line);
        }
        response.fail(self.app_status, self.status);
    }

    /// Logs it: when the request is over, since the web server has the line already.
    #[cold]
    #[inline(never)]
    fn log(&self, app: &App, is_told: bool, is_gone: bool) {
        if app.stderr_is_error_log && is_told {
            return;
        }
        let level = match self.status {
            // That a peer went away is no fault of the handler.
            _ if is_gone => Level::Debug,
            // It is the client's.
            400..=499 => Level::Info,
            _ => Level::Error,
        };
        log::log!(level, "{}", self.line);
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
    pub(crate) fn answer(
        &self,
        app: &App,
        output: &dyn Output,
        id: u16,
        is_head: bool,
        buffer: &mut Vec<u8>,
    ) -> io::Result<()> {
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
        let mut response = Response::new(output, id, buffer, is_head);
        let _ = writeln!(response.error_log(), "the request is answered {status}: {why}");
        response.fail(0, status);
        response.end().map(drop)
    }
}

/// What a panic said, if it said text.
fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
