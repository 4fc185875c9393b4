use std::fmt;
use std::time::Duration;

/// A cookie for the client to keep, RFC 6265; [`Response::cookie`](crate::Response::cookie) sends it.
///
/// Unless told otherwise it is for the whole site (`Path=/`), ends with the browser's session, is out of reach for
/// scripts (`HttpOnly`), and other sites cannot make use of it but by a link (`SameSite=Lax`). Add
/// [`secure`](Self::secure) where the site has TLS.
///
/// ```
/// use fcgi_app::{Cookie, SameSite};
/// use std::time::Duration;
///
/// let day = Duration::from_secs(24 * 60 * 60);
/// let cookie = Cookie::new("session", "f3a9").secure().same_site(SameSite::Strict).max_age(day);
/// assert_eq!(cookie.to_string(), "session=f3a9; Path=/; Max-Age=86400; Secure; HttpOnly; SameSite=Strict");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie<'a> {
    name: &'a str,
    value: &'a str,
    path: &'a str,
    domain: Option<&'a str>,
    max_age: Option<Duration>,
    secure: bool,
    http_only: bool,
    same_site: SameSite,
}

/// With which requests from other sites a client sends a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// With none.
    Strict,
    /// Only when a link is followed.
    Lax,
    /// With all; the cookie has to be [`secure`](Cookie::secure).
    None,
}

impl<'a> Cookie<'a> {
    /// A cookie with this name and value, neither of which is encoded in any way.
    pub const fn new(name: &'a str, value: &'a str) -> Self {
        Self {
            name,
            value,
            path: "/",
            domain: None,
            max_age: None,
            secure: false,
            http_only: true,
            same_site: SameSite::Lax,
        }
    }

    /// What makes the client forget the cookie of this name; path and domain have to be those it was set with.
    pub const fn removal(name: &'a str) -> Self {
        Self::new(name, "").max_age(Duration::ZERO)
    }

    /// Sets below which path it is sent.
    #[must_use]
    pub const fn path(mut self, path: &'a str) -> Self {
        self.path = path;
        self
    }

    /// Has it sent to this domain and all hosts in it, instead of this host only.
    #[must_use]
    pub const fn domain(mut self, domain: &'a str) -> Self {
        self.domain = Some(domain);
        self
    }

    /// Sets how long it is kept, in whole seconds; none of them removes it.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Has it sent over TLS only.
    #[must_use]
    pub const fn secure(mut self) -> Self {
        self.secure = true;
        self
    }

    /// Sets whether scripts are kept from it.
    #[must_use]
    pub const fn http_only(mut self, on: bool) -> Self {
        self.http_only = on;
        self
    }

    /// Sets with which requests from other sites it is sent.
    #[must_use]
    pub const fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// What clients would misread in it, if anything.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if !crate::response::is_token(self.name) {
            Some("invalid cookie name")
        } else if !self.value.bytes().all(is_cookie_octet) {
            Some(
                "a cookie value has no blanks, quotes, commas, semicolons, backslashes, control or non-ASCII characters",
            )
        } else if ![self.path, self.domain.unwrap_or_default()].into_iter().all(is_attribute) {
            Some("the path and the domain of a cookie have no semicolons, control or non-ASCII characters")
        } else if self.same_site == SameSite::None && !self.secure {
            Some("a cookie with SameSite=None has to be secure")
        } else {
            None
        }
    }
}

/// The value of its `Set-Cookie` header.
impl fmt::Display for Cookie<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}; Path={}", self.name, self.value, self.path)?;
        if let Some(domain) = self.domain {
            write!(f, "; Domain={domain}")?;
        }
        if let Some(age) = self.max_age {
            write!(f, "; Max-Age={}", age.as_secs())?;
        }
        if self.secure {
            f.write_str("; Secure")?;
        }
        if self.http_only {
            f.write_str("; HttpOnly")?;
        }
        write!(f, "; SameSite={:?}", self.same_site)
    }
}

/// RFC 6265 section 4.1.1.
fn is_cookie_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

fn is_attribute(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes() {
        #[track_caller]
        fn check(cookie: Cookie<'_>, want: &str) {
            assert_eq!((cookie.fault(), &cookie.to_string()[..]), (None, want));
        }
        check(Cookie::new("a", "b"), "a=b; Path=/; HttpOnly; SameSite=Lax");
        check(Cookie::removal("a"), "a=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
        let all = Cookie::new("a", "b=c").path("/x y").domain("example.org").max_age(Duration::from_millis(1999));
        check(
            all.secure().http_only(false).same_site(SameSite::None),
            "a=b=c; Path=/x y; Domain=example.org; Max-Age=1; Secure; SameSite=None",
        );
    }

    #[test]
    fn faults() {
        let good = Cookie::new("a", "b");
        for name in ["", "a b", "a=b", "a;", "a\r\nX: y", "\u{e9}"] {
            assert!(Cookie::new(name, "b").fault().is_some(), "{name:?}");
        }
        for value in [" ", "a b", "\"a\"", "a,b", "a;b", "a\\b", "a\0", "a\n", "\u{e9}", "\x7f"] {
            assert!(Cookie::new("a", value).fault().is_some(), "{value:?}");
            let in_attributes = value.contains([';', '\0', '\n', '\u{e9}', '\x7f']);
            assert_eq!(good.path(value).fault().is_some(), in_attributes, "{value:?}");
            assert_eq!(good.domain(value).fault().is_some(), in_attributes, "{value:?}");
        }
        assert!(good.same_site(SameSite::None).fault().is_some());
    }
}
