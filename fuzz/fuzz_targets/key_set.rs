//! What a sender's server answers when it is asked for keys: key sets, PEM, certificates.
#![no_main]

use hookferry::catalogue;
use libfuzzer_sys::fuzz_target;

const URLS: [(&str, &str); 2] = [
    ("google-chat", "https://www.googleapis.com/oauth2/v3/certs"),
    ("aws-sns", "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem"),
];

fuzz_target!(|data: &[u8]| {
    for (name, url) in URLS {
        let Ok(provider) = catalogue::provider(name) else { continue };
        let Some(example) = provider.contract.example.first() else { continue };
        let Ok(provider) = provider.clone().with_own(&[], example.options.clone()) else { continue };
        let Ok(keys) = provider.rule.no_keys() else { continue };
        _ = provider.rule.with_fetched(&keys, url, data, 1_700_000_000);
    }
});
