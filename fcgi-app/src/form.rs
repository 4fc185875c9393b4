use std::borrow::Cow;
use std::fmt;
use std::io::{self, ErrorKind, Read};

use crate::Request;

/// A form that a browser sent as the body of a request, `application/x-www-form-urlencoded`.
///
/// ```
/// use fcgi_app::{Body, Form, Request, Response};
///
/// fn sign(request: &Request, body: &mut Body, out: &mut Response) -> std::io::Result<()> {
///     let form = match Form::read(request, body, 64 << 10) {
///         Ok(form) => form,
///         Err(error) => return out.status(error.status()).text(error),
///     };
///     out.text(format_args!("{} signs", form.get("name").as_deref().unwrap_or("nobody")))
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// As it came.
    encoded: Vec<u8>,
}

/// Why there is no form.
#[derive(Debug)]
#[non_exhaustive]
pub enum FormError {
    /// The body is something else: its `CONTENT_TYPE` is not `application/x-www-form-urlencoded`.
    ContentType,
    /// It has more bytes than this, the limit.
    TooLarge(usize),
    /// It ended before the `CONTENT_LENGTH` it came with.
    Cut(io::Error),
    /// Reading it failed: the web server gave it up, fell silent, or broke the protocol (see [`Body`](crate::Body)).
    Body(io::Error),
}

impl Form {
    /// Reads the body of `request` to its end, up to `limit` bytes.
    ///
    /// Only a body that says it is a form is taken for one, and no more is read of one whose `CONTENT_LENGTH` is over
    /// the limit already. It takes memory as its bytes come, at most twice `limit`, none of it from
    /// [`Limits::budget`](crate::Limits::budget).
    ///
    /// # Errors
    /// [`FormError`].
    pub fn read(request: &Request<'_>, body: impl Read, limit: usize) -> Result<Self, FormError> {
        if !request.content_type().is_some_and(is_form) {
            return Err(FormError::ContentType);
        }
        let most = u64::try_from(limit).unwrap_or(u64::MAX);
        if request.content_length().is_some_and(|length| length > most) {
            return Err(FormError::TooLarge(limit));
        }
        let mut encoded = Vec::new();
        match body.take(most.saturating_add(1)).read_to_end(&mut encoded) {
            Ok(length) if length > limit => Err(FormError::TooLarge(limit)),
            Ok(_) => Ok(Self { encoded }),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(FormError::Cut(error)),
            Err(error) => Err(FormError::Body(error)),
        }
    }

    /// The value of the first field called `name`, decoded.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.pairs().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// The names and values of all fields in the order in which they came, decoded: `+` is a blank, `%` begins a byte
    /// in hexadecimal digits, and what is not UTF-8 then becomes U+FFFD. Allocates only for what had to be decoded.
    pub fn pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(&self.encoded)
    }
}

impl FormError {
    /// The HTTP status that says it to the client: 415, 413 or 400, or 408 when the client fell silent.
    pub fn status(&self) -> u16 {
        match self {
            Self::ContentType => 415,
            Self::TooLarge(_) => 413,
            Self::Body(error) if error.kind() == ErrorKind::TimedOut => 408,
            Self::Cut(_) | Self::Body(_) => 400,
        }
    }
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContentType => f.write_str("the body is not application/x-www-form-urlencoded"),
            Self::TooLarge(limit) => write!(f, "the form has more than {limit} bytes"),
            Self::Cut(_) => f.write_str("the form was cut"),
            Self::Body(error) => write!(f, "the form cannot be read: {error}"),
        }
    }
}

impl std::error::Error for FormError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ContentType | Self::TooLarge(_) => None,
            Self::Cut(error) | Self::Body(error) => Some(error),
        }
    }
}

/// Whether a media type, perhaps with parameters behind it, is that of a form.
fn is_form(content_type: &str) -> bool {
    let media_type = content_type.split_once(';').map_or(content_type, |(media_type, _)| media_type);
    media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcgi_proto::Params;

    const FORM: &[u8] = b"\x0c\x21CONTENT_TYPEapplication/x-www-form-urlencoded";

    fn read(params: &[u8], body: impl Read, limit: usize) -> Result<Form, FormError> {
        Form::read(&Request::new(Params::new(params)), body, limit)
    }

    #[test]
    fn fields_are_decoded() {
        let form = read(FORM, &b"name=J%C3%BCrgen+M&x=1&x=2&empty=&bare&%26=%3d&bad=%fF%zz"[..], 100).expect("a form");
        let pairs: Vec<_> = form.pairs().collect();
        let want = [
            ("name", "J\u{fc}rgen M"),
            ("x", "1"),
            ("x", "2"),
            ("empty", ""),
            ("bare", ""),
            ("&", "="),
            ("bad", "\u{fffd}%zz"),
        ];
        assert_eq!(pairs, want.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(form.get("x").as_deref(), Some("1"));
        assert_eq!(form.get("y"), None);
    }

    #[test]
    fn the_limit_is_inclusive() {
        assert_eq!(read(FORM, &b"a=12"[..], 4).expect("it fits").get("a").as_deref(), Some("12"));
        assert!(matches!(read(FORM, &b"a=123"[..], 4), Err(FormError::TooLarge(4))));
        assert!(read(FORM, &b""[..], 0).is_ok());
        let announced = [FORM, b"\x0e\x01CONTENT_LENGTH5"].concat();
        let error = read(&announced, Broken(ErrorKind::Other), 4).expect_err("not even begun");
        assert_eq!((error.status(), &error.to_string()[..]), (413, "the form has more than 4 bytes"));
    }

    #[test]
    fn other_content_is_no_form() {
        for content_type in ["application/X-WWW-form-urlencoded ; charset=utf-8", "application/x-www-form-urlencoded;"]
        {
            assert!(is_form(content_type));
        }
        for params in [&b""[..], b"\x0c\x00CONTENT_TYPE", b"\x0c\x0aCONTENT_TYPEtext/plain"] {
            let error = read(params, &b"a=b"[..], 100).expect_err("no form");
            assert!(matches!(error, FormError::ContentType) && error.status() == 415);
        }
    }

    #[test]
    fn a_cut_form_is_told_from_other_errors() {
        let status = |kind| read(FORM, (&b"a=b"[..]).chain(Broken(kind)), 100).expect_err("it broke").status();
        assert!(matches!(read(FORM, Broken(ErrorKind::UnexpectedEof), 1), Err(FormError::Cut(_))));
        assert!(matches!(read(FORM, Broken(ErrorKind::ConnectionAborted), 1), Err(FormError::Body(_))));
        let kinds = [ErrorKind::UnexpectedEof, ErrorKind::TimedOut, ErrorKind::InvalidData];
        assert_eq!(kinds.map(status), [400, 408, 400]);
    }

    struct Broken(ErrorKind);

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
    }
}
