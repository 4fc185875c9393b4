//! The bodies of fixed length: `FCGI_BeginRequestBody`, `FCGI_EndRequestBody`, `FCGI_UnknownTypeBody`.

use crate::{Fragment, Header, RecordType};

/// What a web server wants of the application, the two bytes `FCGI_BeginRequestBody.role`, big endian.
///
/// Specification section 6, "Roles".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `FCGI_RESPONDER`, 1: answer a request, as a CGI program does.
    Responder,
    /// `FCGI_AUTHORIZER`, 2: decide whether a request may go on.
    Authorizer,
    /// `FCGI_FILTER`, 3: answer a request from a file that the web server sends along.
    Filter,
}

impl Role {
    /// Names a role number; `None` for one the specification does not know. All 16 bits count.
    pub const fn from_wire(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Responder),
            2 => Some(Self::Authorizer),
            3 => Some(Self::Filter),
            _ => None,
        }
    }

    /// The role's number on the wire.
    pub const fn to_wire(self) -> u16 {
        match self {
            Self::Responder => 1,
            Self::Authorizer => 2,
            Self::Filter => 3,
        }
    }
}

/// The content of `FCGI_BEGIN_REQUEST`.
///
/// ```text
///   0       1       2       3   4   5   6   7
/// +-------+-------+-------+-------------------+
/// | role          | flags | reserved          |
/// | B1    | B0    |       | 0   0   0   0   0 |
/// +-------+-------+-------+-------------------+
/// ```
///
/// The role stays a number here: an unknown one is answered, not refused as malformed. Specification section 5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeginRequest {
    /// The role's number, see [`Role::from_wire`].
    pub role: u16,
    /// Bit 0 is [`KEEP_CONN`](Self::KEEP_CONN); the others mean nothing.
    pub flags: u8,
}

impl BeginRequest {
    /// Bytes of the body on the wire.
    pub const LEN: usize = 8;
    /// `FCGI_KEEP_CONN`: the application leaves the connection open after the request.
    pub const KEEP_CONN: u8 = 1;

    /// The body of a request in this role, whose connection stays open or not.
    pub const fn new(role: Role, keep_conn: bool) -> Self {
        Self { role: role.to_wire(), flags: if keep_conn { Self::KEEP_CONN } else { 0 } }
    }

    /// Reads the body. Total: the reserved bytes and the other flags are ignored.
    pub const fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let &[role1, role0, flags, ..] = bytes;
        Self { role: u16::from_be_bytes([role1, role0]), flags }
    }

    /// Writes the body.
    pub const fn encode(self) -> [u8; Self::LEN] {
        let [role1, role0] = self.role.to_be_bytes();
        [role1, role0, self.flags, 0, 0, 0, 0, 0]
    }

    /// Writes the whole record for request `id`; never padded, since libfcgi loses what follows a padded one.
    pub const fn record(self, id: u16) -> [u8; Header::LEN + Self::LEN] {
        record(RecordType::BeginRequest, id, self.encode())
    }

    /// Whether the web server wants the connection left open, `FCGI_KEEP_CONN`.
    pub const fn keep_conn(self) -> bool {
        self.flags & Self::KEEP_CONN != 0
    }
}

/// How a request ended on the level of the protocol, the byte `FCGI_EndRequestBody.protocolStatus`.
///
/// 1 to 3 refuse a request that was never started. Reading it is total and keeps unknown numbers. Specification section
/// 5.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolStatus {
    /// `FCGI_REQUEST_COMPLETE`, 0.
    RequestComplete,
    /// `FCGI_CANT_MPX_CONN`, 1: refused, one request at a time on this connection.
    CantMpxConn,
    /// `FCGI_OVERLOADED`, 2: refused, out of some resource.
    Overloaded,
    /// `FCGI_UNKNOWN_ROLE`, 3: refused, nobody plays this role here.
    UnknownRole,
    /// Any other number.
    Other(u8),
}

impl ProtocolStatus {
    /// Names a status byte. Total.
    pub const fn from_wire(byte: u8) -> Self {
        match byte {
            0 => Self::RequestComplete,
            1 => Self::CantMpxConn,
            2 => Self::Overloaded,
            3 => Self::UnknownRole,
            other => Self::Other(other),
        }
    }

    /// The status byte on the wire.
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::RequestComplete => 0,
            Self::CantMpxConn => 1,
            Self::Overloaded => 2,
            Self::UnknownRole => 3,
            Self::Other(other) => other,
        }
    }
}

/// The content of `FCGI_END_REQUEST`.
///
/// ```text
///   0    1    2    3    4                5   6   7
/// +-------------------+----------------+-----------+
/// | appStatus         | protocolStatus | reserved  |
/// | B3   B2   B1   B0 |                | 0   0   0 |
/// +-------------------+----------------+-----------+
/// ```
///
/// Specification section 5.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndRequest {
    /// What a CGI program would have given to `exit`, all 32 bits of it.
    pub app_status: u32,
    /// Whether the request was carried out at all.
    pub protocol_status: ProtocolStatus,
}

impl EndRequest {
    /// Bytes of the body on the wire.
    pub const LEN: usize = 8;

