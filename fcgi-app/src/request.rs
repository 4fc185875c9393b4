use std::borrow::Cow;
use std::net::IpAddr;
use std::str;

use fcgi_proto::{Pair, Params};

/// The params of a request, as the web server sent them (CGI/1.1, RFC 3875 section 4.1).
///
/// Names and values are bytes, which [`param`](Self::param) and [`header`](Self::header) give; what ends in `_str`, and
/// all that gives `Option<&str>`, is for text and takes what is not UTF-8 for missing. Web servers send many params empty:
/// `param`, `header`, `cookie` and their `_str` forms give an empty value as `Some`, all others that give an `Option` as
/// `None`. Nothing is copied or decoded unless an item says so, and nothing panics.
///
/// `HTTP_PROXY` is never handed out, in no spelling, by look-up or iteration: it is a header of the client's choice
/// that programs mistake for their proxy configuration. Nothing is mixed in from the process's environment or from
/// another request.
///
/// ```
/// use fcgi_app::{Body, Request, Response};
/// use std::io::Write;
///
/// fn greet(request: &Request, _: &mut Body, out: &mut Response) -> std::io::Result<()> {
///     let language = request.header_str("Accept-Language").unwrap_or("en");
///     let name = request.remote_user().or(request.cookie_str("name")).unwrap_or("you");
///     out.content_type("text/plain; charset=utf-8");
///     writeln!(out, "{}, {name}", if language.starts_with("fr") { "Bonjour" } else { "Hello" })
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    params: Params<'r>,
    framing: Framing,
}

/// How long a request says that bodies are: its own, and that of the answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Framing {
    /// Whether the body of the answer is not to be sent.
    is_head: bool,
    content_length: Option<u64>,
}

impl Framing {
    pub(crate) fn of(params: Params<'_>) -> Self {
        let mut framing = Self::default();
        params.iter().for_each(|param| framing.note(param));
        framing
    }

    /// Whether the body of the answer is not to be sent.
    pub(crate) fn is_head(self) -> bool {
        self.is_head
    }

    /// Looks at a param; of those whose name repeats the last one counts.
    #[inline]
    pub(crate) fn note(&mut self, param: Pair<'_>) {
        if param.name == b"REQUEST_METHOD" {
            self.is_head = param.value == b"HEAD";
        } else if param.name == b"CONTENT_LENGTH" {
            self.content_length = number(param.value);
        }
    }
}

impl<'r> Request<'r> {
    pub(crate) fn new(params: Params<'r>) -> Self {
        Self::framed(params, Framing::of(params))
    }

    /// One of which all params were noted already.
    pub(crate) fn framed(params: Params<'r>, framing: Framing) -> Self {
        Self { params, framing }
    }

