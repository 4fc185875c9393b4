use core::fmt;

/// What a peer can do wrong on the wire, each with the number that was wrong.
///
/// Every variant is fatal for its connection: after one, the two sides no longer agree on what the next byte means
/// (or whose request it belongs to), so nothing more is sent and the connection is closed. That more bytes are needed
/// is never an error; exceeding a limit is an [`Event`](crate::Event), since it deserves a real answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A record's version byte is not 1.
    Version(u8),
    /// `FCGI_BEGIN_REQUEST` with a content length other than 8.
    BeginLength(u16),
    /// `FCGI_BEGIN_REQUEST` for a request id that is still active.
    DuplicateBegin(u16),
    /// The `FCGI_PARAMS` of this request id end inside a name-value pair.
    CutParams(u16),
    /// `FCGI_STDIN` for this request id before the end of its `FCGI_PARAMS`.
    EarlyStdin(u16),
    /// `FCGI_DATA` for this request id before the end of its `FCGI_PARAMS` or, in a Filter, of its `FCGI_STDIN`.
    EarlyData(u16),
    /// `FCGI_GET_VALUES` whose content, of this length, ends inside a name-value pair.
    CutValues(u16),
    /// `FCGI_END_REQUEST` with a content length other than 8.
    EndLength(u16),
    /// `FCGI_UNKNOWN_TYPE` with a content length other than 8.
    UnknownTypeLength(u16),
    /// A record type that only a web server sends came from an application.
    ServerType(u8),
    /// A record type that belongs to a request came from an application with request id 0.
    NullRequest(u8),
    /// The input ended inside a record header, of which this many bytes had come.
    CutHeader(u8),
    /// The input ended inside a record; this many bytes of its content and padding were still to come.
    CutRecord(u32),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Version(n) => write!(f, "FastCGI version {n} instead of 1"),
            Self::BeginLength(n) => write!(f, "BEGIN_REQUEST of {n} bytes instead of 8"),
            Self::DuplicateBegin(id) => {
                write!(f, "BEGIN_REQUEST for request {id}, which is active")
            }
            Self::CutParams(id) => write!(f, "PARAMS of request {id} end inside a name-value pair"),
            Self::EarlyStdin(id) => write!(f, "STDIN of request {id} before the end of its PARAMS"),
            Self::EarlyData(id) => {
                write!(f, "DATA of request {id} before the end of the stream it follows")
            }
            Self::CutValues(n) => {
                write!(f, "GET_VALUES of {n} bytes ends inside a name-value pair")
            }
            Self::EndLength(n) => write!(f, "END_REQUEST of {n} bytes instead of 8"),
            Self::UnknownTypeLength(n) => write!(f, "UNKNOWN_TYPE of {n} bytes instead of 8"),
            Self::ServerType(kind) => write!(f, "record type {kind} from an application"),
            Self::NullRequest(kind) => {
                write!(f, "record type {kind} with request id 0 from an application")
            }
            Self::CutHeader(n) => write!(f, "end of input after {n} bytes of a record header"),
            Self::CutRecord(n) => {
                write!(f, "end of input inside a record, {n} bytes before its end")
            }
        }
    }
}

impl core::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn messages_name_the_number() {
        for (error, want) in [
            (ProtocolError::Version(71), "FastCGI version 71 instead of 1"),
            (ProtocolError::BeginLength(7), "BEGIN_REQUEST of 7 bytes instead of 8"),
            (ProtocolError::DuplicateBegin(3), "BEGIN_REQUEST for request 3, which is active"),
            (ProtocolError::CutParams(3), "PARAMS of request 3 end inside a name-value pair"),
            (ProtocolError::EarlyStdin(3), "STDIN of request 3 before the end of its PARAMS"),
            (ProtocolError::EarlyData(3), "DATA of request 3 before the end of the stream it follows"),
            (ProtocolError::CutValues(9), "GET_VALUES of 9 bytes ends inside a name-value pair"),
            (ProtocolError::EndLength(7), "END_REQUEST of 7 bytes instead of 8"),
            (ProtocolError::UnknownTypeLength(7), "UNKNOWN_TYPE of 7 bytes instead of 8"),
            (ProtocolError::ServerType(1), "record type 1 from an application"),
            (ProtocolError::NullRequest(6), "record type 6 with request id 0 from an application"),
            (ProtocolError::CutHeader(5), "end of input after 5 bytes of a record header"),
            (ProtocolError::CutRecord(9), "end of input inside a record, 9 bytes before its end"),
        ] {
            assert_eq!(error.to_string(), want);
        }
    }
}
