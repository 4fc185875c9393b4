//! What was asked for, ready to be carried out: files read, names looked up, the bytes of the requests made.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::answer::{Expectation, ExpectedBody};
use super::failure::reason;
use super::options::{Body, Expect, Mode, Options};
use super::params::Params;
use super::request::{self, Wire};
use super::target::Target;

/// The most memory that requests may take, in bytes: one for each id that is used at the same time.
const MAX_REQUESTS: usize = 2 << 30;

/// What every thread does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) mode: Mode,
    /// How long nothing is sent on a connection after all requests on it were answered.
    pub(super) pause: Duration,
    /// The request with id 1, of the one with id 2, and so on.
    pub(super) requests: Vec<Wire>,
    pub(super) want: Expectation,
    pub(super) timeout: Duration,
    /// What is sent, in words.
    pub(super) sends: String,
}

impl Plan {
    /// Makes everything ready; an error is one line for the user.
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let body = match &options.body {
            None => None,
            Some(Body::Bytes(count)) => Some((b'a'..=b'z').cycle().take(*count).collect()),
            Some(Body::File(path)) => Some(read(path)?),
        };
        let mut params = Params::new(&options.script, body.as_ref().map(Vec::len));
        for (name, value) in &options.params {
            params.set(name, value);
        }
        let content_length = params.get(b"REQUEST_METHOD") != Some(b"HEAD");
        let sends = match &body {
            None => format!("{}, {} params", options.script, params.len()),
            Some(body) => format!("{}, {} params, a body of {} bytes", options.script, params.len(), body.len()),
        };

        let body = body.unwrap_or_default();
        let ids = 1..=options.mode.at_once();
        if body.len().saturating_mul(ids.len()) > MAX_REQUESTS {
            return Err(format!("--multiplex {} with a body of {} bytes is too much", ids.len(), body.len()));
        }
        let requests = ids.map(|id| request::encode(id, options.mode.keeps(), &params, &body)).collect();
        let expected = match &options.expect {
            Expect::Anything => ExpectedBody::Any,
            Expect::Length(length) => ExpectedBody::Length(*length),
            Expect::Text(text) => ExpectedBody::Exactly(text.clone()),
            Expect::File(path) => ExpectedBody::Exactly(read(path)?),
            Expect::Echo => ExpectedBody::Exactly(body),
        };
        Ok(Self {
            target: Target::find(&options.address, options.timeout)?,
            mode: options.mode,
            pause: options.pause,
            requests,
            want: Expectation { status: options.status, body: expected, content_length },
            timeout: options.timeout,
            sends,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read '{}': {}", path.display(), reason(&error)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::options::Command;
    use super::*;

    fn plan(line: &str) -> Result<Plan, String> {
        let line = format!("fcgi-bench unix:/s {line}");
        match Options::parse(line.split_whitespace().map(OsString::from)) {
            Ok(Command::Run(options)) => Plan::new(&options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_for_each_id() {
        let plan = plan("--multiplex 3 --body 30 --expect-echo --param X=y").expect("a good plan");
        let ids: Vec<_> = plan.requests.iter().map(|wire| (wire.bytes[2], wire.bytes[3], wire.bytes[10])).collect();
        assert_eq!(ids, [(0, 1, 1), (0, 2, 1), (0, 3, 1)]); // with FCGI_KEEP_CONN
        assert_eq!(plan.sends, "/, 27 params, a body of 30 bytes");
        let ExpectedBody::Exactly(body) = plan.want.body else { panic!("{:?}", plan.want) };
        assert_eq!(body, b"abcdefghijklmnopqrstuvwxyzabcd");
    }

    #[test]
    fn a_connection_for_a_request_is_not_kept() {
        let plan = plan("--per-request --param REQUEST_METHOD=HEAD").expect("a good plan");
        assert_eq!(plan.requests.iter().map(|wire| wire.bytes[10]).collect::<Vec<_>>(), [0]);
        assert!(!plan.want.content_length);
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let missing = plan("--body @/nowhere/x").map(|_| ());
        assert_eq!(missing, Err("cannot read '/nowhere/x': No such file or directory".into()));
        let huge = plan("--body 3000000 --multiplex 1000").map(|_| ());
        assert_eq!(huge, Err("--multiplex 1000 with a body of 3000000 bytes is too much".into()));
    }
}
