//! A server whose handlers do what a test tells them.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};

use fcgi_app::{Body, Limits, Request, Response};

use crate::WAIT;
use crate::common::{Client, Running};

/// Where handlers wait until a test lets them go on.
#[derive(Clone, Default)]
pub(super) struct Gates(Arc<(Mutex<HashSet<String>>, Condvar)>);

impl Gates {
    pub(super) fn open(&self, name: &str) {
        self.0.0.lock().expect("no panic").insert(name.into());
        self.0.1.notify_all();
    }

    fn is_open(&self, name: &str) -> bool {
        self.0.0.lock().expect("no panic").contains(name)
    }

    fn wait(&self, name: &str) {
        let open = self.0.0.lock().expect("no panic");
        let closed = |open: &mut HashSet<String>| !open.contains(name);
        assert!(!self.0.1.wait_timeout_while(open, WAIT, closed).expect("no panic").1.timed_out(), "gate {name}");
    }
}

/// A server whose handler tells who it is (`NAME`), waits at a gate if it is to (`GATE`) and then does what it is told.
pub(super) struct Stage {
    pub(super) server: Running,
    pub(super) gates: Gates,
    /// The names of handlers that began, and the errors they met.
    pub(super) heard: Receiver<String>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let gates = Gates::default();
        let (tell, heard) = mpsc::channel();
        let at = gates.clone();
        let handler = move |request: &Request, body: &mut Body, out: &mut Response| act(request, body, out, &at, &tell);
        Self { server: Running::multiplexed(limits, handler), gates, heard }
    }

    pub(super) fn connect(&self) -> Client {
        self.server.connect()
    }

    #[track_caller]
    pub(super) fn hear(&self) -> String {
        self.heard.recv_timeout(WAIT).expect("a handler says something")
    }
}

fn act(request: &Request, body: &mut Body, out: &mut Response, gates: &Gates, tell: &Sender<String>) -> io::Result<()> {
    let name = request.param_str("NAME").unwrap_or_default();
    if let Some(gate) = request.param_str("GATE") {
        tell.send(name.into()).expect("the test listens");
        gates.wait(gate);
    }
    let result = match request.param_str("DO") {
        Some("early") => out.write_all(name.as_bytes()),
        Some("wait") => out.wait(WAIT).map(drop),
        Some("big") => out.write_all(&vec![b'x'; 16 << 20]),
        Some("endless") => {
            let part = vec![b'x'; 1 << 20];
            while !gates.is_open("end") {
                out.write_all(&part)?;
            }
            Ok(())
        }
        Some("panic") => panic!("a panic that a test wants"),
        _ => {
            let mut bytes = Vec::new();
            body.read_to_end(&mut bytes).and_then(|_| out.write_all(&[name.as_bytes(), b"=", &bytes].concat()))
        }
    };
    if let (Err(error), Some("tell")) = (&result, request.param_str("ERROR")) {
        tell.send(format!("{name}: {:?}", error.kind())).expect("the test listens");
    }
    result
}
