//! Another version of this program in the same process.

pub(crate) mod handover;
pub(crate) mod upgrade;