    /// The value of a param; the last one, should the name repeat.
    pub fn param(&self, name: impl AsRef<[u8]>) -> Option<&'r [u8]> {
        let name = name.as_ref();
        if is_hidden(name) { None } else { self.params.get(name) }
    }

    /// The value of a param as text; `None` also if it is not UTF-8.
    pub fn param_str(&self, name: impl AsRef<[u8]>) -> Option<&'r str> {
        str::from_utf8(self.param(name)?).ok()
    }

    /// All params in the order in which they came, repeated names included.
    pub fn params(&self) -> impl Iterator<Item = (&'r [u8], &'r [u8])> + use<'r> {
        self.params.iter().filter(|pair| !is_hidden(pair.name)).map(|pair| (pair.name, pair.value))
    }

    /// The value of a request header, by its HTTP name in any case: `"Accept-Language"` is the param
    /// `HTTP_ACCEPT_LANGUAGE`, while `"Content-Type"` and `"Content-Length"` are params of their own. The last value,
    /// should the name repeat; `"Proxy"` is never there.
    pub fn header(&self, name: &str) -> Option<&'r [u8]> {
        self.params().filter(|&(param, _)| is_header(param, name)).last().map(|(_, value)| value)
    }

    /// The value of a request header as text; `None` also if it is not UTF-8.
    pub fn header_str(&self, name: &str) -> Option<&'r str> {
        str::from_utf8(self.header(name)?).ok()
    }

    /// The names and values of the cookies, as the client sent them: nothing is decoded, quotes stay. What has no `=`
    /// is left out.
    pub fn cookies(&self) -> impl Iterator<Item = (&'r [u8], &'r [u8])> + use<'r> {
        let lines = self.params().filter(|&(name, _)| name == b"HTTP_COOKIE");
        lines.flat_map(|(_, line)| line.split(|&byte| byte == b';')).filter_map(|cookie| {
            let at = cookie.iter().position(|&byte| byte == b'=')?;
            Some((cookie[..at].trim_ascii(), cookie[at + 1..].trim_ascii()))
        })
    }

    /// The value of a cookie; the first one, should the name repeat: clients send the one with the longest path first.
    pub fn cookie(&self, name: impl AsRef<[u8]>) -> Option<&'r [u8]> {
        let name = name.as_ref();
        self.cookies().find(|&(found, _)| found == name).map(|(_, value)| value)
    }

    /// The value of a cookie as text; `None` also if it is not UTF-8.
    pub fn cookie_str(&self, name: impl AsRef<[u8]>) -> Option<&'r str> {
        str::from_utf8(self.cookie(name)?).ok()
    }

    /// `REQUEST_METHOD`; `"GET"` when it is missing, and U+FFFD, which is no method, when it is no text.
    pub fn method(&self) -> &'r str {
        self.param("REQUEST_METHOD").map_or("GET", |method| str::from_utf8(method).unwrap_or("\u{fffd}"))
    }

    /// Whether the body of the answer is not to be sent.
    pub(crate) fn is_head(&self) -> bool {
        self.framing.is_head()
    }

    /// The path that was asked for: `SCRIPT_NAME` with `PATH_INFO` behind it if one of them has something, else
    /// `DOCUMENT_URI`, else `REQUEST_URI` up to its `?`, else `"/"`.
    ///
    /// Web servers have decoded the `%` in it, except in `REQUEST_URI`. What is not UTF-8 becomes U+FFFD. Allocates
    /// only for that and to join two params.
    pub fn path(&self) -> Cow<'r, str> {
        let bytes = |name| self.param(name).unwrap_or_default();
        let path = match (bytes("SCRIPT_NAME"), bytes("PATH_INFO")) {
            (b"", b"") => {
                let uri = bytes("REQUEST_URI").split(|&byte| byte == b'?').next().unwrap_or_default();
                [bytes("DOCUMENT_URI"), uri].into_iter().find(|path| !path.is_empty()).unwrap_or(b"/")
            }
            (script, b"") => script,
            (b"", info) => info,
            (script, info) => return String::from_utf8_lossy(&[script, info].concat()).into_owned().into(),
        };
        String::from_utf8_lossy(path)
    }

    /// `SCRIPT_NAME`, the part of the path that led to this application; `""` when it is missing. What is not UTF-8
    /// becomes U+FFFD.
    pub fn script_name(&self) -> Cow<'r, str> {
        self.lossy("SCRIPT_NAME")
    }

    /// `PATH_INFO`, the part of the path behind the application's own; `""` when it is missing. What is not UTF-8 becomes
    /// U+FFFD.
    pub fn path_info(&self) -> Cow<'r, str> {
        self.lossy("PATH_INFO")
    }

    /// `PATH_TRANSLATED`, what `PATH_INFO` would be as a file.
    pub fn path_translated(&self) -> Option<&'r str> {
        self.text("PATH_TRANSLATED")
    }

    /// `DOCUMENT_ROOT`, the folder of the site.
    pub fn document_root(&self) -> Option<&'r str> {
        self.text("DOCUMENT_ROOT")
    }

    /// `QUERY_STRING`, what stood behind the `?`, not decoded; `""` when it is missing. What is not UTF-8 becomes U+FFFD.
    pub fn query(&self) -> Cow<'r, str> {
        self.lossy("QUERY_STRING")
    }

    /// The names and values in `QUERY_STRING`, decoded as a form's are.
    ///
    /// What is not UTF-8 becomes U+FFFD. Allocates only for what had to be decoded.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'r, str>, Cow<'r, str>)> + use<'r> {
        form_urlencoded::parse(self.param("QUERY_STRING").unwrap_or_default())
    }

    /// `CONTENT_TYPE`, the media type of the body.
    pub fn content_type(&self) -> Option<&'r str> {
        self.text("CONTENT_TYPE")
    }

    /// `CONTENT_LENGTH` as a number; `None` when it is absent, empty, negative, too large for 64 bits or no number.
    /// What it promises is not what comes: the end of the body is the end of its stream.
    pub fn content_length(&self) -> Option<u64> {
        self.framing.content_length
    }

    /// `FCGI_DATA_LENGTH`, the length of the file a [`Filter`](crate::Filter) is given, read likewise.
    pub fn data_length(&self) -> Option<u64> {
        number(self.params.get(b"FCGI_DATA_LENGTH")?)
    }

    /// `REMOTE_ADDR`, the client's address; `None` also when it is something else, as `unix:` is. A scope behind the
    /// address (`fe80::1%eth0`) is left out, and an IPv4 address that came by an IPv6 socket (`::ffff:192.0.2.1`) is an
    /// IPv4 address. Behind a proxy it is the proxy's, unless the web server knows better.
    pub fn remote_addr(&self) -> Option<IpAddr> {
        self.address("REMOTE_ADDR")
    }

    /// `REMOTE_PORT`, the client's port.
    pub fn remote_port(&self) -> Option<u16> {
        self.text("REMOTE_PORT")?.parse().ok()
    }

    /// `REMOTE_HOST`, the client's name, if the web server looked it up.
    pub fn remote_host(&self) -> Option<&'r str> {
        self.text("REMOTE_HOST")
    }

    /// `REMOTE_USER`, who the client is, as the web server found out.
    pub fn remote_user(&self) -> Option<&'r str> {
        self.text("REMOTE_USER")
    }

    /// `REMOTE_IDENT`, who the client says he is by RFC 1413. Nobody can rely on it.
    pub fn remote_ident(&self) -> Option<&'r str> {
        self.text("REMOTE_IDENT")
    }

    /// `AUTH_TYPE`, how the web server found out who the client is: `"Basic"`, for instance.
    pub fn auth_type(&self) -> Option<&'r str> {
        self.text("AUTH_TYPE")
    }

    /// The host that was asked for, with its port if that was given: the header `Host`, else
    /// [`server_name`](Self::server_name). It is the client's to choose, unless the web server serves known names only.
    pub fn host(&self) -> Option<&'r str> {
        self.text("HTTP_HOST").or_else(|| self.server_name())
    }

    /// `SERVER_NAME`, the name of the site; with many configurations, what the client sent as `Host`.
    pub fn server_name(&self) -> Option<&'r str> {
        self.text("SERVER_NAME")
    }

    /// `SERVER_ADDR`, the address at which the request arrived, read as [`remote_addr`](Self::remote_addr) is.
    pub fn server_addr(&self) -> Option<IpAddr> {
        self.address("SERVER_ADDR")
    }

    /// `SERVER_PORT`, the port at which the request arrived.
    pub fn server_port(&self) -> Option<u16> {
        self.text("SERVER_PORT")?.parse().ok()
    }

    /// `SERVER_PROTOCOL`, the protocol of the request: `"HTTP/1.1"`, for instance.
    pub fn server_protocol(&self) -> Option<&'r str> {
        self.text("SERVER_PROTOCOL")
    }

    /// `SERVER_SOFTWARE`, name and version of the web server.
    pub fn server_software(&self) -> Option<&'r str> {
        self.text("SERVER_SOFTWARE")
    }

    /// `GATEWAY_INTERFACE`: `"CGI/1.1"`.
    pub fn gateway_interface(&self) -> Option<&'r str> {
        self.text("GATEWAY_INTERFACE")
    }

    /// Whether the request came over TLS: `HTTPS` is there and not `off`, or `REQUEST_SCHEME` is `https`.
    ///
    /// Where TLS ends at a proxy in front of the web server, only the web server's configuration can say so.
    pub fn is_https(&self) -> bool {
        match self.text("HTTPS") {
            Some(https) => !https.eq_ignore_ascii_case("off"),
            None => self.text("REQUEST_SCHEME").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        }
    }

    /// `"https"` if the request [came over TLS](Self::is_https), else `"http"`.
    pub fn scheme(&self) -> &'static str {
        if self.is_https() { "https" } else { "http" }
    }

    /// An IP address.
    fn address(&self, name: &str) -> Option<IpAddr> {
        let address = self.text(name)?;
        let address = address.split_once('%').map_or(address, |(address, _scope)| address);
        address.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    }

    /// A param as text; what is not UTF-8 becomes U+FFFD.
    fn lossy(&self, name: &str) -> Cow<'r, str> {
        String::from_utf8_lossy(self.param(name).unwrap_or_default())
    }

    /// A param that is there, is text and is not empty.
    fn text(&self, name: &str) -> Option<&'r str> {
        self.param_str(name).filter(|value| !value.is_empty())
    }
}

