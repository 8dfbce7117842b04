//! Certificates from an authority (ACME, RFC 8555): ordered, kept on disk, renewed before they end.
//!
//! The authority sees that a name is ours by a handshake at our own listener (TLS-ALPN-01, RFC 8737): no second port,
//! no file to serve. `rustls_acme` orders; what comes of it is kept and shown here.
//!
//! Promises
//! - What is shown stays until there is a newer one, whatever becomes of orders; a restart shows it at once.
//! - Account and certificate are in files that only we read, and each is there whole or not at all.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::StreamExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_acme::{AccountCache, AcmeConfig, CertCache, EventError, EventOk};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{News, Wrong, roots, settings, validity};

/// Longest time of an order: an authority that has not answered by then never will, and is asked anew.
const ORDER: Duration = Duration::from_secs(15 * 60);
/// Most that an order waits after a failed one, as a power of two in seconds; it begins with one second.
const LONGEST_WAIT: u32 = 16;
/// Most characters of an error that are told.
const MOST_SAID: usize = 500;

/// Who gives the certificates of a listener, and the one that it gave.
#[derive(Debug, Clone)]
pub struct Authority(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: settings::Acme,
    dir: PathBuf,
    client: Arc<ClientConfig>,
    /// What clients are shown.
    shown: ArcSwapOption<Shown>,
    /// What the authority is shown.
    challenge: ArcSwapOption<ServerConfig>,
}

#[derive(Debug)]
struct Shown {
    key: Arc<CertifiedKey>,
    not_before_s: i64,
    not_after_s: i64,
}

impl Authority {
    /// The authority of `settings`, with what it gave before.
    ///
    /// - `dir`: where that is, if the settings do not say.
    ///
    /// # Errors
    /// A name or an address that no authority takes; certificates that cannot be read.
    pub fn new(settings: &settings::Acme, dir: &Path) -> Result<Self, Wrong> {
        let wrong = |key, what: String| Err(Wrong { key, what });
        if !url::Url::parse(&settings.directory).is_ok_and(|url| url.scheme() == "https" && url.has_host()) {
            return wrong("acme.directory", format!("`{}` is no URL of https", settings.directory));
        }
        if settings.domains.is_empty() {
            return wrong("acme.domains", "names no domain".to_owned());
        }
        for domain in &settings.domains {
            if domain.contains('*') {
                return wrong("acme.domains", format!("`{domain}`: no handshake proves a wildcard"));
            }
            if DnsName::try_from(domain.as_str()).is_err() || domain.parse::<std::net::IpAddr>().is_ok() {
                return wrong("acme.domains", format!("`{domain}` is no name of DNS"));
            }
        }
        if let Some(contact) = settings.contact.iter().find(|contact| !contact.starts_with("mailto:")) {
            return wrong("acme.contact", format!("`{contact}` is not as \"mailto:ops@example.com\""));
        }
        let roots = match &settings.ca {
            Some(file) => roots("acme.ca", file)?,
            None => system()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Wrong { key: "acme", what: error.to_string() })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let inner = Inner {
            dir: settings.cache_dir.clone().unwrap_or_else(|| dir.to_owned()),
            settings: settings.clone(),
            client: Arc::new(client),
            shown: ArcSwapOption::empty(),
            challenge: ArcSwapOption::empty(),
        };
        // What cannot be read is ordered anew, and the log says then why.
        if let Ok(pem) = fs::read(inner.certificate_file()) {
            inner.show(&pem);
        }
        Ok(Self(Arc::new(inner)))
    }

