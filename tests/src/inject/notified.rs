//! A service manager as sd_notify(3) knows it, which reads all that it is sent.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long it sleeps when it is sent nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// The socket and the thread that reads from it.
pub(super) struct Notified {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    reader: Option<JoinHandle<String>>,
}

impl Notified {
    pub(super) fn listen(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(PAUSE))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&is_over);
        let reader = thread::spawn(move || {
            let (mut text, mut buffer) = (String::new(), [0; 4096]);
            loop {
                // Asked before the look: the last look comes after the end.
                let last = theirs.load(Ordering::SeqCst);
                match socket.recv(&mut buffer) {
                    Ok(count) => {
                        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
                        text.push('\n');
                    }
                    Err(_) if last => return text,
                    Err(_) => {}
                }
            }
        });
        Ok(Notified { path: path.to_owned(), is_over, reader: Some(reader) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All that was sent, in lines.
    pub(super) fn all(mut self) -> String {
        self.is_over.store(true, Ordering::SeqCst);
        self.reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}
