//! What can go wrong with a request, and what the client is told.

use fcgi_proto::ProtocolError;
use http_net::{HttpError, Response};

/// Why a request did not end well.
#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    /// The client went away: nobody is left to be told.
    ClientGone,
    /// The client did not keep to HTTP.
    Http(HttpError),
    /// The client asked for something we do not do, or was silent for too long.
    Client(u16, &'static str),
    /// The application is away, silent, or does not keep to FastCGI or CGI.
    Application(u16, String),
}

impl Failure {
    pub(super) fn application(status: u16, why: impl Into<String>) -> Self {
        Self::Application(status, why.into())
    }

    /// The answer to send if none has begun; it is the last one of its connection.
    pub(super) fn response(&self) -> Option<Response> {
        let (status, why) = match self {
            Self::ClientGone => return None,
            Self::Http(error) => (error.status()?, error.to_string()),
            Self::Client(status, why) => (*status, (*why).to_owned()),
            Self::Application(status, why) => (*status, why.clone()),
        };
        let text = format!("{status} {}\n{why}\n", http_net::reason_phrase(status));
        Some(Response::text(status, &text).close())
    }

    /// The line to log: what an administrator has to look into, and that is the application.
    pub(super) fn log_line(&self) -> Option<&str> {
        match self {
            Self::Application(_, why) => Some(why),
            Self::ClientGone | Self::Http(_) | Self::Client(..) => None,
        }
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<ProtocolError> for Failure {
    fn from(error: ProtocolError) -> Self {
        Self::application(502, format!("the application does not speak FastCGI: {error}"))
    }
}
