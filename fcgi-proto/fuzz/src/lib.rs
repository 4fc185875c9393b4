//! What the fuzz targets check, as plain functions: each takes the fuzzer's bytes and panics on a finding.
//!
//! A target runs fcgi-proto and a reference side by side. The reference reads one byte at a time, so no cut can
//! matter to it, and shares no code with the library, only the types it speaks in. After each call of the library it
//! is given the bytes the call consumed, no more, and has to come to the very same outcome. So an event that is
//! missing, late, early, doubled, wrong or out of order is seen, and so is a byte consumed too many.

mod decoder;
mod pairs;
mod response;
mod session;
mod wire;

pub use decoder::decoder;
pub use pairs::pairs;
pub use response::response;
pub use session::session;
