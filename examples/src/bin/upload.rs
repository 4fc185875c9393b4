//! Uploads: a `PUT` or `POST` of `/upload/photo.jpg` puts `photo.jpg` into a directory.
//!
//! In the root of a clone, after `cargo build --release`:
//!
//! ```sh
//! mkdir -p /tmp/uploads
//! UPLOAD_DIR=/tmp/uploads target/release/fcgi-spawn -s /tmp/upload.sock -P /tmp/upload.pid -- target/release/upload
//! target/release/http-gateway --connect unix:/tmp/upload.sock
//! # in another terminal
//! curl -T LICENSE-MIT http://127.0.0.1:8080/upload/           # LICENSE-MIT: 1086 bytes
//! kill $(cat /tmp/upload.pid)
//! ```
//!
//! | variable | meaning |
//! |---|---|
//! | `UPLOAD_DIR` | the directory |
//! | `UPLOAD_LIMIT` | the largest upload, in bytes; 16 MiB if it is not set |
//!
//! A body flows into a file as it comes, in as little memory as a small one. Nobody sees the file under its name
//! before it is there whole and on the disk, and of an upload that was cut nothing stays.

use std::fs::Permissions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{ExitCode, Termination};
use std::{env, fs};

use fcgi_app::{Body, Request, Response};

fn main() -> ExitCode {
    match Uploads::from_environment() {
        Ok(uploads) => {
            let take = move |request: &Request, body: &mut Body, out: &mut Response| uploads.take(request, body, out);
            fcgi_app::run(take).report()
        }
        Err(why) => {
            eprintln!("upload: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Where uploads go, and how large they may be.
struct Uploads {
    folder: PathBuf,
    limit: u64,
}

impl Uploads {
    fn from_environment() -> Result<Self, String> {
        let folder = PathBuf::from(env::var_os("UPLOAD_DIR").ok_or("UPLOAD_DIR has to name a folder")?);
        match fs::metadata(&folder) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(format!("UPLOAD_DIR '{}' is no folder", folder.display())),
            Err(error) => return Err(format!("cannot use UPLOAD_DIR '{}': {error}", folder.display())),
        }
        let limit = match env::var("UPLOAD_LIMIT") {
            Ok(text) => text.parse().map_err(|_| format!("UPLOAD_LIMIT '{text}' is no number of bytes"))?,
            Err(_) => 16 << 20,
        };
        Ok(Self { folder, limit })
    }

    fn take(&self, request: &Request, body: &mut Body, out: &mut Response) -> io::Result<()> {
        if !matches!(request.method(), "PUT" | "POST") {
            return out.status(405).set("Allow", "PUT, POST").text("send a file with PUT or POST\n");
        }
        let path = request.path();
        let name = path.rsplit('/').next().unwrap_or_default();
        if !is_plain(name) {
            return out.status(400).text("a name has up to 100 letters, digits, '.', '-' and '_', no '.' in front\n");
        }
        if request.content_length().is_some_and(|length| length > self.limit) {
            return self.refuse(out);
        }
        // It removes itself, unless it gets its name; the permissions are less the umask, as those of any new file.
        let new = tempfile::Builder::new().prefix(".upload-").permissions(Permissions::from_mode(0o666)).to_owned();
        let mut file = new.tempfile_in(&self.folder)?;
        let length = match io::copy(&mut body.take(self.limit.saturating_add(1)), file.as_file_mut()) {
            Ok(length) if length > self.limit => return self.refuse(out),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return out.status(400).text("the upload was cut\n");
            }
            Err(error) => return Err(error),
        };
        file.as_file().sync_all()?;
        match file.persist_noclobber(self.folder.join(name)) {
            Ok(_) => out.status(201).text(format_args!("{name}: {length} bytes\n")),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
                out.status(409).text(format_args!("{name} is there already\n"))
            }
            Err(error) => Err(error.error),
        }
    }

    fn refuse(&self, out: &mut Response) -> io::Result<()> {
        out.status(413).text(format_args!("an upload has at most {} bytes\n", self.limit))
    }
}

/// Whether a name means a file in the folder and nothing else.
fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=100).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}
