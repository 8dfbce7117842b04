//! The embedded provider files: one list of names, sorted.

use std::cmp::Reverse;

macro_rules! files {
    ($($name:literal)+) => {
        /// Name and text of every provider, sorted by name.
        pub(super) const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../providers/", $name, ".toml")))),+];
    };
}

files! {
    "anthropic"
    "github"
    "gitlab"
    "gitlab-token"
    "openai"
    "shopify"
    "slack"
    "standard-webhooks"
    "stripe"
    "svix"
}

/// The name most like `name`: the one with the longest common beginning, of three letters at least; of several the
/// shortest.
pub(super) fn near(name: &str) -> Option<String> {
    let common = |other: &str| other.bytes().zip(name.bytes()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    let (other, _) = FILES.iter().max_by_key(|(other, _)| (common(other), Reverse(other.len())))?;
    (common(other) >= 3).then(|| (*other).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_directory() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/providers");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".toml").map(str::to_owned))
            .collect();
        files.sort();
        assert_eq!(FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), files);
    }

    #[test]
    fn a_misspelt_name_leads_to_the_right_one() {
        assert_eq!(near("githib").as_deref(), Some("github"));
        assert_eq!(near("gitla").as_deref(), Some("gitlab"));
        assert_eq!(near("Stripe").as_deref(), Some("stripe"));
        assert_eq!(near("zzz"), None);
    }
}
