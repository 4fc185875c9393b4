//! The params of a request, as nginx sends them for a browser's.

/// What nginx's `fastcgi_params` and `fastcgi.conf` make of a GET, in their order, and the fields that browsers send.
/// The path is put in later, and with a body so are its method, type and length.
const NGINX: [(&str, &str); 26] = [
    ("SCRIPT_FILENAME", "/srv/www"),
    ("QUERY_STRING", ""),
    ("REQUEST_METHOD", "GET"),
    ("CONTENT_TYPE", ""),
    ("CONTENT_LENGTH", ""),
    ("SCRIPT_NAME", ""),
    ("REQUEST_URI", ""),
    ("DOCUMENT_URI", ""),
    ("DOCUMENT_ROOT", "/srv/www"),
    ("SERVER_PROTOCOL", "HTTP/1.1"),
    ("REQUEST_SCHEME", "http"),
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("SERVER_SOFTWARE", "nginx/1.22.1"),
    ("REMOTE_ADDR", "192.0.2.7"),
    ("REMOTE_PORT", "36208"),
    ("REMOTE_USER", ""),
    ("SERVER_ADDR", "192.0.2.1"),
    ("SERVER_PORT", "80"),
    ("SERVER_NAME", "example.test"),
    ("REDIRECT_STATUS", "200"),
    ("HTTP_HOST", "example.test"),
    ("HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("HTTP_ACCEPT", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("HTTP_ACCEPT_LANGUAGE", "en-US,en;q=0.5"),
    ("HTTP_ACCEPT_ENCODING", "gzip, deflate"),
    ("HTTP_COOKIE", "session=3f0c9a52d17be684; theme=dark"),
];

/// Names and values, in the order in which they are sent.
#[derive(Debug)]
pub(super) struct Params(Vec<(Vec<u8>, Vec<u8>)>);

impl Params {
    /// A request for the path `script`, with a body of that many bytes if there is one.
    pub(super) fn new(script: &str, body: Option<usize>) -> Self {
        let mut params = Self(NGINX.map(|(name, value)| (name.into(), value.into())).into());
        for name in ["SCRIPT_NAME", "REQUEST_URI", "DOCUMENT_URI"] {
            params.set(name.as_bytes(), script.as_bytes());
        }
        params.set(b"SCRIPT_FILENAME", format!("/srv/www{script}").as_bytes());
        if let Some(length) = body {
            params.set(b"REQUEST_METHOD", b"POST");
            params.set(b"CONTENT_TYPE", b"application/octet-stream");
            params.set(b"CONTENT_LENGTH", length.to_string().as_bytes());
        }
        params
    }

    /// Sets a param; one of the same name is replaced.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
    }

    /// The value of a param.
    pub(super) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..])
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&name[..], &value[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_get_and_a_post() {
        let get = Params::new("/hello", None);
        assert_eq!(get.len(), 26);
        for (name, value) in [
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_FILENAME", "/srv/www/hello"),
            ("SCRIPT_NAME", "/hello"),
            ("REQUEST_URI", "/hello"),
            ("DOCUMENT_URI", "/hello"),
            ("CONTENT_LENGTH", ""),
        ] {
            assert_eq!(get.get(name.as_bytes()), Some(value.as_bytes()), "{name}");
        }
        let post = Params::new("/echo", Some(5));
        assert_eq!(post.len(), 26);
        assert_eq!(post.get(b"REQUEST_METHOD"), Some(&b"POST"[..]));
        assert_eq!(post.get(b"CONTENT_LENGTH"), Some(&b"5"[..]));
    }

    #[test]
    fn a_param_of_ones_own_replaces_or_is_added() {
        let mut params = Params::new("/", None);
        params.set(b"SERVER_NAME", b"a");
        params.set(b"NEW", b"b");
        assert_eq!(
            (params.len(), params.get(b"SERVER_NAME"), params.get(b"NEW")),
            (27, Some(&b"a"[..]), Some(&b"b"[..]))
        );
        assert_eq!(params.iter().last(), Some((&b"NEW"[..], &b"b"[..])));
        assert_eq!(params.get(b"OTHER"), None);
    }
}
