//! One request to the application and its answer back, both at once.
//!
//! One thread does both directions: it waits until one of the two sockets can be read or written and moves what there
//! is. So an application may answer while the upload still runs, before it, or without it; and a client that leaves is
//! noticed while the application is silent.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fcgi_proto::{BeginRequest, Header, RecordType, Role, records};
use http_net::{ServerConn, ServerEvent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;

use super::answer::Answer;
use super::failure::Failure;

/// The id of the one request on its connection.
const ID: u16 = 1;

/// How much of an upload is taken before the application reads on.
const UPLOAD_ROOM: usize = 64 * 1024;

/// How much is read from the application at a time.
const READ: usize = 16 * 1024;

/// A request under way.
pub(super) struct Exchange<'c> {
    client: &'c TcpStream,
    http: &'c mut ServerConn,
    /// Given only what it takes without waiting: an application that sends has to be read from, or both would wait for
    /// each other.
    application: Socket,
    patience: Duration,
    /// Records to be written to the application.
    upload: Vec<u8>,
    /// What is known of the rest of the request's body.
    body: Body,
    answer: Answer,
    /// Bytes to be written to the client.
    out: Vec<u8>,
}

/// What is known of the rest of a request's body.
#[derive(Clone, Copy, PartialEq)]
enum Body {
    /// Some of it may be in our buffer.
    Here,
    /// The client has yet to send more of it.
    Due,
    /// All of it was passed on.
    Ended,
    /// The application takes no more of it.
    Unwanted,
}

/// What can be done without waiting.
struct Ready {
    client: PollFlags,
    application: PollFlags,
}

impl<'c> Exchange<'c> {
    /// Begins the request that `http` has just told of.
    pub(super) fn new(
        client: &'c TcpStream,
        http: &'c mut ServerConn,
        application: Socket,
        params: &[u8],
        patience: Duration,
    ) -> Self {
        let mut upload = Vec::with_capacity(params.len() + 64);
        upload.extend(BeginRequest::new(Role::Responder, false).record(ID));
        put_stream(&mut upload, RecordType::Params, params);
        put_end(&mut upload, RecordType::Params);
        Self { client, http, application, patience, upload, body: Body::Here, answer: Answer::new(), out: Vec::new() }
    }

    /// Carries the request out. Dropping the connection to the application afterwards, or instead, is what tells it that
    /// nobody waits for more.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        self.application.set_nonblocking(true).map_err(lost)?;
        // The client may wait for this word before it sends the body; if not, there is nothing to say.
        if self.http.request().is_some_and(|head| head.expects_continue())
            && self.http.send_continue(&mut self.out).is_ok()
        {
            self.send_to_client()?;
        }
        while !self.answer.is_complete() {
            self.take_body()?;
            let ready = self.wait()?;
            // Like nginx we take a client that has closed its side for gone: one that only wants to say that it asks for
            // nothing more looks the same, and an application should not work on for nobody.
            if ready.client.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) {
                return Err(Failure::ClientGone);
            }
            if ready.client.contains(PollFlags::IN) {
                self.receive_from_client()?;
            }
            if ready.application.contains(PollFlags::OUT) {
                self.send_to_application();
            }
            if ready.application.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                let received = self.receive_from_application();
                // Also what came before a failure is the client's.
                self.send_to_client()?;
                received?;
            }
        }
        Ok(())
    }

    /// Makes records of the body that came, as much as there is room for.
    fn take_body(&mut self) -> Result<(), Failure> {
        while self.body == Body::Here && self.upload.len() < UPLOAD_ROOM {
            match self.http.poll()? {
                ServerEvent::Body(piece) => put_stream(&mut self.upload, RecordType::Stdin, piece),
                ServerEvent::NeedInput => self.body = Body::Due,
                ServerEvent::RequestEnd => {
                    put_end(&mut self.upload, RecordType::Stdin);
                    self.body = Body::Ended;
                }
                // The answer has none and is sent: the rest of the body is not looked at any more.
                _ => self.body = Body::Unwanted,
            }
        }
        Ok(())
    }

    /// Waits until something can be done, or somebody was silent for too long.
    fn wait(&self) -> Result<Ready, Failure> {
        let uploading = !self.upload.is_empty();
        let from_client = if self.body == Body::Due && !uploading { PollFlags::IN } else { PollFlags::empty() };
        let to_application = if uploading { PollFlags::OUT } else { PollFlags::empty() };
        let mut sockets = [
            PollFd::new(self.client, from_client | PollFlags::RDHUP),
            PollFd::new(&self.application, to_application | PollFlags::IN),
        ];
        let patience = Timespec::try_from(self.patience).ok();
        loop {
            match poll(&mut sockets, patience.as_ref()) {
                Ok(0) if from_client.is_empty() => {
                    return Err(Failure::application(504, "the application does not answer"));
                }
                Ok(0) => return Err(Failure::Client(408, "the rest of the request did not come")),
                Ok(_) => return Ok(Ready { client: sockets[0].revents(), application: sockets[1].revents() }),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(lost(error.into())),
            }
        }
    }

    fn receive_from_client(&mut self) -> Result<(), Failure> {
        match self.client.read(self.http.read_buf()) {
            Ok(0) | Err(_) => Err(Failure::ClientGone),
            Ok(n) => {
                self.http.commit(n);
                self.body = Body::Here;
                Ok(())
            }
        }
    }

    fn send_to_application(&mut self) {
        match self.application.write(&self.upload) {
            Ok(n) => drop(self.upload.drain(..n)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => {
                // It closed, which does not mean that it did not answer.
                self.upload.clear();
                self.body = Body::Unwanted;
            }
        }
    }

    fn receive_from_application(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; READ];
        match self.application.read(&mut buffer) {
            Ok(0) => Err(self.answer.end_of_input()),
            Ok(n) => self.answer.receive(&buffer[..n], self.http, &mut self.out),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            // It closed and left some of the upload unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(self.answer.end_of_input()),
            Err(error) => Err(lost(error)),
        }
    }

    /// Waits until the client takes what there is: as long as it does not, nothing more is asked of the application.
    fn send_to_client(&mut self) -> Result<(), Failure> {
        self.client.write_all(&self.out).map_err(|_| Failure::ClientGone)?;
        self.out.clear();
        Ok(())
    }
}

fn lost(error: io::Error) -> Failure {
    Failure::application(502, format!("lost the connection to the application: {error}"))
}

/// Adds a piece of a stream, which may be empty.
fn put_stream(out: &mut Vec<u8>, kind: RecordType, bytes: &[u8]) {
    for (header, content) in records(kind, ID, bytes, Header::MAX_CONTENT) {
        out.extend(header.encode());
        out.extend_from_slice(content);
    }
}

/// Adds the empty record that ends a stream.
fn put_end(out: &mut Vec<u8>, kind: RecordType) {
    out.extend(Header::new(kind, ID, 0).encode());
}
