//! The shortcuts of a session, `next_request` and `next_contents`, beside `next` over the same bytes.

mod at;
mod bodies;
mod both;
mod random;
mod requests;
