use std::error::Error;

use crate::{Body, Request, Response};

/// What a handler fails with: any error at all, `?` does the rest.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// A handler of the Responder role (specification section 6.2): reads a request, writes its answer.
///
/// Closures and functions `Fn(&Request, &mut Body, &mut Response) -> Result<(), E>` are responders. One responder
/// serves all connections, from as many threads. An error is logged, here and in the web server's error log; if nothing
/// of the answer was sent yet, the web server gets a `500` instead of it. So it is with a panic, with appStatus 101; its
/// thread, its connection and all others go on. In a program that is built with `panic = "abort"`, as when a handler
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
/// headers `Variable-NAME` become variables of the request; any other status is the answer its client gets, body and
/// all. There is no request body. The answer always says its status, and one that fails or panics is a `500`: nothing
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
