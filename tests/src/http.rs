//! An HTTP client for the front side of web servers.

use std::net::SocketAddr;

use ureq::Agent;
use ureq::http::Response;

use crate::deadline::PATIENCE;

/// Talks to one web server, on kept connections where the server keeps them.
#[derive(Clone, Debug)]
pub struct HttpClient {
    agent: Agent,
    base: String,
    host: String,
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer(Response<Vec<u8>>);

impl HttpClient {
    /// A client of the server at `address`, under the name of that address.
    pub fn new(address: SocketAddr) -> Self {
        Self::for_host(address, &address.to_string())
    }

    /// A client of the virtual host `host` at `address`.
    pub fn for_host(address: SocketAddr, host: &str) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            // Errors and redirects are answers like others: tests look at them.
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build()
            .new_agent();
        HttpClient { agent, base: format!("http://{address}"), host: host.to_owned() }
    }

    /// GET. An error means that there was no answer at all.
    pub fn get(&self, path: &str) -> Result<Answer, ureq::Error> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("Host", &self.host);
        Answer::from(request.call()?)
    }

    /// POST of a body of known length.
    pub fn post(&self, path: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("Host", &self.host);
        Answer::from(request.content_type("application/octet-stream").send(body)?)
    }
}

impl Answer {
    /// A body of any length; ureq's own limit is 10 MB.
    fn from(response: Response<ureq::Body>) -> Result<Self, ureq::Error> {
        let (head, mut body) = response.into_parts();
        let body = body.with_config().limit(u64::MAX).read_to_vec()?;
        Ok(Answer(Response::from_parts(head, body)))
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// The first header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.0.body()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body()).into_owned()
    }
}
