//! A form: shows it, reads what comes back, and shows that as the text it is, whatever markup it has.
//!
//! In the root of a clone, after `cargo build --release`, with the page at <http://127.0.0.1:8080/>:
//!
//! ```sh
//! target/release/fcgi-spawn -s /tmp/form.sock -P /tmp/form.pid -- target/release/form
//! target/release/http-gateway --connect unix:/tmp/form.sock
//! # in another terminal
//! curl 'http://127.0.0.1:8080/?name=Ann'                      # value="Ann"
//! curl -d 'name=<Ann>&message=Hello' http://127.0.0.1:8080/   # Thank you, &#60;Ann&#62;
//! kill $(cat /tmp/form.pid)
//! ```

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use fcgi_app::{Body, Form, Request, Response};

/// The longest form that is read, in bytes.
const LIMIT: usize = 64 << 10;

fn main() -> fcgi_app::Result {
    fcgi_app::run(route)
}

fn route(request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    match request.method() {
        "GET" | "HEAD" => {
            let name = request.query_pairs().find(|(field, _)| field == "name");
            ask(out, "", name.as_ref().map_or("", |(_, name)| name))
        }
        "POST" => match Form::read(request, body, LIMIT) {
            Ok(form) => take(&form, out),
            Err(error) => out.status(error.status()).text(error),
        },
        method => out.status(405).set("Allow", "GET, HEAD, POST").text(format_args!("{method} is not for forms")),
    }
}

/// The form, with the name filled in.
fn ask(out: &mut Response, why: &str, name: &str) -> io::Result<()> {
    out.html(format_args!(
        "<!DOCTYPE html>\n<title>form</title>\n<p>{}</p>\n<form method=post accept-charset=utf-8>\n\
         <label>Name <input name=name value=\"{}\"></label>\n\
         <label>Message <textarea name=message></textarea></label>\n<button>Send</button>\n</form>\n",
        Html(why),
        Html(name)
    ))
}

/// What was sent, field by field. An application would keep it, and redirect to what it has made of it:
/// `out.redirect(303, "/messages/7")`.
fn take(form: &Form, out: &mut Response) -> io::Result<()> {
    let Some(name) = form.get("name").filter(|name| !name.trim().is_empty()) else {
        return ask(out.status(422), "Who are you?", "");
    };
    out.no_store().html(format_args!("<!DOCTYPE html>\n<title>form</title>\n<h1>Thank you, {}</h1>\n", Html(&name)))?;
    writeln!(out, "<table>")?;
    for (field, value) in form.pairs() {
        writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", Html(&field), Html(&value))?;
    }
    writeln!(out, "</table>")
}

/// Text as HTML shows it: what a client sends must not become markup.
struct Html<'t>(&'t str);

impl Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' | '>' | '&' | '"' | '\'' => write!(f, "&#{};", u32::from(c)),
            c => f.write_char(c),
        })
    }
}
