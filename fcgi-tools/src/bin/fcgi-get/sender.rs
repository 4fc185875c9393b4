//! What goes to the application, while what it says comes back: it may answer while it reads, and expects to be heard.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

use fcgi_proto::{Header, RecordType, Role};
use socket2::Socket;

use super::body::Body;
use super::lost;
use super::request::{ID, Request};
use crate::error::Error;
use crate::sys::{self, For};

/// What is left to be sent, from the first to the last.
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// Complete records, of which `sent` bytes are gone.
    records: Vec<u8>,
    sent: usize,
    /// It begins when it is known how long its body is, or that it is long.
    request: Option<Request>,
    streams: VecDeque<(RecordType, Body)>,
    /// Why the body could not be sent.
    failed: Option<Error>,
}

/// Who has something to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Answer,
    Room,
    Body,
}

impl Sender {
    /// Of a record.
    pub(super) fn record(record: &[u8]) -> Self {
        Sender { records: record.to_vec(), ..Sender::default() }
    }

    pub(super) fn request(request: Request) -> Self {
        Sender { request: Some(request), ..Sender::default() }
    }

    /// Why the body could not be sent, if it could not: this explains an answer that did not come.
    pub(super) fn failed(self) -> Option<Error> {
        self.failed
    }

    /// Sends until something of the answer can be read.
    pub(super) fn until_readable(&mut self, connection: &Socket) -> Result<(), Error> {
        loop {
            while self.records.is_empty() && self.has_more() && self.waits_for().is_none() {
                self.further(connection);
            }
            let mut waits = vec![(connection.as_fd(), For::Reading, Source::Answer)];
            if !self.records.is_empty() {
                waits.push((connection.as_fd(), For::Writing, Source::Room));
            } else if let Some(file) = self.waits_for() {
                waits.push((file.as_fd(), For::Reading, Source::Body));
            }
            let ready = sys::poll(&waits).map_err(|error| lost(&error))?;
            if ready.contains(&Source::Room) {
                self.write(connection);
            }
            if ready.contains(&Source::Body) {
                self.further(connection);
            }
            if ready.contains(&Source::Answer) {
                return Ok(());
            }
        }
    }

    fn has_more(&self) -> bool {
        self.request.is_some() || !self.streams.is_empty()
    }

    /// What there has to be something of before it goes on.
    fn waits_for(&self) -> Option<&File> {
        match &self.request {
            Some(request) => request.body.as_ref()?.unmeasured(),
            None => self.streams.front()?.1.source(),
        }
    }

    /// Makes the next record or reads ahead. A body that cannot be read ends the connection.
    fn further(&mut self, connection: &Socket) {
        if let Err(error) = self.next() {
            self.end();
            self.failed = Some(error);
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn next(&mut self) -> Result<(), Error> {
        if let Some(body) = self.request.as_mut().and_then(|request| request.body.as_mut()) {
            if body.unmeasured().is_some() {
                return body.measure();
            }
        }
        if let Some(mut request) = self.request.take() {
            self.records = request.head();
            if request.role != Role::Authorizer {
                self.streams.push_back((RecordType::Stdin, request.body.unwrap_or_default()));
            }
            if request.role == Role::Filter {
                self.streams.push_back((RecordType::Data, request.data.unwrap_or_default()));
            }
        } else if let Some((kind, body)) = self.streams.front_mut() {
            self.records = body.next(Header::LEN)?;
            let length = self.records.len() - Header::LEN;
            let header = Header::new(*kind, ID, length as u16); // at most a piece
            self.records[..Header::LEN].copy_from_slice(&header.encode());
            if length == 0 {
                self.streams.pop_front();
            }
        }
        Ok(())
    }

    /// Sends what the connection takes. What it does to the request, the answer will tell.
    fn write(&mut self, mut connection: &Socket) {
        match connection.write(&self.records[self.sent..]) {
            Ok(count) => self.sent += count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.end(),
        }
        if self.sent == self.records.len() {
            (self.records, self.sent) = (Vec::new(), 0);
        }
    }

    /// Nobody wants the rest.
    fn end(&mut self) {
        *self = Sender::default();
    }
}
