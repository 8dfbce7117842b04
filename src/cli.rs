//! (being written)

pub mod http;
pub mod send;
