use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::Response;
use crate::redirect::percent_encode;

/// A size that need not be one: files of /proc say 0, those of sysfs a page.
const PAGE: u64 = 4096;

/// Bytes read from a source at once: with a header section in front they still fit a record.
const CHUNK: u64 = 56 << 10;

impl Response<'_> {
    /// Sends a file as the body, from where it stands to its end.
    ///
    /// A regular file's size becomes the `Content-Length`. It is read in pieces of up to 56 KiB, each of which costs
    /// one read and one write; for HEAD it is not read at all. One of up to 4096 bytes is read first, and what was read is
    /// sent: the sizes of files in /proc and sysfs mean nothing. Set the `Content-Type` first.
    ///
    /// # Errors
    /// Those of reading the file and of sending; `UnexpectedEof` when it became shorter meanwhile. What it grew by
    /// is not sent.
    pub fn send_file(&mut self, mut file: File) -> io::Result<()> {
        let metadata = file.metadata()?;
        let length = match metadata.is_file() {
            true => Some(metadata.len().saturating_sub(io::Seek::stream_position(&mut file)?)),
            false => None,
        };
        let Some(size @ ..=PAGE) = length else { return self.send_from(file, length) };
        let mut content = Vec::new();
        (&mut file).take(PAGE + 1).read_to_end(&mut content)?;
        match content.len() as u64 {
            read if read > size => self.send_from(io::Cursor::new(content).chain(file), None),
            read => self.send_from(&content[..], Some(read)),
        }
    }

    /// Sends what `source` gives as the body.
    ///
    /// With a `length`, that becomes the `Content-Length`, no more than that is read, and nothing for HEAD; without one
    /// it is read to its end. It is read in pieces of up to 56 KiB, which are the memory this takes; each is sent at
    /// once, or together with the end of the answer if it is smaller than 8 KiB. If part of the body was sent before,
    /// no `Content-Length` is added.
    ///
    /// # Errors
    /// Those of reading `source` and of sending; `UnexpectedEof` when `source` ends before its `length`.
    pub fn send_from(&mut self, source: impl Read, length: Option<u64>) -> io::Result<()> {
        if let Some(length) = length {
            if self.begin_body(length) {
                return Ok(());
            }
        }
        let most = length.unwrap_or(u64::MAX);
        let mut source = source.take(most);
        let mut chunk = vec![0; most.min(CHUNK) as usize];
        let mut sent = 0;
        while sent < most {
            match source.read(&mut chunk) {
                Ok(0) if length.is_none() => break,
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the body is shorter than its length")),
                Ok(read) => {
                    self.write_all(&chunk[..read])?;
                    sent += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Has nginx send what it finds at `path` instead of a body: a path in a `location` that is `internal` there.
    ///
    /// `path` is percent-encoded, so it may be any bytes. nginx keeps the `Content-Type` and the cookies of this
    /// answer.
    pub fn x_accel_redirect(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.send_instead("X-Accel-Redirect", path.as_ref())
    }

    /// Has lighttpd (`"x-sendfile" => "enable"`) or Apache with mod_xsendfile send the file `path` instead of a body.
    ///
    /// `path` is absolute; it is percent-encoded, which both decode, so it may be any bytes. Both keep the
    /// `Content-Type` and the cookies of this answer.
    pub fn x_sendfile(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.send_instead("X-Sendfile", path.as_ref())
    }

    fn send_instead(&mut self, header: &str, path: &Path) -> &mut Self {
        let path = path.as_os_str().as_bytes();
        if !path.starts_with(b"/") {
            return self.refuse("a web server sends files by absolute paths");
        }
        self.replaced().set(header, percent_encode(path, |byte| byte == b'/'))
    }
}
