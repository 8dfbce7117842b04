//! (being written)

pub mod check;
pub mod http;
pub mod remote;
pub mod send;
pub mod tail;
