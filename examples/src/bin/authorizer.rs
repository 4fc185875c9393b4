//! Lets requests through that carry a token it knows: an application in the Authorizer role.
//!
//! The tokens are in the file that the variable `TOKENS` names, else `/etc/tokens`, in lines `USER TOKEN`. A request with
//! `Authorization: Bearer TOKEN` goes on as that user's, in the variable `REMOTE_USER`; any other is answered 401.
//!
//! In the root of a clone, after `cargo build --release`:
//!
//! ```sh
//! echo 'ann secret' >/tmp/tokens
//! TOKENS=/tmp/tokens target/release/fcgi-spawn -n -s /tmp/authorizer.sock -- target/release/authorizer
//! # in another terminal
//! target/release/fcgi-get -i --role authorizer --param 'HTTP_AUTHORIZATION=Bearer secret' \
//!     unix:/tmp/authorizer.sock /private                      # Variable-REMOTE_USER: ann
//! ```
//!
//! In lighttpd (`examples/servers/lighttpd.conf` is a whole configuration):
//!
//! ```text
//! fastcgi.server = ( "/private" => (( "socket" => "/run/authorizer.sock", "mode" => "authorizer" )) )
//! ```

use std::{env, fs, io};

use fcgi_app::{Request, Response, Roles};

fn main() -> fcgi_app::Result {
    let path = env::var_os("TOKENS").unwrap_or_else(|| "/etc/tokens".into());
    // Read for each request: a token that was taken out is of no use from then on.
    fcgi_app::run(Roles::new().authorizer(move |request: &Request, out: &mut Response| {
        let known = fs::read_to_string(&path)?;
        authorize(&known, request, out)
    }))
}

fn authorize(known: &str, request: &Request, out: &mut Response) -> io::Result<()> {
    let token = request
        .param("HTTP_AUTHORIZATION")
        .and_then(|value| value.strip_prefix(b"Bearer "))
        .filter(|token| !token.is_empty());
    match token.and_then(|token| user_of(known, token)) {
        Some(user) => {
            out.variable("REMOTE_USER", user);
            Ok(())
        }
        None => out.status(401).set("WWW-Authenticate", "Bearer").text("a token is needed\n"),
    }
}

/// The user whose token this is.
fn user_of<'k>(known: &'k str, token: &[u8]) -> Option<&'k str> {
    let mut users = known.lines().filter_map(|line| line.split_once(' '));
    users.find(|(_, known)| is_same(known.as_bytes(), token)).map(|(user, _)| user)
}

/// Compares in a time that says nothing of how many bytes are right.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcgi_app::test::{Answer, Application, Error, Request as Asked, Role};

    fn ask(authorization: &str) -> Result<Answer, Error> {
        let known = "ann secret\nbob other\nnobody \n";
        let guard = move |request: &Request, out: &mut Response| authorize(known, request, out);
        let asked = Asked::new("GET", "/private").role(Role::Authorizer).param("HTTP_AUTHORIZATION", authorization);
        Application::new(Roles::new().authorizer(guard)).call(asked)
    }

    #[test]
    fn who_has_a_token_goes_on_by_name() -> Result<(), Error> {
        for (token, user) in [("secret", "ann"), ("other", "bob")] {
            let answer = ask(&format!("Bearer {token}"))?;
            assert_eq!((answer.status(), answer.header("Variable-REMOTE_USER")), (200, Some(user)));
        }
        Ok(())
    }

    #[test]
    fn nobody_else_does() -> Result<(), Error> {
        for authorization in
            ["", "Bearer", "Bearer ", "Bearer x", "Bearer secretx", "Bearer ann", "secret", "Basic secret"]
        {
            let answer = ask(authorization)?;
            assert_eq!((answer.status(), answer.header("WWW-Authenticate")), (401, Some("Bearer")), "{authorization}");
            assert_eq!(answer.header("Variable-REMOTE_USER"), None);
        }
        Ok(())
    }
}
