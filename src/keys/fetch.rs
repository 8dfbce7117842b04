//! GET over https, without redirects, under caps of size and time.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Largest answer that holds keys, bytes; a set of a dozen takes 5 KiB.
pub const KEYS: usize = 256 << 10;
/// Longest wait for a whole answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client for all sources; cloning is cheap.
#[derive(Clone)]
pub struct Client(legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The other side says that there is no such thing.
    #[error("answered {0}")]
    Refused(StatusCode),
    /// It may be there another time.
    #[error("{0}")]
    Failed(String),
}

impl Client {
    /// A client that trusts the system's certificate authorities (or those that `SSL_CERT_FILE` names).
    ///
    /// # Errors
    /// There are none.
    pub fn new() -> io::Result<Self> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_native_roots()?
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
        let client = legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self(client))
    }

    /// What stands at `url`, at most `most` bytes.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn get(&self, url: &str, most: usize) -> Result<Bytes, FetchError> {
        let failed = |error: &dyn std::error::Error| {
            let root = error.source().map(|root| format!(": {root}")).unwrap_or_default();
            FetchError::Failed(format!("{error}{root}"))
        };
        let uri: Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| failed(&error))?;
        let request = Request::get(uri)
            .header("user-agent", concat!("hookferry/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| failed(&error))?;
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| failed(&error))?;
            match response.status() {
                status if status.is_success() => {}
                status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                    return Err(FetchError::Refused(status));
                }
                status => return Err(FetchError::Failed(format!("answered {status}"))),
            }
            let body = Limited::new(response.into_body(), most).collect().await;
            Ok(body.map_err(|error| FetchError::Failed(error.to_string()))?.to_bytes())
        };
        let late = || FetchError::Failed(format!("no whole answer within {} s", TIMEOUT.as_secs()));
        tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(late()))
    }
}
