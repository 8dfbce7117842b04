//! `[catalogue]`: providers beside those that are built in.

use std::path::PathBuf;

use crate::event::{schema, units};

/// `[catalogue]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder of further provider files, `<name>.toml`. `None`: there are none.
    pub dir: Option<PathBuf>,
    /// Names of built-in providers that a file of the folder stands in for.
    #[serde(deserialize_with = "units::list")]
    #[schemars(with = "schema::List<String>")]
    pub replace: Vec<String>,
}
