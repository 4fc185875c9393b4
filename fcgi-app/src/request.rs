use std::str;

use fcgi_proto::Params;

/// What a web server says of a request: its params, as they came.
///
/// Names and values are bytes, with `&str` helpers. `HTTP_PROXY` is never handed out, by look-up or iteration: it is
/// a header of the client's choice that programs mistake for their proxy configuration. Nothing is mixed in from the
/// process's environment or from another request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    params: Params<'r>,
}

impl<'r> Request<'r> {
    pub(crate) fn new(params: Params<'r>) -> Self {
        Self { params }
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

    /// `REQUEST_METHOD`; `"GET"` when it is missing or no text.
    pub fn method(&self) -> &'r str {
        self.param_str("REQUEST_METHOD").unwrap_or("GET")
    }

    /// The path that was asked for: `SCRIPT_NAME` with `PATH_INFO` behind it if one of them has something, else
    /// `DOCUMENT_URI`, else `REQUEST_URI` up to its `?`, else `"/"`.
    pub fn path(&self) -> std::borrow::Cow<'r, str> {
        let text = |name| self.param_str(name).unwrap_or_default();
        match (text("SCRIPT_NAME"), text("PATH_INFO")) {
            ("", "") => {
                let uri = text("REQUEST_URI");
                let uri = uri.split_once('?').map_or(uri, |(path, _)| path);
                [text("DOCUMENT_URI"), uri, "/"].into_iter().find(|path| !path.is_empty()).unwrap_or("/").into()
            }
            (script, "") => script.into(),
            ("", info) => info.into(),
            (script, info) => [script, info].concat().into(),
        }
    }

    /// `CONTENT_LENGTH` as a number; `None` when it is absent, empty, negative, too large for 64 bits or no number.
    /// What it promises is not what comes: the end of the body is the end of its stream.
    pub fn content_length(&self) -> Option<u64> {
        self.length("CONTENT_LENGTH")
    }

    /// `FCGI_DATA_LENGTH`, the length of the file a [`Filter`](crate::Filter) is given, read likewise.
    pub fn data_length(&self) -> Option<u64> {
        self.length("FCGI_DATA_LENGTH")
    }

    fn length(&self, name: &str) -> Option<u64> {
        let digits = self.param_str(name)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    }
}

fn is_hidden(name: &[u8]) -> bool {
    name == b"HTTP_PROXY"
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

    #[test]
    fn http_proxy_is_not_there() {
        let bytes = encode(&[("A", "1"), ("HTTP_PROXY", "evil"), ("A", "2")]);
        let request = Request::new(Params::new(&bytes));
        assert_eq!(request.param("HTTP_PROXY"), None);
        assert_eq!(request.param_str("A"), Some("2"));
        let all: Vec<_> = request.params().collect();
        assert_eq!(all, [(&b"A"[..], &b"1"[..]), (b"A", b"2")]);
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
        check(&[], "/");
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
