use std::error::Error;
use std::iter::successors;
use std::{fmt, io};

use crate::{Body, FormError, Request, Response};

/// How many sources of an error are looked at: one may be its own.
pub(crate) const SOURCES: usize = 64;

/// What a handler fails with: any error at all, `?` does the rest.
///
/// The message that is logged has those of all its [sources](Error::source). The client is told no more than the status:
/// that of an [`HttpError`] or a [`FormError`](crate::FormError) among them, else 500.
pub type HandlerError = Box<dyn Error>;

/// An error with the HTTP status that its client gets. In the program's own log it is `info` for 400 to 499, else `error`;
/// the web server's error log gets a line in either case. Headers that the handler has set are discarded: a response that
/// needs one (`Allow`, `Retry-After`, `WWW-Authenticate`) is written by the handler, or by
/// [`Roles::error_page`](crate::Roles::error_page). Its appStatus is 1.
///
/// ```
/// use fcgi_app::{Body, HandlerError, HttpError, Request, Response};
///
/// fn page(request: &Request, _: &mut Body, out: &mut Response) -> Result<(), HandlerError> {
///     let id: u32 = request.query().parse().map_err(|error| HttpError::new(400, error))?;
///     if id > 9 {
///         return Err(HttpError::new(404, "there are ten pages").into());
///     }
///     Ok(out.text(id)?)
/// }
/// ```
#[derive(Debug)]
pub struct HttpError {
    status: u16,
    // So that it can be the cause of errors that are sent between threads, as those of anyhow and std::io may be.
    error: Box<dyn Error + Send + Sync>,
}

impl HttpError {
    /// An error that is answered with `status`, 400 to 599; any other is 500.
    pub fn new(status: u16, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { status: if matches!(status, 400..=599) { status } else { 500 }, error: error.into() }
    }

    /// The status that its client gets.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The status of the response to a request whose handler fails with `error` before any of it was sent: that of an
    /// `HttpError` or [`FormError`](crate::FormError) that it is or was caused by, 413 if its body is over
    /// [`Limits::body_len`](crate::Limits::body_len), else 500.
    pub fn status_of(error: &(dyn Error + 'static)) -> u16 {
        Self::carried_by(error).unwrap_or(500)
    }

    /// The status that an error carries, or one of those that it came from.
    #[cold]
    #[inline(never)]
    pub(crate) fn carried_by(error: &(dyn Error + 'static)) -> Option<u16> {
        successors(Some(error), |&error| error.source()).take(SOURCES).find_map(|error| {
            // What an io::Error was made of is not its source.
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let error = inner.map_or(error, |inner| inner);
            let form = error.downcast_ref::<FormError>().map(FormError::status);
            form.or_else(|| error.downcast_ref::<Self>().map(Self::status))
        })
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for HttpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// A handler of the Responder role (specification section 6.2): reads a request, writes its answer.
///
/// Closures and functions `Fn(&Request, &mut Body, &mut Response) -> Result<(), E>` are responders. One responder
/// serves all connections, from as many threads. An error is logged, here and in the web server's error log, and ends the
/// response as a [failed](crate::Response#failure) one. So does a panic, with appStatus 101; its thread, its connection and
/// all others go on. In a program that is built with `panic = "abort"`, as when a handler
/// overflows its stack ([`Limits::stack`](crate::Limits::stack)), the process ends with all that is under way, and it is
/// for a supervisor such as fcgi-spawn to start another.
pub trait Responder: Send + Sync {
    /// Answers one request.
    ///
    /// # Errors
    /// Whatever keeps the answer from being complete.
    fn respond(
        &self,
        request: &Request<'_>,
        body: &mut Body<'_>,
        response: &mut Response<'_>,
    ) -> Result<(), HandlerError>;
}

impl<F, E> Responder for F
where
    F: Fn(&Request<'_>, &mut Body<'_>, &mut Response<'_>) -> Result<(), E> + Send + Sync,
    E: Into<HandlerError>,
{
    fn respond(
        &self,
        request: &Request<'_>,
        body: &mut Body<'_>,
        response: &mut Response<'_>,
    ) -> Result<(), HandlerError> {
        self(request, body, response).map_err(Into::into)
    }
}

/// A handler of the Authorizer role (specification section 6.3): says whether a request may go on.
///
/// Closures and functions `Fn(&Request, &mut Response) -> Result<(), E>` are authorizers. Status 200 grants, and
/// headers `Variable-NAME` become variables of the request; any other status denies: lighttpd passes the response on to
/// the client, Apache sends a page of its own. nginx knows no such role: behind its `auth_request` a
/// [`Responder`] decides. There is no request body. The answer always says its status, and one that fails or panics is a `500`: nothing
/// fails open.
pub trait Authorizer: Send + Sync {
    /// Decides one request.
    ///
    /// # Errors
    /// Whatever keeps it from being decided; the web server then gets a `500`, which denies.
    fn authorize(&self, request: &Request<'_>, response: &mut Response<'_>) -> Result<(), HandlerError>;
}

impl<F, E> Authorizer for F
where
    F: Fn(&Request<'_>, &mut Response<'_>) -> Result<(), E> + Send + Sync,
    E: Into<HandlerError>,
{
    fn authorize(&self, request: &Request<'_>, response: &mut Response<'_>) -> Result<(), HandlerError> {
        self(request, response).map_err(Into::into)
    }
}

/// A handler of the Filter role (specification section 6.4): answers with a file that it is given and changes.
///
/// Closures and functions `Fn(&Request, &mut Body, &mut Response) -> Result<(), E>` are filters. The [`Body`] gives the
/// body of the request first and, after [`Body::data`], the file. No byte of the answer may leave before the body was
/// read to its end: what would leave earlier fails with `InvalidInput`.
pub trait Filter: Send + Sync {
    /// Answers one request.
    ///
    /// # Errors
    /// As for [`Responder::respond`].
    fn filter(
        &self,
        request: &Request<'_>,
        body: &mut Body<'_>,
        response: &mut Response<'_>,
    ) -> Result<(), HandlerError>;
}

impl<F, E> Filter for F
where
    F: Fn(&Request<'_>, &mut Body<'_>, &mut Response<'_>) -> Result<(), E> + Send + Sync,
    E: Into<HandlerError>,
{
    fn filter(
        &self,
        request: &Request<'_>,
        body: &mut Body<'_>,
        response: &mut Response<'_>,
    ) -> Result<(), HandlerError> {
        self(request, body, response).map_err(Into::into)
    }
}
