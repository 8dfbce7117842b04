//! In the place of an authority where the cargo feature `acme` is off: there is never one.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::ResolvesServerCert;

use super::{News, Wrong, settings};

/// Is never made; only this file knows, so that the others read the same in every build.
#[derive(Debug, Clone)]
pub struct Authority(Never);

#[derive(Debug, Clone)]
enum Never {}

impl Authority {
    pub fn new(_: &settings::Acme, _: &Path) -> Result<Self, Wrong> {
        let what = "this build asks no authority for certificates: its cargo feature `acme` is off";
        Err(Wrong { key: "acme", what: what.to_owned() })
    }

    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        match self.0 {}
    }

    pub fn challenge(&self) -> Option<Arc<ServerConfig>> {
        match self.0 {}
    }

    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        match self.0 {}
    }

    pub fn not_after_s(&self) -> Option<i64> {
        match self.0 {}
    }

    pub fn is_late(&self, _: i64) -> bool {
        match self.0 {}
    }

    pub async fn run(self, _: fn() -> u64, _: impl Fn(News)) {
        match self.0 {}
    }
}
