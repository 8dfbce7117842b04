//! How the texts of the configuration look to JSON Schema: what `units` and the names accept, as patterns.
//!
//! A field that is read by a function of `units` names its shape here: `#[schemars(with = "schema::Duration")]`.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::route::Glob;
use super::{BackendName, SecretRef, SourceName};

macro_rules! text {
    ($($(#[$doc:meta])* $shape:ident $name:literal $pattern:literal $description:literal)+) => {$(
        $(#[$doc])*
        pub struct $shape;

        impl JsonSchema for $shape {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "description": $description})
            }
        }
    )+};
}

text! {
    /// What [`super::units::duration`] reads.
    Duration "Duration" r"^\s*(\d+\s*[a-zA-Z]+\s*)+$|^0$" "A duration: \"300ms\", \"10s\", \"24h\"."
    /// What [`super::units::size`] reads.
    Size "Size" r"^\s*\d+(\.\d*)?\s*([kKmMgGtTpPeE]([iI]?[bB])?|[bB])?\s*$" "A size: \"512KiB\", \"1MiB\", \"10GiB\"."
    /// An address, a network or the Unix socket.
    Proxy "Proxy" r"^([0-9a-fA-F.:]+(/\d{1,3})?|unix)$" "An address, a network as \"192.0.2.0/24\", or \"unix\"."
}

/// What [`super::units::list`] reads: a list, or one text with commas.
pub struct List<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("ListOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({"anyOf": [{"type": "array", "items": item}, {"type": "string"}]})
    }
}

macro_rules! own {
    ($($of:ty, $name:literal $schema:tt)+) => {$(
        impl JsonSchema for $of {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

/// What a name may be.
pub const NAME: &str = "^[a-z0-9][a-z0-9_-]{0,63}$";

own! {
    SourceName, "SourceName" {"type": "string", "pattern": NAME}
    BackendName, "BackendName" {"type": "string", "pattern": NAME}
    Glob, "Glob" {"type": "string", "description": "A pattern: `*` stands for any text."}
    SecretRef, "Secret" {
        "type": "string",
        "pattern": "^(env|file|literal):[\\s\\S]+$",
        "description": "Where a secret stands: \"env:NAME\", \"file:PATH\" or \"literal:VALUE\".",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::units;

    fn fits<T: JsonSchema>(text: &str) -> bool {
        let schema = serde_json::to_value(schemars::schema_for!(T)).unwrap();
        jsonschema::validator_for(&schema).unwrap().is_valid(&text.into())
    }

    /// What the reader of a text says, and what its schema says.
    #[track_caller]
    fn check<T: JsonSchema>(reads: impl Fn(serde_json::Value) -> bool, texts: &[&str]) {
        for text in texts {
            assert_eq!(fits::<T>(text), reads((*text).into()), "{text:?}");
        }
    }

    #[test]
    fn a_shape_takes_what_its_reader_takes() {
        let durations = ["300ms", "10s", "24h", "1h 30m", "1day", "0s", "", "10", "s", "-1s", "1.5 s?", " 3s "];
        check::<Duration>(|text| units::duration(text).is_ok(), &durations);
        let sizes = ["1MiB", "512KiB", "10GiB", "5", "1 MB", "1k", "1.5MiB", "0", "", "MiB", "-1", "1 pound", "1B"];
        check::<Size>(|text| units::size(text).is_ok(), &sizes);
        let secrets = ["env:A", "file:a/b", "literal:x\ny", "env:", "hunter2", ""];
        check::<SecretRef>(|text| serde_json::from_value::<SecretRef>(text).is_ok(), &secrets);
        let names = ["github", "stripe-eu_2", "", "GitHub", "-x", "a/b"];
        check::<SourceName>(|text| text.as_str().unwrap_or_default().parse::<SourceName>().is_ok(), &names);
    }
}
