//! `hookferry send`: (being written)

pub mod expect;
pub mod fault;
pub mod load;
pub mod pace;
pub mod report;
pub mod template;
