//! `hookferry healthcheck`: whether a running bridge takes events, for images without curl.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use url::Url;

use super::http::Method;
use super::{Files, api, print, remote, trust};

/// Longest wait for the answer: less than the time-outs of container engines.
const LIMIT: Duration = Duration::from_secs(4);

/// Ask a running bridge whether it takes events: exit status 0 if so, 1 with the reasons if not
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the admin listener, or unix:PATH of its socket [default: where the configuration has it]
    #[arg(long = "admin", value_name = "URL")]
    url: Option<Url>,
    #[command(flatten)]
    trust: trust::Options,
}

/// Answer of `/readyz`.
#[derive(Deserialize)]
struct Ready {
    status: String,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    degraded: Vec<String>,
}

/// Prints what `/readyz` says.
///
/// # Errors
/// The bridge does not answer.
pub fn run(args: Args, files: &Files) -> anyhow::Result<ExitCode> {
    let remote = remote::Options { url: args.url, token: None, trust: args.trust }.resolve(files)?;
    let answer = api::block(async {
        let request = remote.request(Method::GET, "/readyz", &[])?;
        let mut client = remote.client()?;
        Ok(client.send(request, LIMIT).await?)
    })?;
    let ready: Ready = serde_json::from_slice(&answer.body).context("this is no admin listener of hookferry")?;
    let mut text = ready.status + "\n";
    for line in ready.reasons.iter().chain(&ready.degraded) {
        text.push_str(&format!("  {}\n", api::plain(line)));
    }
    print(&text)?;
    Ok(if answer.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
