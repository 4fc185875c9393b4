//! What can go wrong with a request.

use std::io;

/// Why a request was not answered as it should have been.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub(super) class: Class,
    /// For people: what exactly happened.
    pub(super) why: String,
}

/// The kinds of failure that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Class {
    /// No connection was to be had, most often since nobody listens.
    Connect,
    /// The connection ended before any byte of the answer.
    Unanswered,
    /// The connection ended within the answer.
    Cut,
    /// The answer is not the expected one, or none that FastCGI and CGI allow.
    Wrong,
    /// The application ended the request without carrying it out, as `FCGI_OVERLOADED` says.
    Refused,
    /// The answer, or a place in the application's queue, took too long.
    Timeout,
}

impl Class {
    pub(super) const ALL: [Self; 6] =
        [Self::Connect, Self::Unanswered, Self::Cut, Self::Wrong, Self::Refused, Self::Timeout];

    /// One word, in the summary and in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Unanswered => "unanswered",
            Self::Cut => "cut",
            Self::Wrong => "wrong",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
        }
    }
}

impl Failure {
    pub(super) fn new(class: Class, why: impl Into<String>) -> Self {
        Self { class, why: why.into() }
    }

    pub(super) fn wrong(why: impl Into<String>) -> Self {
        Self::new(Class::Wrong, why)
    }
}

/// Why the system refused something, in its words, without std's "(os error 2)" behind.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_no_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(reason(&io::Error::other("odd")), "odd");
    }

    #[test]
    fn every_class_is_at_its_place() {
        for (index, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
        }
    }
}