    /// What shows its certificate to clients.
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        self.0.clone()
    }

    /// What answers its question whether a name is ours. `None`: nothing was ordered.
    pub fn challenge(&self) -> Option<Arc<ServerConfig>> {
        self.0.challenge.load_full()
    }

    /// The certificate that is shown, if there is one.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.0.shown.load().as_ref().and_then(|shown| shown.key.cert.first().cloned())
    }

    /// When it ends: Unix time, seconds.
    pub fn not_after_s(&self) -> Option<i64> {
        self.0.shown.load().as_ref().map(|shown| shown.not_after_s)
    }

    /// Whether it should have been renewed by now: orders began when a third of its time was left.
    pub fn is_late(&self, now_s: i64) -> bool {
        let late = |shown: &Arc<Shown>| shown.not_after_s - now_s < (shown.not_after_s - shown.not_before_s) / 4;
        self.0.shown.load().as_ref().is_some_and(late)
    }

    /// Orders a certificate where there is none, and a new one once two thirds of the last one's time are over. Never returns.
    ///
    /// - `now_ms`: the time.
    pub async fn run(self, now_ms: fn() -> u64, tell: impl Fn(News)) {
        loop {
            self.order(now_ms, &tell).await;
        }
    }

    /// Follows orders until one hangs: the library waits for an answer without end.
    async fn order(&self, now_ms: fn() -> u64, tell: &impl Fn(News)) {
        let settings = &self.0.settings;
        let config = AcmeConfig::new_with_client_config(&settings.domains, self.0.client.clone())
            .directory(&settings.directory)
            .contact(&settings.contact)
            .cache(Files(self.0.clone()));
        let mut state = config.state();
        self.0.challenge.store(Some(state.challenge_rustls_config()));
        let (mut failures, mut next) = (0_u32, Duration::ZERO);
        let mut begun = Instant::now();
        loop {
            let event = tokio::time::timeout_at(begun + next + ORDER, state.next()).await;
            begun = Instant::now();
            match event {
                Ok(Some(Ok(EventOk::AccountCacheStore))) => {}
                Ok(Some(Ok(EventOk::DeployedNewCert))) => failures = 0,
                Ok(Some(Ok(event @ (EventOk::DeployedCachedCert | EventOk::CertCacheStore)))) => {
                    next = self.0.renews_in(now_ms() / 1000);
                    tell(News::Shown { new: matches!(event, EventOk::CertCacheStore) });
                }
                Ok(Some(Err(error))) => {
                    let wait = Duration::from_secs(1_u64 << failures);
                    next = self.0.renews_in(now_ms() / 1000).max(wait);
                    failures = (failures + 1).min(LONGEST_WAIT);
                    // It may hold a whole page of the authority.
                    tell(News::Failed(error.to_string().chars().take(MOST_SAID).collect()));
                    // The library itself waits after a failed order only: what it cannot read it would order again at once.
                    if !matches!(error, EventError::Order(_)) {
                        tokio::time::sleep(wait).await;
                    }
                }
                Ok(None) | Err(_) => {
                    let minutes = ORDER.as_secs() / 60;
                    return tell(News::Failed(format!("an order has taken more than {minutes} minutes")));
                }
            }
        }
    }
}

impl Inner {
    /// Shows the key and the certificates in `pem` from now on, if they are whole and belong together.
    fn show(&self, pem: &[u8]) {
        if let Some(shown) = Shown::read(pem) {
            self.shown.store(Some(Arc::new(shown)));
        }
    }

    /// Time until a new certificate is ordered.
    fn renews_in(&self, now_s: u64) -> Duration {
        let shown = self.shown.load();
        let renews_s =
            shown.as_ref().map_or(0, |shown| shown.not_after_s - (shown.not_after_s - shown.not_before_s) / 3);
        Duration::from_secs(u64::try_from(renews_s).unwrap_or(0).saturating_sub(now_s))
    }

    fn certificate_file(&self) -> PathBuf {
        self.file("certificate", &self.settings.domains)
    }

    fn account_file(&self) -> PathBuf {
        self.file("account", &self.settings.contact)
    }

    /// Another authority, and other names, are other files.
    fn file(&self, what: &str, of: &[String]) -> PathBuf {
        let mut hash = Sha256::new();
        for part in std::iter::once(&self.settings.directory).chain(of) {
            hash.update(part);
            hash.update([0]);
        }
        self.dir.join(format!("{what}-{}", hex::encode(&hash.finalize()[..8])))
    }
}

impl ResolvesServerCert for Inner {
    fn resolve(&self, _: ClientHello) -> Option<Arc<CertifiedKey>> {
        self.shown.load().as_ref().map(|shown| shown.key.clone())
    }
}

impl Shown {
    fn read(pem: &[u8]) -> Option<Self> {
        let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
        let (not_before_s, not_after_s) = validity(chain.first()?)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).ok()?;
        Some(Self { key: Arc::new(key), not_before_s, not_after_s })
    }
}

