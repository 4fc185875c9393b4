use core::ops::Range;

use crate::{EndRequest, Header, Limit, ProtocolStatus, Role, UnknownType, Values};

/// What came in, content borrowed from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request began and is active until [`Session::end`](crate::Session::end).
    Begin {
        /// Its id, unique among the active ones.
        id: u16,
        /// What is asked of the application.
        role: Role,
        /// Whether the connection stays open after it.
        keep_conn: bool,
    },
    /// A piece of a request's params, checked as far as it goes; never empty.
    Params {
        /// The request's id.
        id: u16,
        /// Encoded pairs, cut anywhere: join the pieces, then read them with [`Params`](crate::Params).
        content: &'a [u8],
    },
    /// The params are complete and well formed; a Responder or Authorizer may start.
    ParamsEnd {
        /// The request's id.
        id: u16,
    },
    /// A piece of the request body; never empty.
    Stdin {
        /// The request's id.
        id: u16,
        /// Bytes of the body.
        content: &'a [u8],
    },
    /// The request body is complete; a Filter may start.
    StdinEnd {
        /// The request's id.
        id: u16,
    },
    /// A piece of a Filter's data; never empty.
    Data {
        /// The request's id.
        id: u16,
        /// Bytes of the data.
        content: &'a [u8],
    },
    /// A Filter's data is complete.
    DataEnd {
        /// The request's id.
        id: u16,
    },
    /// The server wants the request ended: answer with one `FCGI_END_REQUEST`, then call [`Session::end`](crate::Session::end). No more
    /// events of this request follow.
    Abort {
        /// The request's id.
        id: u16,
    },
    /// The params went over a limit: answer the request with an error, then call [`Session::end`](crate::Session::end). No more events of
    /// this request follow.
    Oversized {
        /// The request's id.
        id: u16,
        /// Which limit.
        limit: Limit,
    },
    /// Bytes to send before more input is read, so that a peer that does not read its replies is throttled.
    Reply(Reply),
    /// A record that has no meaning where it came was skipped; worth a line in the log, once a connection.
    Skipped {
        /// Its header.
        header: Header,
    },
}

/// A request that begins, its params complete and well formed: what [`Session::next_request`](crate::Session::next_request)
/// gives. A Responder or Authorizer may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Its id.
    pub id: u16,
    /// What is asked of the application.
    pub role: Role,
    /// Whether the connection stays open after it.
    pub keep_conn: bool,
    /// Where in the input, as that was given, its encoded params are.
    pub params: Range<usize>,
}

/// A record the protocol itself answers with, no handler needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// A request was refused: `FCGI_END_REQUEST` with appStatus 0. It was never active.
    Refuse {
        /// The id it asked for.
        id: u16,
        /// Why.
        status: ProtocolStatus,
    },
    /// The answer to `FCGI_GET_VALUES`.
    Values(Values),
    /// The answer to a management record of unknown type.
    UnknownType(UnknownType),
}

impl Reply {
    /// The longest reply on the wire, in bytes.
    pub const MAX_LEN: usize = Values::MAX_RECORD_LEN;

    /// Writes the reply's record into `out` and gives the part of it that is to be sent.
    pub fn encode<'o>(&self, out: &'o mut [u8; Self::MAX_LEN]) -> &'o [u8] {
        let record = match *self {
            Self::Refuse { id, status } => EndRequest { app_status: 0, protocol_status: status }.record(id),
            Self::UnknownType(body) => body.record(),
            Self::Values(ref values) => return values.record(out),
        };
        match out.first_chunk_mut() {
            Some(front) => {
                *front = record;
                front
            }
            None => &[],
        }
    }
}