    /// Reads the body. Total: the reserved bytes are ignored.
    pub const fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let &[s3, s2, s1, s0, status, ..] = bytes;
        Self { app_status: u32::from_be_bytes([s3, s2, s1, s0]), protocol_status: ProtocolStatus::from_wire(status) }
    }

    /// Writes the body.
    pub const fn encode(self) -> [u8; Self::LEN] {
        let [s3, s2, s1, s0] = self.app_status.to_be_bytes();
        [s3, s2, s1, s0, self.protocol_status.to_wire(), 0, 0, 0]
    }

    /// Writes the whole record for request `id`, unpadded.
    pub const fn record(self, id: u16) -> [u8; Header::LEN + Self::LEN] {
        record(RecordType::EndRequest, id, self.encode())
    }
}

/// The content of `FCGI_UNKNOWN_TYPE`: the type byte of the management record that was not understood.
///
/// ```text
///   0      1   2   3   4   5   6   7
/// +------+---------------------------+
/// | type | reserved, 0               |
/// +------+---------------------------+
/// ```
///
/// Specification section 4.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownType(
    /// The type byte in question.
    pub u8,
);

impl UnknownType {
    /// Bytes of the body on the wire.
    pub const LEN: usize = 8;

    /// Reads the body. Total: the reserved bytes are ignored.
    pub const fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let &[kind, ..] = bytes;
        Self(kind)
    }

    /// Writes the body.
    pub const fn encode(self) -> [u8; Self::LEN] {
        [self.0, 0, 0, 0, 0, 0, 0, 0]
    }

    /// Writes the whole management record.
    pub const fn record(self) -> [u8; Header::LEN + Self::LEN] {
        record(RecordType::UnknownType, 0, self.encode())
    }
}

const fn record(kind: RecordType, id: u16, body: [u8; 8]) -> [u8; 16] {
    let [h0, h1, h2, h3, h4, h5, h6, h7] = Header::new(kind, id, 8).encode();
    let [b0, b1, b2, b3, b4, b5, b6, b7] = body;
    [h0, h1, h2, h3, h4, h5, h6, h7, b0, b1, b2, b3, b4, b5, b6, b7]
}

/// A body of eight bytes that arrives in fragments cut anywhere.
#[derive(Debug, Clone)]
pub(crate) struct FixedBody {
    have: u8,
    bytes: [u8; 8],
}

impl FixedBody {
    pub(crate) const fn new() -> Self {
        Self { have: 0, bytes: [0; 8] }
    }

    /// Adds a fragment; gives the body once it is whole, and the record's content length if that is not 8.
    pub(crate) fn collect(&mut self, fragment: Fragment<'_>) -> Result<Option<[u8; 8]>, u16> {
        if fragment.header.content != 8 {
            return Err(fragment.header.content);
        }
        if let Ok(whole) = fragment.content.try_into() {
            return Ok(Some(whole));
        }
        if fragment.first {
            self.have = 0;
        }
        for &byte in fragment.content {
            if let Some(slot) = self.bytes.get_mut(usize::from(self.have)) {
                *slot = byte;
                self.have = self.have.saturating_add(1);
            }
        }
        Ok(fragment.last.then_some(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begin_request() {
        let wire = [0, 1, 1, 0, 0, 0, 0, 0];
        let body = BeginRequest { role: 1, flags: 1 };
        assert_eq!(BeginRequest::decode(&wire), body);
        assert_eq!(body, BeginRequest::new(Role::Responder, true));
        assert_eq!(body.encode(), wire);
        assert_eq!(body.record(0x0203), [1, 1, 2, 3, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn only_bit_0_keeps_the_connection_and_reserved_bytes_are_ignored() {
        assert!(BeginRequest::decode(&[0, 1, 0xff, 9, 9, 9, 9, 9]).keep_conn());
        assert!(!BeginRequest::decode(&[0, 1, 0xfe, 9, 9, 9, 9, 9]).keep_conn());
    }

    #[test]
    fn all_16_bits_of_a_role_count() {
        assert_eq!(Role::from_wire(1), Some(Role::Responder));
        assert_eq!(Role::from_wire(2), Some(Role::Authorizer));
        assert_eq!(Role::from_wire(3), Some(Role::Filter));
        for number in [0, 4, 0x0101, 0xffff] {
            assert_eq!(Role::from_wire(number), None);
        }
    }

    #[test]
    fn end_request() {
        let wire = [0x01, 0x02, 0x03, 0x04, 2, 0, 0, 0];
        let body = EndRequest { app_status: 0x0102_0304, protocol_status: ProtocolStatus::Overloaded };
        assert_eq!(EndRequest::decode(&wire), body);
        assert_eq!(body.encode(), wire);
        assert_eq!(body.record(1), [1, 3, 0, 1, 0, 8, 0, 0, 1, 2, 3, 4, 2, 0, 0, 0]);
        for byte in 0..=255 {
            assert_eq!(ProtocolStatus::from_wire(byte).to_wire(), byte);
        }
    }

    #[test]
    fn unknown_type() {
        assert_eq!(UnknownType(42).record(), [1, 11, 0, 0, 0, 8, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(UnknownType::decode(&[42, 1, 1, 1, 1, 1, 1, 1]), UnknownType(42));
    }
}
