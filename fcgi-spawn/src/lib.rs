//! The launcher as a library.
