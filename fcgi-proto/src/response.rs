use crate::body::FixedBody;
use crate::values::ValuesReader;
use crate::{Decoder, EndRequest, Fragment, Header, ProtocolError, RecordType, UnknownType, Values};

/// What an application sent, content borrowed from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseEvent<'a> {
    /// A piece of the answer: a CGI header section, then the body; never empty.
    Stdout {
        /// The request's id.
        id: u16,
        /// Bytes of the answer.
        content: &'a [u8],
    },
    /// The answer is complete. Applications may leave this out before [`End`](Self::End).
    StdoutEnd {
        /// The request's id.
        id: u16,
    },
    /// A piece of log text; never empty.
    Stderr {
        /// The request's id.
        id: u16,
        /// Bytes of the text.
        content: &'a [u8],
    },
    /// The log text is complete.
    StderrEnd {
        /// The request's id.
        id: u16,
    },
    /// The request ended; its id is free again.
    End {
        /// The request's id.
        id: u16,
        /// How.
        end: EndRequest,
    },
    /// The answer to `FCGI_GET_VALUES`.
    Values(Values),
    /// The application does not know a management record it was sent.
    UnknownType(UnknownType),
}

/// The web server's side of one connection: bytes from the application in, [`ResponseEvent`]s out.
///
/// Which ids are active, and what an event for another one means, is the caller's to know. Record types nobody has
/// defined are skipped. Like [`Session`](crate::Session) it does no I/O, never panics, and keeps no content.
#[derive(Debug, Clone)]
pub struct ResponseDecoder {
    decoder: Decoder,
    /// The `END_REQUEST` or `UNKNOWN_TYPE` being read.
    body: FixedBody,
    values: ValuesReader,
}

impl Default for ResponseDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseDecoder {
    /// A decoder at the start of a connection.
    pub const fn new() -> Self {
        Self { decoder: Decoder::new(), body: FixedBody::new(), values: ValuesReader::new() }
    }

    /// Takes input off the front of `input` until something happened; `None` means that all of it was consumed and
    /// more is needed.
    ///
    /// # Errors
    /// A [`ProtocolError`] is final: the connection is of no more use. Every later call gives it again.
    #[inline]
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<ResponseEvent<'a>>, ProtocolError> {
        while let Some(fragment) = self.decoder.next(input)? {
            match self.on_fragment(fragment) {
                Ok(None) => {}
                Ok(event) => return Ok(event),
                Err(error) => return Err(self.decoder.fail(error)),
            }
        }
        Ok(None)
    }

    /// Says what the end of the input means here; whether requests were cut short is the caller's to know.
    ///
    /// # Errors
    /// [`ProtocolError::CutHeader`] or [`ProtocolError::CutRecord`] when a record was under way, or the error that
    /// broke the stream before.
    pub const fn end_of_input(&self) -> Result<(), ProtocolError> {
        self.decoder.end_of_input()
    }

    #[inline]
    fn on_fragment<'a>(&mut self, fragment: Fragment<'a>) -> Result<Option<ResponseEvent<'a>>, ProtocolError> {
        use RecordType as Type;
        let Fragment { header, content, .. } = fragment;
        let Header { kind, id, .. } = header;
        let stream_end = header.content == 0;
        match kind {
            Type::EndRequest | Type::Stdout | Type::Stderr if id == 0 => {
                Err(ProtocolError::NullRequest(kind.to_wire()))
            }
            Type::Stdout if stream_end => Ok(Some(ResponseEvent::StdoutEnd { id })),
            Type::Stdout => Ok(Some(ResponseEvent::Stdout { id, content })),
            Type::Stderr if stream_end => Ok(Some(ResponseEvent::StderrEnd { id })),
            Type::Stderr => Ok(Some(ResponseEvent::Stderr { id, content })),
            Type::EndRequest => {
                let body = self.body.collect(fragment).map_err(ProtocolError::EndLength)?;
                Ok(body.map(|body| ResponseEvent::End { id, end: EndRequest::decode(&body) }))
            }
            Type::UnknownType => {
                let body = self.body.collect(fragment).map_err(ProtocolError::UnknownTypeLength)?;
                Ok(body.map(|body| ResponseEvent::UnknownType(UnknownType::decode(&body))))
            }
            Type::GetValuesResult => self.on_values(fragment),
            Type::BeginRequest | Type::AbortRequest | Type::Params | Type::Stdin | Type::Data | Type::GetValues => {
                Err(ProtocolError::ServerType(kind.to_wire()))
            }
            Type::Other(_) => Ok(None),
        }
    }

    fn on_values<'a>(&mut self, fragment: Fragment<'a>) -> Result<Option<ResponseEvent<'a>>, ProtocolError> {
        if fragment.first {
            self.values = ValuesReader::new();
        }
        self.values.read(fragment.content);
        if !fragment.last {
            return Ok(None);
        }
        let values = self.values.result().ok_or(ProtocolError::CutValues(fragment.header.content))?;
        Ok(Some(ResponseEvent::Values(values)))
    }
}
