//! Another version of this program in the same process.

mod adopt;
pub(crate) mod upgrade;
