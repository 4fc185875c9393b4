//! Fills in a page: an application in the Filter role, which gets a file along with the request.
//!
//! `<!--#echo var="NAME" -->` becomes the value of the param NAME, as in server-side includes. The file goes
//! through line by line. (None of today's web servers asks for a Filter; `fcgi_app::client` and `fcgi-get` do.)
//!
//! In the root of a clone, after `cargo build --release`:
//!
//! ```sh
//! echo '<p>Hello, <!--#echo var="NAME" -->!' >/tmp/page.html
//! target/release/fcgi-spawn -n -s /tmp/filter.sock -- target/release/filter
//! # in another terminal
//! target/release/fcgi-get --role filter --file /tmp/page.html --param NAME=Ann \
//!     unix:/tmp/filter.sock /page.html                        # <p>Hello, Ann!
//! ```

use std::io::{self, BufRead, Read, Write};

use fcgi_app::{Body, Request, Response, Roles};

const BEGIN: &[u8] = b"<!--#echo var=\"";
const END: &[u8] = b"\" -->";

/// Of a longer line, a directive that lies across this place is left as it is.
const LONGEST_LINE: u64 = 64 << 10;

fn main() -> fcgi_app::Result {
    fcgi_app::run(Roles::new().filter(fill_in))
}

fn fill_in(request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
    let file = body.data()?;
    out.content_type("text/html; charset=utf-8");
    let mut line = Vec::new();
    while file.take(LONGEST_LINE).read_until(b'\n', &mut line)? > 0 {
        write_line(&line, request, out)?;
        line.clear();
    }
    Ok(())
}

fn write_line(mut line: &[u8], request: &Request, out: &mut Response) -> io::Result<()> {
    while let Some((before, name, after)) = split(line) {
        out.write_all(before)?;
        write_text(request.param(name).unwrap_or(b"(none)"), out)?;
        line = after;
    }
    out.write_all(line)
}

/// The first directive in a line: what stands before it, its name, what stands behind it.
fn split(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (before, rest) = split_at(line, BEGIN)?;
    let (name, after) = split_at(rest, END)?;
    Some((before, name, after))
}

fn split_at<'l>(line: &'l [u8], mark: &[u8]) -> Option<(&'l [u8], &'l [u8])> {
    let at = line.windows(mark.len()).position(|bytes| bytes == mark)?;
    Some((&line[..at], &line[at + mark.len()..]))
}

/// Writes text so that it is no markup.
fn write_text(text: &[u8], out: &mut Response) -> io::Result<()> {
    for &byte in text {
        match byte {
            b'<' | b'>' | b'&' | b'"' | b'\'' => write!(out, "&#{byte};")?,
            byte => out.write_all(&[byte])?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcgi_app::test::{Application, Request as Asked, Role};

    #[track_caller]
    fn check(file: impl AsRef<[u8]>, want: impl AsRef<[u8]>) {
        let asked = Asked::new("GET", "/page").role(Role::Filter).param("X", "<&y>").body("skipped").data(&file);
        let answer = Application::new(Roles::new().filter(fill_in)).call(asked).expect("an answer");
        assert_eq!((answer.status(), answer.body()), (200, want.as_ref()));
    }

    #[test]
    fn params_are_filled_in() {
        check("", "");
        check("plain\n<p>", "plain\n<p>");
        check("a<!--#echo var=\"REQUEST_METHOD\" -->b<!--#echo var=\"X\" -->", "aGETb&#60;&#38;y&#62;");
        check("<!--#echo var=\"NO\" -->\r\n", "(none)\r\n");
        check("<!--#echo var=\"X", "<!--#echo var=\"X");
        check("<!--#exec cmd=\"ls\" -->", "<!--#exec cmd=\"ls\" -->");
        check(b"\xff<!--#echo var=\"REQUEST_METHOD\" -->\xfe", b"\xffGET\xfe");
        let long = format!("{}<!--#echo var=\"REQUEST_METHOD\" -->", "x".repeat(200_000));
        check(long, format!("{}GET", "x".repeat(200_000)));
    }
}
