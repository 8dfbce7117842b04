//! The certificates of both listeners: replaced by a reload, ordered from an authority, and watched until they end.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::now_ms;
use crate::config::Config;
use crate::listener::Tls;
use crate::listener::tls::{Identity, News};
use crate::telemetry::Metrics;

/// Days before the end of a certificate from which it is spoken of, once a day.
const SOON_DAYS: i64 = 30;
/// Days before the end from which somebody must act.
const NOW_DAYS: i64 = 7;
const DAY_S: i64 = 24 * 60 * 60;

/// What the listeners show; `None`: plain HTTP.
#[derive(Clone)]
pub struct Certificates {
    /// Of the ingress.
    pub server: Option<Arc<Tls>>,
    /// Of the admin listener.
    pub admin: Option<Arc<Tls>>,
}

impl Certificates {
    /// Those of `config`.
    pub fn new(config: &Config, metrics: &Metrics) -> Self {
        let made = |identity: &Option<Identity>| identity.as_ref().map(|identity| Arc::new(Tls::new(identity)));
        let certificates = Self { server: made(&config.tls), admin: made(&config.admin.tls) };
        certificates.tell(metrics);
        certificates
    }

    /// Orders those that an authority gives, until the handle is dropped. `None`: all are from files.
    pub fn order(&self, metrics: &Metrics) -> Option<AbortOnDropHandle<()>> {
        let authority = self.server.as_ref()?.shown().authority()?.clone();
        for result in ["success", "failure"] {
            metrics.acme_orders.get_or_create(&vec![("result", result.to_owned())]).inc_by(0);
        }
        let (certificates, metrics) = (self.clone(), metrics.clone());
        let orders = authority.run(now_ms, move |news| {
            let count = |result: &str| metrics.acme_orders.get_or_create(&vec![("result", result.to_owned())]).inc();
            match news {
                News::Shown { new: false } => {}
                News::Shown { new: true } => {
                    count("success");
                    tracing::info!("the authority of [server.tls.acme] gave a certificate, and it is shown");
                }
                News::Failed(why) => {
                    count("failure");
                    tracing::warn!("no new certificate from the authority of [server.tls.acme], tried again: {why}");
                }
            }
            certificates.tell(&metrics);
        });
        Some(AbortOnDropHandle::new(tokio::spawn(orders)))
    }

    /// Shows those of `config` from the next handshake on. Whether a listener speaks TLS stays as it was.
    pub fn replace(&self, config: &Config, metrics: &Metrics) {
        for (tls, identity) in [(&self.server, &config.tls), (&self.admin, &config.admin.tls)] {
            if let (Some(tls), Some(identity)) = (tls, identity) {
                tls.replace(identity);
            }
        }
        self.tell(metrics);
    }

    /// Shows when they end, and warns of an end that is near.
    pub fn tell(&self, metrics: &Metrics) {
        let now_s = i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX);
        for (listener, tls) in [("server", &self.server), ("admin", &self.admin)] {
            let Some(shown) = tls.as_ref().map(|tls| tls.shown()) else { continue };
            let Some(not_after_s) = shown.not_after_s() else { continue };
            let labels = vec![("listener", listener.to_owned())];
            metrics.tls_not_after_seconds.get_or_create(&labels).set(not_after_s);
            if shown.authority().is_some_and(|authority| !authority.is_late(now_s)) {
                // However short its time is, it is renewed without anybody.
                continue;
            }
            match (not_after_s - now_s).div_euclid(DAY_S) {
                days if days < 0 => {
                    tracing::error!(
                        listener,
                        days,
                        "the certificate of [{listener}.tls] has expired: clients refuse it"
                    );
                }
                days if days < NOW_DAYS => {
                    tracing::error!(listener, days, "the certificate of [{listener}.tls] expires in {days} days");
                }
                days if days < SOON_DAYS => {
                    tracing::warn!(listener, days, "the certificate of [{listener}.tls] expires in {days} days");
                }
                _ => {}
            }
        }
    }
}
