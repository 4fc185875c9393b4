//! What CGI makes of a request's head. RFC 3875 section 4.1.

use std::net::SocketAddr;

use fcgi_proto::Pair;
use http_net::{RequestHead, Version};
use percent_encoding::percent_decode_str;

use super::failure::Failure;

/// Fields that are no `HTTP_` params: those that have a param of their own, those that speak of the connection to us and
/// not of the request, and `Proxy`, since many a program takes HTTP_PROXY for a setting of its own.
const WITHHELD: [&str; 11] = [
    "content-length",
    "content-type",
    "connection",
    "expect",
    "keep-alive",
    "proxy",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The params of one request.
#[derive(Debug)]
pub(super) struct Params(Vec<(Vec<u8>, Vec<u8>)>);

impl Params {
    /// Describes a request that `remote` sent to `local`.
    pub(super) fn of(head: &RequestHead<'_>, local: SocketAddr, remote: SocketAddr) -> Result<Self, Failure> {
        let mut params = Self(Vec::with_capacity(16 + head.headers().len()));
        params.set("GATEWAY_INTERFACE", "CGI/1.1");
        params.set("SERVER_SOFTWARE", concat!("fcgi-http-gateway/", env!("CARGO_PKG_VERSION")));
        params.set("SERVER_PROTOCOL", if head.version() == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" });
        params.set("SERVER_NAME", server_name(head.host().unwrap_or_default(), local));
        params.set("SERVER_PORT", local.port().to_string());
        params.set("REMOTE_ADDR", remote.ip().to_canonical().to_string());
        params.set("REMOTE_PORT", remote.port().to_string());
        params.set("REQUEST_METHOD", head.method_str());
        params.set("REQUEST_URI", head.target());
        // We know no files that could tell where the script ends and its path begins.
        let script =
            script_name(head.path()).ok_or(Failure::Client(400, "the path is none, or leads out of the root"))?;
        params.set("SCRIPT_NAME", script);
        params.set("PATH_INFO", "");
        params.set("QUERY_STRING", head.query().unwrap_or_default());
        if let Some(kind) = head.header("content-type") {
            params.set("CONTENT_TYPE", kind);
        }
        if let Some(length) = head.content_length() {
            params.set("CONTENT_LENGTH", length.to_string());
        }
        for (name, value) in head.headers() {
            if let Some(name) = http_param(name) {
                params.join(&name, value);
            }
        }
        Ok(params)
    }

    /// Sets a param; one of the same name is replaced.
    pub(super) fn set(&mut self, name: impl AsRef<[u8]>, value: impl Into<Vec<u8>>) {
        let (name, value) = (name.as_ref(), value.into());
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_vec(), value)),
        }
    }

    /// Adds a field's value; fields of the same name make one param, as RFC 3875 section 4.1.18 has it.
    fn join(&mut self, name: &str, value: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| known == name.as_bytes()) {
            Some((_, known)) => {
                known.extend_from_slice(if name == "HTTP_COOKIE" { b"; " } else { b", " });
                known.extend_from_slice(value);
            }
            None => self.0.push((name.into(), value.to_vec())),
        }
    }

    /// The pairs as FastCGI has them.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut encoded = Vec::new();
        for (name, value) in &self.0 {
            let (pair, at) = (Pair { name, value }, encoded.len());
            encoded.resize(at + pair.encoded_len(), 0);
            pair.encode(&mut encoded[at..]).expect("made room for it");
        }
        encoded
    }
}

/// `HTTP_` and the field's name, unless it is withheld. Names with anything but letters, digits and hyphens are, too:
/// `X_Real_Ip` would be taken for `X-Real-Ip`, which a server in front of us may have checked.
fn http_param(name: &str) -> Option<String> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let withheld = WITHHELD.iter().any(|withheld| name.eq_ignore_ascii_case(withheld));
    (plain && !withheld).then(|| format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_")))
}

/// The name the client knows the server by: the authority without its port.
fn server_name(authority: &str, local: SocketAddr) -> String {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => authority,
    };
    if name.is_empty() { local.ip().to_canonical().to_string() } else { name.to_owned() }
}

