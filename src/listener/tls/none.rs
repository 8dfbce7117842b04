//! In the place of an authority where the cargo feature `acme` is off: there is never one.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::ResolvesServerCert;

use super::{News, Wrong, settings};

/// Is never made.
#[derive(Debug, Clone)]
pub enum Authority {}

impl Authority {
    pub fn new(_: &settings::Acme, _: &Path) -> Result<Self, Wrong> {
        let what = "this build asks no authority for certificates: its cargo feature `acme` is off";
        Err(Wrong { key: "acme", what: what.to_owned() })
    }

    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        match *self {}
    }

    pub fn challenge(&self) -> Option<Arc<ServerConfig>> {
        match *self {}
    }

    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        match *self {}
    }

    pub fn not_after_s(&self) -> Option<i64> {
        match *self {}
    }

    pub async fn run(self, _: fn() -> u64, _: impl Fn(News)) {
        match self {}
    }
}
