//! What we do otherwise than the original.
