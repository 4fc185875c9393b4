use std::fmt;

use fcgi_proto::Role;

use crate::{Authorizer, Body, Filter, HandlerError, Request, Responder, Response};

/// What an application does: a handler for each role it plays.
///
/// Most play only the [`Responder`], and any responder can stand where `Roles` are asked for. A request for a role
/// without a handler is refused with `FCGI_UNKNOWN_ROLE`.
///
/// ```no_run
/// use fcgi_app::{Body, Request, Response, Roles};
/// use std::io::{self, Write};
///
/// let page = |_: &Request, _: &mut Body, out: &mut Response| writeln!(out.content_type("text/plain"), "Welcome");
/// let guard = |req: &Request, out: &mut Response| -> io::Result<()> {
///     out.status(if req.param_str("REMOTE_USER") == Some("ann") { 200 } else { 403 });
///     Ok(())
/// };
/// fcgi_app::run(Roles::new().responder(page).authorizer(guard))?;
/// # Ok::<(), fcgi_app::Error>(())
/// ```
#[derive(Default)]
pub struct Roles {
    responder: Option<Box<dyn Responder>>,
    authorizer: Option<Box<dyn Authorizer>>,
    filter: Option<Box<dyn Filter>>,
}

/// The handler of a role.
#[derive(Clone, Copy)]
pub(crate) enum Handler<'r> {
    Responder(&'r dyn Responder),
    Authorizer(&'r dyn Authorizer),
    Filter(&'r dyn Filter),
}

impl Handler<'_> {
    pub(crate) fn run(
        self,
        request: &Request<'_>,
        body: &mut Body<'_>,
        response: &mut Response<'_>,
    ) -> Result<(), HandlerError> {
        match self {
            Self::Responder(handler) => handler.respond(request, body, response),
            Self::Authorizer(handler) => handler.authorize(request, response),
            Self::Filter(handler) => handler.filter(request, body, response),
        }
    }
}

impl Roles {
    /// No role yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the handler of the Responder role.
    #[must_use]
    pub fn responder(mut self, handler: impl Responder + 'static) -> Self {
        self.responder = Some(Box::new(handler));
        self
    }

    /// Sets the handler of the Authorizer role.
    #[must_use]
    pub fn authorizer(mut self, handler: impl Authorizer + 'static) -> Self {
        self.authorizer = Some(Box::new(handler));
        self
    }

    /// Sets the handler of the Filter role.
    #[must_use]
    pub fn filter(mut self, handler: impl Filter + 'static) -> Self {
        self.filter = Some(Box::new(handler));
        self
    }

    /// The handler of a role, if there is one.
    pub(crate) fn handler(&self, role: Role) -> Option<Handler<'_>> {
        match role {
            Role::Responder => self.responder.as_deref().map(Handler::Responder),
            Role::Authorizer => self.authorizer.as_deref().map(Handler::Authorizer),
            Role::Filter => self.filter.as_deref().map(Handler::Filter),
        }
    }
}

impl<R: Responder + 'static> From<R> for Roles {
    fn from(responder: R) -> Self {
        Self::new().responder(responder)
    }
}

/// Says which roles have a handler.
impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roles")
            .field("responder", &self.responder.is_some())
            .field("authorizer", &self.authorizer.is_some())
            .field("filter", &self.filter.is_some())
            .finish()
    }
}
