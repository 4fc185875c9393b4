//! What is seen of two supervisors while one of them is attacked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fcgi_tests::{Address, proc, wire};

/// Receives what a supervisor has to say to its service manager.
pub(super) struct Messages {
    all: Arc<Mutex<Vec<(Instant, String)>>>,
    over: Arc<AtomicBool>,
    receiver: Option<JoinHandle<()>>,
}

impl Messages {
    /// Binds the socket for `NOTIFY_SOCKET`.
    pub(super) fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("the path is free");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket takes a timeout");
        let (all, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (theirs, end) = (Arc::clone(&all), Arc::clone(&over));
        let receiver = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !end.load(Ordering::Relaxed) {
                match socket.recv(&mut buffer) {
                    Ok(length) => {
                        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                        theirs.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), text));
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                    Err(error) => panic!("no message: {error}"),
                }
            }
        });
        Messages { all, over, receiver: Some(receiver) }
    }

    /// When the messages that begin with `word` came, after `since`.
    pub(super) fn times(&self, word: &str, since: Instant) -> Vec<Instant> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(time, text)| *time >= since && text.starts_with(word)).map(|(time, _)| *time).collect()
    }

    /// The longest time without a watchdog message, from `since` to now.
    pub(super) fn longest_gap(&self, since: Instant) -> Duration {
        let mut times = vec![since];
        times.extend(self.times("WATCHDOG=1", since));
        times.push(Instant::now());
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.receiver.take().map(JoinHandle::join);
    }
}

/// A client that sends one request after the other to the good application.
pub(super) struct Client {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Requests>>,
}

/// What came of its requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) count: usize,
    pub(super) slowest: Duration,
    pub(super) failures: Vec<String>,
}

impl Client {
    pub(super) fn of(address: Address) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut requests = Requests::default();
            while !end.load(Ordering::Relaxed) {
                let begun = Instant::now();
                if let Err(error) = request(&address) {
                    requests.failures.push(error.to_string());
                }
                requests.count += 1;
                requests.slowest = requests.slowest.max(begun.elapsed());
                // A machine of two processors has others to serve.
                thread::sleep(Duration::from_millis(2));
            }
            requests
        });
        Client { over, thread: Some(thread) }
    }

    pub(super) fn finish(mut self) -> Requests {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).expect("the client does not panic")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// One request on a connection of its own.
fn request(address: &Address) -> std::io::Result<()> {
    let mut connection = address.connect()?;
    connection.write_all(&wire::get(1, 0, "/hello"))?;
    let response = wire::Response::read(&mut connection, 1)?;
    if response.text() != "Hello, World!" {
        return Err(std::io::Error::other(format!("another response: {response:?}")));
    }
    Ok(())
}

/// What a process takes of the machine.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// In KiB.
    pub(super) rss: u64,
    pub(super) descriptors: usize,
}

impl Usage {
    /// Takes what it has now into account, if that is more.
    pub(super) fn look(&mut self, pid: u32) {
        let rss = proc::status(pid, "VmRSS").first().and_then(|kib| kib.parse().ok());
        self.rss = self.rss.max(rss.unwrap_or_default());
        self.descriptors = self.descriptors.max(proc::descriptors(pid).len());
    }
}

/// How large a log may become before it is emptied: its contents do not matter, and the disk is not under test.
const LOG: u64 = 64 << 20;

/// Empties the files below `directory` that the process writes to, when they are large.
pub(super) fn empty_logs(pid: u32, directory: &Path) {
    for descriptor in proc::descriptors(pid) {
        let path = format!("/proc/{pid}/fd/{descriptor}");
        let is_log = fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() > LOG && file.nlink() < 2);
        if is_log && fs::read_link(&path).is_ok_and(|target| target.starts_with(directory)) {
            let _ = File::options().write(true).open(&path).and_then(|file| file.set_len(0));
        }
    }
}

/// All that is to stay as it is of the files in a directory.
pub(super) fn snapshot(directory: &Path) -> BTreeMap<PathBuf, String> {
    let entries = fs::read_dir(directory).expect("root's directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let describe = |path: PathBuf| {
        let file = fs::symlink_metadata(&path).expect("an entry");
        let mut contents = match file.is_file() {
            true => String::from_utf8_lossy(&fs::read(&path).expect("root reads it")).into_owned(),
            false => "no regular file".to_owned(),
        };
        contents.truncate(contents.char_indices().nth(200).map_or(contents.len(), |(at, _)| at));
        let (mode, uid, gid, inode) = (file.mode(), file.uid(), file.gid(), file.ino());
        let changed = (file.mtime(), file.mtime_nsec(), file.len());
        (path, format!("mode {mode:o}, owner {uid}:{gid}, inode {inode}, time and size {changed:?}, {contents:?}"))
    };
    paths.map(describe).collect()
}
