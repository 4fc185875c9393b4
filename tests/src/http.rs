//! An HTTP client for the front side of web servers.

use std::io::Read;
use std::net::SocketAddr;

use ureq::http::{Request, Response};
use ureq::{Agent, AsSendBody, SendBody};

use crate::deadline::PATIENCE;

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

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
            // Some requests carry much.
            .timeout_global(Some(3 * PATIENCE))
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
        self.send("GET", path, &[], ())
    }

    /// GET with more headers.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
        self.send("GET", path, headers, ())
    }

    /// HEAD.
    pub fn head(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.send("HEAD", path, &[], ())
    }

    /// POST of a body of known length.
    pub fn post(&self, path: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
        self.send("POST", path, &[OCTETS], body)
    }

    /// POST of a body of a media type.
    pub fn post_as(&self, media_type: &str, path: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
        self.send("POST", path, &[("Content-Type", media_type)], body)
    }

    /// POST of a body that comes as it is read: in chunks, or under a `Content-Length`.
    pub fn post_from(&self, path: &str, body: &mut dyn Read, length: Option<usize>) -> Result<Answer, ureq::Error> {
        let length = length.map(|length| length.to_string());
        let length = length.as_deref().map(|length| ("Content-Length", length));
        let headers: Vec<_> = [Some(OCTETS), length].into_iter().flatten().collect();
        self.send("POST", path, &headers, SendBody::from_reader(body))
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsSendBody,
    ) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        request = request.header("Host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::from(self.agent.run(request.body(body)?)?)
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

    /// All headers `name`.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.0.headers().get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
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
