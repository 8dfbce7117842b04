//! hookferry: takes webhooks from anyone, proves who sent them, puts them safely on disk, answers,
//! and ferries them to Redis Streams, RabbitMQ or SQS, in order, losing none.

#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod backend;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod event;
pub mod ingress;
pub mod journal;
pub mod keys;
pub mod listener;
pub mod telemetry;
pub mod verify;
