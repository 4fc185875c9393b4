//! Which program a request is for, and its environment. RFC 3875 section 4.1.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fcgi_app::Request;
use percent_encoding::percent_decode;

/// Why no program is run.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) why: String,
}

/// A program's file, and where in the request's path it is.
#[derive(Debug, PartialEq)]
pub(super) struct Script {
    pub(super) file: PathBuf,
    /// `SCRIPT_NAME`.
    name: Vec<u8>,
    /// `PATH_INFO`.
    path_info: Vec<u8>,
}

impl Script {
    /// Finds the program: the longest front of the path that is a file. What follows it is `PATH_INFO`.
    pub(super) fn find(request: &Request<'_>, allowed: &[PathBuf]) -> Result<Self, Refusal> {
        let param = |name| request.param(name).unwrap_or_default();
        let (name, path_info) = (param("SCRIPT_NAME"), param("PATH_INFO"));
        let script = match without_proxy(param("SCRIPT_FILENAME")) {
            b"" => {
                let (root, path) = (param("DOCUMENT_ROOT"), [name, path_info].concat());
                if root.is_empty() {
                    return refuse(404, "the web server sent neither SCRIPT_FILENAME nor DOCUMENT_ROOT");
                }
                let file = existing(&[root, &path].concat(), root.len())?;
                let at = file.len() - root.len();
                Self { file: to_path(&file), name: path[..at].to_vec(), path_info: path[at..].to_vec() }
            }
            path => {
                let file = existing(path, 1)?;
                let rest = &path[file.len()..];
                let path_info = if rest.ends_with(path_info) { rest.to_vec() } else { [rest, path_info].concat() };
                // Some servers send the whole path as the name.
                let is_whole = !rest.is_empty() || name == param("DOCUMENT_URI") || name == url_path(request);
                let name = name.strip_suffix(&path_info[..]).filter(|_| is_whole).unwrap_or(name);
                Self { file: to_path(&file), name: name.to_vec(), path_info }
            }
        };
        script.check(allowed)?;
        Ok(script)
    }

    fn check(&self, allowed: &[PathBuf]) -> Result<(), Refusal> {
        if allowed.is_empty() {
            return Ok(());
        }
        match fs::canonicalize(&self.file) {
            Ok(real) if allowed.iter().any(|allowed| real.starts_with(allowed)) => Ok(()),
            Ok(_) => refuse(403, &format!("'{}' is nothing that --allow names", self.file.display())),
            Err(error) => refuse(403, &format!("'{}' cannot be resolved: {error}", self.file.display())),
        }
    }

    /// What the program is told of the request: its params, less what no environment can hold, and put right.
    pub(super) fn environment(&self, request: &Request<'_>) -> Vec<(OsString, OsString)> {
        const OURS: [&[u8]; 7] = [
            b"CONTENT_LENGTH",
            b"FCGI_ROLE",
            b"GATEWAY_INTERFACE",
            b"PATH_INFO",
            b"PATH_TRANSLATED",
            b"SCRIPT_FILENAME",
            b"SCRIPT_NAME",
        ];
        let is_theirs = |name: &[u8], value: &[u8]| {
            !name.is_empty()
                && !name.iter().any(|byte| b"=\0".contains(byte))
                && !value.contains(&0)
                && !OURS.contains(&name)
        };
        let mut environment = vec![pair(b"QUERY_STRING", b"")];
        environment.extend(
            request.params().filter(|(name, value)| is_theirs(name, value)).map(|(name, value)| pair(name, value)),
        );
        environment.push(pair(b"GATEWAY_INTERFACE", b"CGI/1.1"));
        environment.push(pair(b"SCRIPT_NAME", &self.name));
        environment.push(pair(b"SCRIPT_FILENAME", self.file.as_os_str().as_bytes()));
        // What is not known is absent, so that nobody takes -1 or nothing at all for a number.
        if let Some(length) = request.content_length() {
            environment.push(pair(b"CONTENT_LENGTH", length.to_string().as_bytes()));
        }
        if !self.path_info.is_empty() {
            environment.push(pair(b"PATH_INFO", &self.path_info));
            if let Some(root) = request.param("DOCUMENT_ROOT").filter(|root| !root.is_empty()) {
                environment.push(pair(b"PATH_TRANSLATED", &[root, &self.path_info].concat()));
            }
        }
        environment
    }

    /// The folder it is in.
    pub(super) fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }
}

fn refuse<T>(status: u16, why: &str) -> Result<T, Refusal> {
    Err(Refusal { status, why: why.to_owned() })
}

/// The path in `proxy:fcgi://localhost:9000/srv/www/page`, as Apache has it.
fn without_proxy(path: &[u8]) -> &[u8] {
    let Some(url) = path.strip_prefix(b"proxy:") else { return path };
    let host = url.windows(3).position(|part| part == b"://").map_or(url, |at| &url[at + 3..]);
    host.iter().position(|&byte| byte == b'/').map_or(b"", |at| &host[at..])
}

/// The longest front of `path`, and no shorter than `least`, that is a file.
fn existing(path: &[u8], least: usize) -> Result<Vec<u8>, Refusal> {
    let shown = path.escape_ascii();
    if path.first() != Some(&b'/') || path.split(|&byte| byte == b'/').any(|part| part == b"..") {
        return refuse(403, &format!("'{shown}' is no plain path"));
    }
    let mut len = path.len();
    loop {
        match fs::metadata(OsStr::from_bytes(&path[..len])) {
            Ok(metadata) if metadata.is_file() => return Ok(path[..len].to_vec()),
            Ok(_) if len == path.len() => return refuse(403, &format!("'{shown}' is no file")),
            Ok(_) => return refuse(404, &format!("'{shown}' is not there")),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return refuse(403, &format!("'{shown}' cannot be reached: {error}"));
            }
            Err(_) => match path[..len].iter().rposition(|&byte| byte == b'/') {
                Some(at) if at >= least => len = at,
                _ => return refuse(404, &format!("'{shown}' is not there")),
            },
        }
    }
}

/// The path of the request's URL, as the client sent it.
fn url_path(request: &Request<'_>) -> Vec<u8> {
    let uri = request.param("REQUEST_URI").unwrap_or_default();
    let end = uri.iter().position(|&byte| byte == b'?').unwrap_or(uri.len());
    percent_decode(&uri[..end]).collect()
}

fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn pair(name: &[u8], value: &[u8]) -> (OsString, OsString) {
    (OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned())
}
