//! Posts exports with the HTTP client that the program has anyway.
//!
//! The SDK exports from a thread that no runtime runs on: this has a small one of its own, which works only
//! while an export does.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use rustls::{ClientConfig, RootCertStore};

/// Most bytes of an answer that are read.
const ANSWER: usize = 64 << 10;

/// An HTTP client for one thread at a time.
#[derive(Debug)]
pub struct Post {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Mutex<tokio::runtime::Runtime>,
    timeout: Duration,
}

impl Post {
    /// - `url`: where to; the system's certificates are read where it is https;
    /// - `timeout`: longest time of one request with its answer.
    ///
    /// # Errors
    /// The system's certificates or another part of it cannot be used.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, String> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let builder = if url.starts_with("https:") {
            let with_roots = builder.with_provider_and_native_roots(provider);
            with_roots.map_err(|error| format!("cannot use the system's certificates: {error}"))?
        } else {
            let versions = ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions();
            let versions = versions.map_err(|error| format!("cannot set up TLS: {error}"))?;
            builder.with_tls_config(versions.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
        };
        let connector = builder.https_or_http().enable_http1().build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start a runtime for traces: {error}"))?;
        // Nothing watches an idle connection between two exports.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, runtime: Mutex::new(runtime), timeout })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.client.request(request.map(Full::new)).await?;
        let (head, body) = answer.into_parts();
        Ok(Response::from_parts(head, Limited::new(body, ANSWER).collect().await?.to_bytes()))
    }
}

#[async_trait::async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.block_on(async { tokio::time::timeout(self.timeout, self.send(request)).await? })
    }
}
