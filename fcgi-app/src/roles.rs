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
    error_page: Option<Box<ErrorPage>>,
}

/// Writes the response that a client gets in place of one that failed.
type ErrorPage = dyn Fn(&Request<'_>, u16, &mut Response<'_>) -> Result<(), HandlerError> + Send + Sync;

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

    /// Sets the function that writes error pages: it is called when a handler has failed and nothing was sent. The status is
    /// its second argument, and set already. If it fails or panics, that is logged, and a line of plain text is sent, as
    /// without it. Requests that are refused before a handler begins, with 431 or 503, get the plain text.
    ///
    /// ```
    /// use fcgi_app::{Body, Request, Response, Roles};
    /// use std::io::Write;
    ///
    /// let roles = Roles::new()
    ///     .responder(|_: &Request, _: &mut Body, _: &mut Response| Err::<(), _>("the database is away"))
    ///     .error_page(|request: &Request, status: u16, out: &mut Response| {
    ///         match request.header("Accept") {
    ///             Some(types) if types.starts_with(b"application/json") => {
    ///                 write!(out.content_type("application/json"), "{{\"error\": {status}}}")
    ///             }
    ///             _ => out.html("<h1>We are sorry</h1>"),
    ///         }
    ///     });
    /// let failed = fcgi_app::test::Application::new(roles).call(fcgi_app::test::Request::new("GET", "/"))?;
    /// assert_eq!((failed.status(), failed.text()), (500, "<h1>We are sorry</h1>".into()));
    /// # Ok::<(), fcgi_app::test::Error>(())
    /// ```
    #[must_use]
    pub fn error_page<F, E>(mut self, page: F) -> Self
    where
        F: Fn(&Request<'_>, u16, &mut Response<'_>) -> Result<(), E> + Send + Sync + 'static,
        E: Into<HandlerError>,
    {
        self.error_page = Some(Box::new(move |request, status, out| page(request, status, out).map_err(Into::into)));
        self
    }

    /// What writes the response when a handler has failed.
    pub(crate) fn page(&self) -> Option<&ErrorPage> {
        self.error_page.as_deref()
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

/// Says which of them there are.
impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roles")
            .field("responder", &self.responder.is_some())
            .field("authorizer", &self.authorizer.is_some())
            .field("filter", &self.filter.is_some())
            .field("error_page", &self.error_page.is_some())
            .finish()
    }
}
