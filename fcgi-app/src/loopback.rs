use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::os::fd::BorrowedFd;

use fcgi_proto::{EndRequest, ProtocolStatus, ResponseDecoder, ResponseEvent};

use crate::app::App;
use crate::client::{Error, Records};
use crate::connection::{self, Buffers, Fault};
use crate::slot::Slot;
use crate::wire::Stream;

/// Where the answer goes that comes over a loopback.
pub(crate) trait Sink {
    fn stdout(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn stderr(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A web server inside the process: what a connection reads is made of a request, and what it writes is taken apart into
/// an answer. So a request that comes over no socket is served like any other.
struct Loopback<'s, 'b> {
    records: RefCell<Records<'b>>,
    answer: RefCell<Answer<'s>>,
}

struct Answer<'s> {
    decoder: ResponseDecoder,
    sink: &'s mut dyn Sink,
    end: Option<EndRequest>,
}

/// Serves one request, and says how it ended.
///
/// Nobody keeps time meanwhile: limits of time are not enforced.
pub(crate) fn serve(app: &App, records: Records<'_>, sink: &mut dyn Sink) -> Result<EndRequest, Error> {
    let answer = Answer { decoder: ResponseDecoder::new(), sink, end: None };
    let loopback = Loopback { records: RefCell::new(records), answer: RefCell::new(answer) };
    let served = connection::serve(app, &Slot::new(), &loopback, &mut Buffers::new());
    match (loopback.answer.into_inner().end, served) {
        (_, Err(Fault::Socket(error))) => Err(Error::Lost(error)),
        (Some(end), _) if end.protocol_status == ProtocolStatus::RequestComplete => Ok(end),
        (Some(end), _) => Err(Error::Refused(end.protocol_status)),
        (None, _) => Err(Error::Lost(ErrorKind::UnexpectedEof.into())),
    }
}

impl Stream for Loopback<'_, '_> {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut records = self.records.borrow_mut();
        let read = records.unsent()?.read(buffer)?;
        records.sent(read);
        Ok(read)
    }

    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut answer = self.answer.borrow_mut();
        for slice in slices {
            answer.receive(slice)?;
        }
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Only what is put behind a response that failed is no record.
fn broken_off() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the response was broken off, since its handler failed")
}

impl Answer<'_> {
    fn receive(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(event) = self.decoder.next(&mut bytes).map_err(|_| broken_off())? {
            match event {
                ResponseEvent::Stdout { content, .. } => self.sink.stdout(content)?,
                ResponseEvent::Stderr { content, .. } => self.sink.stderr(content)?,
                ResponseEvent::End { end, .. } => self.end = Some(end),
                ResponseEvent::StdoutEnd { .. }
                | ResponseEvent::StderrEnd { .. }
                | ResponseEvent::Values(_)
                | ResponseEvent::UnknownType(_) => {}
            }
        }
        Ok(())
    }
}
