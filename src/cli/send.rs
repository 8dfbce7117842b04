//! `hookferry send`: (being written)

pub mod expect;
pub mod load;
pub mod pace;
pub mod report;