/// The system's authorities.
fn system() -> Result<RootCertStore, Wrong> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let what = "the system has no certificate authorities: name those of the directory".to_owned();
        return Err(Wrong { key: "acme.ca", what });
    }
    Ok(roots)
}

/// What the library keeps over restarts.
struct Files(Arc<Inner>);

#[async_trait::async_trait]
impl CertCache for Files {
    type EC = io::Error;

    async fn load_cert(&self, _: &[String], _: &str) -> io::Result<Option<Vec<u8>>> {
        read(self.0.certificate_file()).await
    }

    async fn store_cert(&self, _: &[String], _: &str, pem: &[u8]) -> io::Result<()> {
        // Shown first: a disk that takes nothing is no reason to end with the old one.
        self.0.show(pem);
        keep(self.0.certificate_file(), pem).await
    }
}

#[async_trait::async_trait]
impl AccountCache for Files {
    type EA = io::Error;

    async fn load_account(&self, _: &[String], _: &str) -> io::Result<Option<Vec<u8>>> {
        read(self.0.account_file()).await
    }

    async fn store_account(&self, _: &[String], _: &str, key: &[u8]) -> io::Result<()> {
        keep(self.0.account_file(), key).await
    }
}

async fn read(file: PathBuf) -> io::Result<Option<Vec<u8>>> {
    let read = tokio::task::spawn_blocking(move || match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    });
    read.await.map_err(io::Error::other)?
}

async fn keep(file: PathBuf, content: &[u8]) -> io::Result<()> {
    let content = zeroize::Zeroizing::new(content.to_owned());
    let written = tokio::task::spawn_blocking(move || {
        let dir = file.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let temporary = file.with_extension("tmp");
        // One that a crash left may have another mode.
        let _ = fs::remove_file(&temporary);
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        new.write_all(&content)?;
        new.sync_all()?;
        fs::rename(&temporary, &file)?;
        fs::File::open(dir)?.sync_all()
    });
    written.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::super::{Identity, Tls};
    use super::*;

    /// An identity whose authority has given `pem` before.
    fn given(pem: &str, dir: &Path) -> Identity {
        let ca = dir.join("ca.pem");
        fs::write(&ca, rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem()).unwrap();
        let acme = settings::Acme { domains: vec!["a.example".to_owned()], ca: Some(ca), ..Default::default() };
        let settings = settings::Tls { acme: Some(acme), ..Default::default() };
        let load = || Identity::load(&settings, dir).unwrap();
        fs::write(load().authority().unwrap().0.certificate_file(), pem).unwrap();
        load()
    }

    fn pair(name: &str) -> (CertificateDer<'static>, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.der().clone(), made.signing_key.serialize_pem() + &made.cert.pem())
    }

    #[test]
    fn what_was_kept_is_shown_and_what_is_broken_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, pem) = pair("a.example");
        assert_eq!(given(&pem, dir.path()).certificate(), Some(certificate));
        let (key, chain) = pem.split_at(pem.find("-----BEGIN CERT").unwrap());
        let other = pair("a.example").1;
        let stranger = format!("{key}{}", &other[other.find("-----BEGIN CERT").unwrap()..]);
        for broken in ["", key, chain, &pem[..pem.len() / 2], &stranger] {
            assert_eq!(given(broken, dir.path()).certificate(), None, "{broken}");
        }
    }

    #[test]
    fn a_reload_keeps_the_authority_and_what_it_gave() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (certificate, pem) = pair("a.example");
        let tls = Tls::new(&given(&pem, dir.path()));
        tls.replace(&given("", other.path()));
        assert_eq!(tls.shown().certificate(), Some(certificate));
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let identity = given("", dir.path());
        let inner = &identity.authority().unwrap().0;
        assert_eq!(inner.renews_in(1_000), Duration::ZERO, "there is none");
        let shown = Shown::read(pair("a.example").1.as_bytes()).unwrap();
        inner.shown.store(Some(Arc::new(Shown { not_before_s: 1_000, not_after_s: 1_900, ..shown })));
        for (now_s, expected_s) in [(1_000, 600), (1_599, 1), (1_600, 0), (5_000, 0)] {
            assert_eq!(inner.renews_in(now_s).as_secs(), expected_s);
        }
    }
}
