//! Real web servers.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::deadline::{PATIENCE, eventually_within};
use crate::http::HttpClient;
use crate::port::free_port;
use crate::process::Process;
use crate::program::repository;
use crate::temp::temp_dir;

/// A web server started for one test in the foreground, in a private folder, with a configuration whose
/// placeholders `@NAME@` are filled in. It is stopped when dropped.
#[derive(Debug)]
pub struct WebServer {
    // Dropped in this order: first the process, then the folder it uses.
    process: Process,
    dir: TempDir,
    address: SocketAddr,
}

impl WebServer {
    /// Starts a server with examples/servers/`configuration`, and returns when it accepts connections.
    ///
    /// `@DIR@` and `@PORT@` are ours; `fill` gives the other placeholders. `command` makes the command line from the
    /// private folder and the finished configuration file.
    ///
    /// # Panics
    /// When a placeholder is left or the server does not start.
    #[track_caller]
    pub fn start(configuration: &str, fill: &[(&str, &str)], command: impl FnOnce(&Path, &Path) -> Command) -> Self {
        let template = repository().join("examples/servers").join(configuration);
        let text = fs::read_to_string(&template).unwrap_or_else(|error| panic!("{}: {error}", template.display()));
        Self::start_with_text(&text, fill, command)
    }

    /// [`start`](Self::start) with the text of the configuration itself.
    ///
    /// # Panics
    /// When a placeholder is left or the server does not start.
    #[track_caller]
    pub fn start_with_text(text: &str, fill: &[(&str, &str)], command: impl FnOnce(&Path, &Path) -> Command) -> Self {
        let dir = temp_dir();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let dir_name = dir.path().to_str().expect("a temporary folder has a plain name");
        let port = address.port().to_string();
        let mut text = text.replace("@DIR@", dir_name).replace("@PORT@", &port);
        for (name, value) in fill {
            text = text.replace(&format!("@{name}@"), value);
        }
        if let Some(left) = placeholder(&text) {
            panic!("nothing was given for {left}");
        }
        let file = dir.path().join("server.conf");
        fs::write(&file, text).expect("the configuration can be written");

        let mut process = Process::start(&mut command(dir.path(), &file));
        let pid = process.pid();
        // Some read many modules first.
        eventually_within(3 * PATIENCE, "a web server that accepts connections", || {
            if !crate::proc::is_alive(pid) {
                let status = process.wait_exit();
                panic!("the web server ended ({status}):\n{}", process.stderr().to_end());
            }
            TcpStream::connect(address).ok()
        });
        WebServer { process, dir, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client for one of its virtual hosts.
    pub fn client(&self, host: &str) -> HttpClient {
        HttpClient::for_host(self.address, host)
    }

    /// Its private folder: logs are there.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends that process a signal.
    pub fn signal(&self, signal: Signal) {
        // It is reaped when this is dropped, not before, so the pid is its own.
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, signal).expect("the web server is our child");
        }
    }

    /// What it has logged so far, as its configuration says: in `error.log`, or on its standard error.
    pub fn error_log(&self) -> String {
        let file = fs::read(self.dir.path().join("error.log")).unwrap_or_default();
        String::from_utf8_lossy(&file).into_owned() + &self.process.stderr().text()
    }
}

impl Drop for WebServer {
    /// A failing test shows the server's logs.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for entry in fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                let text = fs::read(entry.path()).unwrap_or_default();
                eprintln!("--- {}:\n{}---", entry.path().display(), String::from_utf8_lossy(&text));
            }
        }
    }
}

/// The first `@NAME@` of a text.
fn placeholder(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('@').collect();
    // Between two at signs: neither the first part nor the last.
    let between = parts.get(1..parts.len().saturating_sub(1))?;
    let name = between.iter().find(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase()))?;
    Some(format!("@{name}@"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_that_are_left_are_found() {
        assert_eq!(placeholder("pid @DIR@/pid; mail root@localhost"), Some("@DIR@".to_owned()));
        assert_eq!(placeholder("mail root@localhost, USER@HOST"), None);
    }
}