/// A length; `None` when it is empty, negative, too large for 64 bits or no number.
fn number(digits: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let next = |number: u64, byte| number.checked_mul(10)?.checked_add(digit(byte)?);
    digits.iter().try_fold(0, next).filter(|_| !digits.is_empty())
}

/// Whether a param is the one that a client could mislead us with. No web server writes it in lower case, but who
/// looks for it might.
fn is_hidden(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"HTTP_PROXY")
}

/// Whether a param holds the request header `name`: RFC 3875 section 4.1.18.
fn is_header(param: &[u8], name: &str) -> bool {
    let of_its_own = name.eq_ignore_ascii_case("Content-Type") || name.eq_ignore_ascii_case("Content-Length");
    let rest = if of_its_own { Some(param) } else { param.strip_prefix(b"HTTP_") };
    rest.is_some_and(|rest| {
        let as_param = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() };
        rest.len() == name.len() && rest.iter().copied().eq(name.bytes().map(as_param))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(pairs: &[(&str, &str)]) -> Vec<u8> {
        let short = |text: &str| u8::try_from(text.len()).expect("short");
        let pair =
            |&(name, value): &(&str, &str)| [&[short(name), short(value)], name.as_bytes(), value.as_bytes()].concat();
        pairs.iter().flat_map(pair).collect()
    }

    #[track_caller]
    fn with<T>(pairs: &[(&str, &str)], look: impl FnOnce(Request<'_>) -> T) -> T {
        look(Request::new(Params::new(&encode(pairs))))
    }

    #[test]
    fn http_proxy_is_not_there() {
        let bytes = encode(&[("A", "1"), ("HTTP_PROXY", "evil"), ("A", "2"), ("http_proxy", "evil")]);
        let request = Request::new(Params::new(&bytes));
        for name in ["HTTP_PROXY", "http_proxy", "Http_Proxy"] {
            assert_eq!(request.param(name), None);
        }
        for name in ["Proxy", "proxy", "PROXY"] {
            assert_eq!(request.header(name), None);
        }
        assert_eq!(request.param_str("A"), Some("2"));
        let all: Vec<_> = request.params().collect();
        assert_eq!(all, [(&b"A"[..], &b"1"[..]), (b"A", b"2")]);
    }

    #[test]
    fn headers() {
        let pairs = [
            ("HTTP_ACCEPT_LANGUAGE", "de"),
            ("HTTP_ACCEPT_LANGUAGE", "fr"),
            ("CONTENT_TYPE", "text/plain"),
            ("HTTP_CONTENT_TYPE", "other"),
            ("HTTP_X", ""),
        ];
        with(&pairs, |request| {
            for name in ["Accept-Language", "accept-language", "ACCEPT_LANGUAGE"] {
                assert_eq!(request.header(name), Some(&b"fr"[..]), "{name}");
            }
            assert_eq!(request.header_str("content-type"), Some("text/plain"));
            assert_eq!(request.header("Content-Length"), None);
            assert_eq!(request.header("X"), Some(&b""[..]));
            for name in ["", "Accept", "Accept-Language2", "Accept\u{2d}Languag\u{e9}"] {
                assert_eq!(request.header(name), None, "{name}");
            }
        });
    }

    #[test]
    fn cookies() {
        let pairs = [("HTTP_COOKIE", "a=1; b=\"x=y\";c = 3 ;;noise; a=2;=v;d="), ("HTTP_COOKIE", "e=5")];
        with(&pairs, |request| {
            let all: Vec<_> =
                request.cookies().map(|(name, value)| (name, str::from_utf8(value).expect("text"))).collect();
            let want = [("a", "1"), ("b", "\"x=y\""), ("c", "3"), ("a", "2"), ("", "v"), ("d", ""), ("e", "5")];
            assert_eq!(all, want.map(|(name, value)| (name.as_bytes(), value)));
            assert_eq!(request.cookie("a"), Some(&b"1"[..]));
            assert_eq!(request.cookie_str("e"), Some("5"));
            assert_eq!(request.cookie("noise"), None);
        });
        assert_eq!(with(&[], |request| request.cookies().count()), 0);
    }

    #[test]
    fn queries() {
        with(&[("QUERY_STRING", "a=1&b=x+y%21&&c&a=%ff")], |request| {
            assert_eq!(request.query(), "a=1&b=x+y%21&&c&a=%ff");
            let pairs: Vec<_> = request.query_pairs().collect();
            let want = [("a", "1"), ("b", "x y!"), ("c", ""), ("a", "\u{fffd}")];
            assert_eq!(pairs, want.map(|(name, value)| (name.into(), value.into())));
        });
        assert_eq!(with(&[], |request| (request.query().len(), request.query_pairs().count())), (0, 0));
    }

    #[test]
    fn addresses() {
        #[track_caller]
        fn check(value: &str, want: Option<&str>) {
            let got = with(&[("REMOTE_ADDR", value)], |request| request.remote_addr());
            assert_eq!(got.map(|address| address.to_string()).as_deref(), want);
        }
        check("192.0.2.1", Some("192.0.2.1"));
        check("2001:db8::1", Some("2001:db8::1"));
        check("fe80::1%eth0", Some("fe80::1"));
        check("::ffff:192.0.2.1", Some("192.0.2.1"));
        for none in ["", "unix:", "example.org", "192.0.2.1:80", "[::1]"] {
            check(none, None);
        }
        for (value, want) in [("192.0.2.7", true), ("2001:db8::7", true), ("", false), ("unix:/a.sock", false)] {
            let got = with(&[("SERVER_ADDR", value), ("REMOTE_ADDR", "192.0.2.1")], |request| request.server_addr());
            assert_eq!(got.map(|address| address.to_string()).as_deref(), want.then_some(value));
        }
    }

    #[test]
    fn ports() {
        #[track_caller]
        fn check(value: &str, want: Option<u16>) {
            assert_eq!(with(&[("REMOTE_PORT", value)], |request| request.remote_port()), want);
            assert_eq!(with(&[("SERVER_PORT", value)], |request| request.server_port()), want);
        }
        check("0", Some(0));
        check("65535", Some(65535));
        for none in ["65536", "-1", "", "http"] {
            check(none, None);
        }
        assert_eq!(with(&[], |request| (request.remote_port(), request.server_port())), (None, None));
    }

    #[test]
    fn hosts_and_schemes() {
        #[track_caller]
        fn check(pairs: &[(&str, &str)], want: (Option<&str>, &str)) {
            with(pairs, |request| assert_eq!((request.host(), request.scheme()), want));
        }
        check(&[], (None, "http"));
        check(&[("SERVER_NAME", "site"), ("HTTPS", "")], (Some("site"), "http"));
        check(&[("SERVER_NAME", "site"), ("HTTP_HOST", "host:8080"), ("HTTPS", "on")], (Some("host:8080"), "https"));
        check(&[("HTTPS", "OFF"), ("REQUEST_SCHEME", "https")], (None, "http"));
        check(&[("HTTPS", ""), ("REQUEST_SCHEME", "https")], (None, "https"));
    }

    #[test]
    fn the_rest_of_cgi() {
        type Look = for<'r> fn(&Request<'r>) -> Option<&'r str>;
        let looks: [(&str, Look); 11] = [
            ("PATH_TRANSLATED", |request| request.path_translated()),
            ("DOCUMENT_ROOT", |request| request.document_root()),
            ("CONTENT_TYPE", |request| request.content_type()),
            ("REMOTE_HOST", |request| request.remote_host()),
            ("REMOTE_USER", |request| request.remote_user()),
            ("REMOTE_IDENT", |request| request.remote_ident()),
            ("AUTH_TYPE", |request| request.auth_type()),
            ("SERVER_NAME", |request| request.server_name()),
            ("SERVER_PROTOCOL", |request| request.server_protocol()),
            ("SERVER_SOFTWARE", |request| request.server_software()),
            ("GATEWAY_INTERFACE", |request| request.gateway_interface()),
        ];
        for (name, look) in looks {
            for (value, want) in [("x", Some("x")), ("", None)] {
                with(&[(name, value)], |request| assert_eq!(look(&request), want, "{name}"));
            }
        }
    }

    #[test]
    fn what_is_not_utf_8_is_bytes_only() {
        let request = Request::new(Params::new(b"\x0b\x02SCRIPT_NAME/\xff\x0b\x04HTTP_COOKIEc=\xfe;\x0cHTTP_REFERERx"));
        assert_eq!(request.param("SCRIPT_NAME"), Some(&b"/\xff"[..]));
        assert_eq!((request.param_str("SCRIPT_NAME"), &request.path()[..]), (None, "/\u{fffd}"));
        assert_eq!((request.cookie("c"), request.cookie_str("c")), (Some(&b"\xfe"[..]), None));
        assert_eq!(request.header("Cookie"), Some(&b"c=\xfe;"[..]));
        assert_eq!(request.header_str("Cookie"), None);
        assert_eq!((&request.script_name()[..], request.method()), ("/\u{fffd}", "GET"));
        let request =
            Request::new(Params::new(b"\x0e\x03REQUEST_METHODP\xffT\x0c\x02QUERY_STRINGa\xff\x09\x01PATH_INFO\xfe"));
        assert_eq!(
            (request.method(), &request.query()[..], &request.path_info()[..]),
            ("\u{fffd}", "a\u{fffd}", "\u{fffd}")
        );
    }

    #[test]
    fn paths() {
        #[track_caller]
        fn check(pairs: &[(&str, &str)], want: &str) {
            assert_eq!(Request::new(Params::new(&encode(pairs))).path(), want);
        }
        check(&[("SCRIPT_NAME", "/a"), ("PATH_INFO", "/b"), ("REQUEST_URI", "/c")], "/a/b");
        check(&[("SCRIPT_NAME", "/a"), ("PATH_INFO", "")], "/a");
        check(&[("SCRIPT_NAME", ""), ("PATH_INFO", "/b")], "/b");
        check(&[("SCRIPT_NAME", ""), ("DOCUMENT_URI", "/d"), ("REQUEST_URI", "/c")], "/d");
        check(&[("REQUEST_URI", "/c?d=/e")], "/c");
        check(&[("REQUEST_URI", "?d")], "/");
        check(&[], "/");
    }

    #[test]
    fn the_parts_of_a_path() {
        #[track_caller]
        fn check(pairs: &[(&str, &str)], want: (&str, &str)) {
            with(pairs, |request| assert_eq!((&request.script_name()[..], &request.path_info()[..]), want));
        }
        check(&[("SCRIPT_NAME", "/a"), ("PATH_INFO", "/b c")], ("/a", "/b c"));
        check(&[("SCRIPT_NAME", ""), ("PATH_INFO", "/b")], ("", "/b"));
        check(&[("SCRIPT_NAME", "/a"), ("PATH_INFO", "")], ("/a", ""));
        check(&[("DOCUMENT_URI", "/d"), ("REQUEST_URI", "/c")], ("", ""));
    }

    #[test]
    fn content_lengths() {
        #[track_caller]
        fn check(value: &str, want: Option<u64>) {
            assert_eq!(Request::new(Params::new(&encode(&[("CONTENT_LENGTH", value)]))).content_length(), want);
        }
        check("0", Some(0));
        check("18446744073709551615", Some(u64::MAX));
        for promises_nothing in ["", "-1", "+1", "18446744073709551616", "1x", " 1", "x"] {
            check(promises_nothing, None);
        }
        assert_eq!(Request::new(Params::default()).content_length(), None);
    }
}
