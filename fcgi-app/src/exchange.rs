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
use crate::handler::SOURCES;
use crate::roles::Handler;
use crate::source::Source;
use crate::wire::Output;
use crate::{Body, HttpError, Request, Response};

/// That a handler failed, and how that is answered.
struct Failure {
    app_status: u32,
    status: u16,
    line: String,
}

/// A failure that was answered.
pub(crate) struct Answered {
    failure: Failure,
    /// Whether the web server has its line for the error log.
    is_told: bool,
    /// Whether its client had gone.
    is_gone: bool,
}

/// Runs the handler of a request, and answers its failure; the response then lacks no more than its end.
pub(crate) fn run_handler(
    app: &App,
    handler: Handler<'_>,
    request: &Request<'_>,
    source: &mut dyn Source,
    response: &mut Response<'_>,
) -> Result<(), Answered> {
    let mut body = Body::new(source, *request, app.limits.body_len);
    let outcome = catch(|| {
        let failed = handler.run(request, &mut body, response).err();
        failed.map(|error| (HttpError::carried_by(&*error), chain(&*error)))
    });
    let (app_status, status, why) = match outcome {
        Ok(None) => match response.fault() {
            None => return Ok(()),
            Some(fault) => (1, None, fault),
        },
        Ok(Some((status, why))) => (1, status, why),
        Err(panic) => (101, Some(500), format!("the handler {panic}")),
    };
    let status = status.unwrap_or(if body.is_too_large() { 413 } else { 500 });
    if !response.may_leave() {
        // A page for the client of a Filter may be too long to be collected.
        let _ = io::copy(&mut body, &mut io::sink());
    }
    Err(Failure::new(request, app_status, status, &why).answer(app, request, response))
}

/// Calls what is the application's, the message of its error, too. A panic ends it, and is what this fails with.
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let why = format!("panicked: {}", panic_message(&*payload));
        // To drop it may panic, too, and so may the payload of that panic.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(another);
        }
        why
    })
}

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
    fn answer(self, app: &App, request: &Request<'_>, response: &mut Response<'_>) -> Answered {
        let is_gone = response.is_gone();
        let is_told = !is_gone && !response.is_over();
        if is_told {
            let cut = if response.is_sent() { "; the response is broken off" } else { "" };
            // Fails only when neither the web server nor stderr takes it.
            let _ = writeln!(response.error_log(), "{}{cut}", self.line);
        }
        response.fail(self.app_status, self.status);
        if let (Some(page), true, false) = (app.roles.page(), is_told, response.is_sent()) {
            response.begin_page(self.status);
            let outcome = catch(|| page(request, self.status, response).err().map(|error| chain(&*error)));
            let fault = match outcome {
                Ok(None) => response.fault(),
                Ok(Some(why)) | Err(why) => Some(why),
            };
            if let Some(fault) = fault {
                let line = escaped(&format!("the page for status {} failed: {fault}", self.status));
                // A logger is the application's, too.
                let _ = catch(|| log::error!("{line}"));
                response.fail(self.app_status, self.status);
            }
        }
        Answered { failure: self, is_told, is_gone }
    }
}

impl Answered {
    /// Logs it: when the request is over, since the web server has the line already.
    #[cold]
    #[inline(never)]
    pub(crate) fn log(&self, app: &App) {
        if app.stderr_is_error_log && self.is_told {
            return;
        }
        let level = match self.failure.status {
            // That a peer went away is no fault of the handler.
            _ if self.is_gone => Level::Debug,
            // It is the client's.
            400..=499 => Level::Info,
            _ => Level::Error,
        };
        let _ = catch(|| log::log!(level, "{}", self.failure.line));
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
