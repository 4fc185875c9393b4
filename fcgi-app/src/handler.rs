use std::error::Error;

use crate::{Body, Request, Response};

/// What a handler fails with: any error at all, `?` does the rest.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// A handler of the Responder role (specification section 6.2): reads a request, writes its answer.
///
/// Closures and functions `Fn(&Request, &mut Body, &mut Response) -> Result<(), E>` are responders. One responder
/// serves all connections, from as many threads. An error is logged; if nothing of the answer was sent yet, the web
/// server gets a `500` instead of it.
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
