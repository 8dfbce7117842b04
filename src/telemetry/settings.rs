//! `[telemetry]`: what goes to a collector of traces.

use std::collections::BTreeMap;
use std::fmt;

/// `[telemetry]`: what goes to a collector of traces.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Telemetry")]
pub struct Settings {
    /// Base URL of an OpenTelemetry collector that takes OTLP over HTTP. `None`: no traces are made.
    pub otlp_endpoint: Option<String>,
    /// Headers of every export, such as `authorization`; `env:`, `file:` and `literal:` as in secrets.
    pub otlp_headers: BTreeMap<String, Hidden>,
    /// Share of the requests that are traced; a sender that has decided in its `traceparent` is followed.
    pub trace_sample: Percent,
}

impl Default for Settings {
    fn default() -> Self {
        Self { otlp_endpoint: None, otlp_headers: BTreeMap::new(), trace_sample: Percent(1.0) }
    }
}

impl Settings {
    /// URL that spans are posted to, if any.
    ///
    /// # Errors
    /// What is wrong with the base URL, without its text, which may hold a password.
    pub fn traces_url(&self) -> Result<Option<String>, &'static str> {
        let Some(base) = &self.otlp_endpoint else { return Ok(None) };
        let url = url::Url::parse(base).map_err(|_| "is not a URL")?;
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            return Err("must begin with http:// or https:// and name a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must hold no user or password: use telemetry.otlp_headers");
        }
        let base = url.as_str().trim_end_matches('/');
        Ok(Some(if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") }))
    }
}

/// A header's value that nobody may print.
#[derive(Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// The value, for the one who sends it.
    pub fn expose(&self) -> &str {
        self.0.strip_prefix("literal:").unwrap_or(&self.0)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A share, written `"100%"`, `"0.5%"`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = r"^\d+(\.\d*)?\s*%$"))]
pub struct Percent(f64);

/// No share is not a number.
impl Eq for Percent {}

impl Percent {
    /// From 0 to 1.
    pub fn ratio(self) -> f64 {
        self.0
    }
}

impl TryFrom<String> for Percent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let share = number.filter(|number| (0.0..=100.0).contains(number));
        share
            .map(|number| Self(number / 100.0))
            .ok_or_else(|| format!("`{text}` is not a share from \"0%\" to \"100%\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(endpoint: &str, url: Result<&str, &str>) {
        let settings = Settings { otlp_endpoint: Some(endpoint.to_owned()), ..Settings::default() };
        assert_eq!(
            settings.traces_url(),
            url.map(|url| Some(url.to_owned())).map_err(|_| settings.traces_url().unwrap_err())
        );
        assert_eq!(
            settings.traces_url().err().is_some_and(|error| error.contains(url.unwrap_or_else(|e| e))),
            url.is_err()
        );
    }

    #[test]
    fn a_base_url_gets_the_path_of_traces() {
        check("http://localhost:4318", Ok("http://localhost:4318/v1/traces"));
        check("https://otel.example.com/otlp/", Ok("https://otel.example.com/otlp/v1/traces"));
        check("http://localhost:4318/v1/traces", Ok("http://localhost:4318/v1/traces"));
        check("localhost:4318", Err("must begin with"));
        check("https://me:secret@otel.example.com", Err("no user or password"));
    }

    #[test]
    fn a_share_is_a_percentage() {
        let share = |text: &str| Percent::try_from(text.to_owned()).map(Percent::ratio);
        assert_eq!((share("100%"), share("0.5%"), share("0%")), (Ok(1.0), Ok(0.005), Ok(0.0)));
        for bad in ["1", "101%", "-1%", "%", "NaN%", "half"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