/// The path decoded, with `.`, `..` and empty segments resolved, as nginx gives it to applications: two spellings of a
/// path must not reach different rules. `None` for a path that leads out of the root, is none, or holds a NUL.
fn script_name(path: &str) -> Option<Vec<u8>> {
    let path: Vec<u8> = percent_decode_str(path).collect();
    if path.contains(&0) {
        return None;
    }
    let mut name = Vec::with_capacity(path.len());
    let mut is_folder = true;
    for segment in path.strip_prefix(b"/")?.split(|&byte| byte == b'/') {
        is_folder = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => name.truncate(name.iter().rposition(|&byte| byte == b'/')?),
            _ => {
                name.push(b'/');
                name.extend_from_slice(segment);
            }
        }
    }
    if is_folder {
        name.push(b'/');
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use http_net::{ServerConn, ServerEvent};

    use super::*;

    fn params(request: &str) -> Params {
        let mut http = ServerConn::new();
        assert_eq!(http.feed(request.as_bytes()), request.len());
        let Ok(ServerEvent::Request(head)) = http.poll() else { panic!("no head: {request}") };
        let (local, remote) = (SocketAddr::from(([127, 0, 0, 1], 80)), SocketAddr::from(([10, 0, 0, 9], 4711)));
        Params::of(&head, local, remote).expect("a good request")
    }

    #[track_caller]
    fn check(params: &Params, want: &[(&str, &str)]) {
        let wire = params.encode();
        let wire = fcgi_proto::Params::new(&wire);
        for (name, value) in want {
            let got = wire.get(name.as_bytes()).map(|value| value.escape_ascii().to_string());
            assert_eq!(got.as_deref(), Some(*value), "{name}");
        }
        assert_eq!(wire.iter().count(), params.0.len());
    }

    #[test]
    fn a_request_as_cgi_has_it() {
        let params = params(
            "POST /a%20b/../c?x=%20 HTTP/1.1\r\nHost: example.org:8080\r\nContent-Type: text/x\r\n\
             Content-Length: 3\r\nX-Some-Thing: y\r\n\r\n",
        );
        check(
            &params,
            &[
                ("REQUEST_METHOD", "POST"),
                ("REQUEST_URI", "/a%20b/../c?x=%20"),
                ("SCRIPT_NAME", "/c"),
                ("PATH_INFO", ""),
                ("QUERY_STRING", "x=%20"),
                ("SERVER_PROTOCOL", "HTTP/1.1"),
                ("GATEWAY_INTERFACE", "CGI/1.1"),
                ("SERVER_NAME", "example.org"),
                ("SERVER_PORT", "80"),
                ("REMOTE_ADDR", "10.0.0.9"),
                ("REMOTE_PORT", "4711"),
                ("CONTENT_TYPE", "text/x"),
                ("CONTENT_LENGTH", "3"),
                ("HTTP_HOST", "example.org:8080"),
                ("HTTP_X_SOME_THING", "y"),
            ],
        );
    }

    #[test]
    fn an_absent_body_has_no_length() {
        let params = params("GET http://other.org/ HTTP/1.1\r\nHost: a\r\n\r\n");
        check(&params, &[("SERVER_NAME", "other.org"), ("SCRIPT_NAME", "/")]);
        assert!(params.0.iter().all(|(name, _)| name != b"CONTENT_LENGTH" && name != b"CONTENT_TYPE"));
    }

    #[test]
    fn fields_of_one_name_are_joined_and_dangerous_ones_withheld() {
        let params = params(
            "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\na: 2\r\nCookie: x=1\r\nCookie: y=2\r\nProxy: evil\r\nX_Y: spoof\r\n\
             Connection: close\r\n\r\n",
        );
        check(&params, &[("HTTP_A", "1, 2"), ("HTTP_COOKIE", "x=1; y=2")]);
        let http: Vec<_> = params.0.iter().filter(|(name, _)| name.starts_with(b"HTTP_")).collect();
        assert_eq!(http.len(), 3, "{http:?}"); // the two above, and HTTP_HOST
    }

    #[test]
    fn a_later_param_replaces_one_of_its_name() {
        let mut params = params("GET / HTTP/1.0\r\n\r\n");
        params.set("SCRIPT_NAME", "/app");
        params.set("NEW", vec![b'v'; 300]);
        check(&params, &[("SCRIPT_NAME", "/app"), ("SERVER_NAME", "127.0.0.1"), ("NEW", &"v".repeat(300))]);
    }

    #[test]
    fn names_of_servers() {
        let local = SocketAddr::from(([127, 0, 0, 1], 80));
        for (authority, want) in
            [("a.org", "a.org"), ("a.org:1", "a.org"), ("[::1]", "[::1]"), ("[::1]:1", "[::1]"), ("", "127.0.0.1")]
        {
            assert_eq!(server_name(authority, local), want);
        }
    }

    #[test]
    fn paths_are_decoded_and_resolved() {
        for (path, want) in [
            ("/", Some("/")),
            ("/a/b", Some("/a/b")),
            ("/a/b/", Some("/a/b/")),
            ("//a///b", Some("/a/b")),
            ("/a/./b/.", Some("/a/b/")),
            ("/a/b/..", Some("/a/")),
            ("/a/%2e%2E/b", Some("/b")),
            ("/a/..", Some("/")),
            ("/%c3%a4%2f", Some("/\u{e4}/")),
            ("/%zz", Some("/%zz")),
            ("/..", None),
            ("/a/../../b", None),
            ("/%00", None),
            ("*", None),
            ("host:80", None),
        ] {
            assert_eq!(script_name(path).as_deref(), want.map(str::as_bytes), "{path}");
        }
    }
}
