//! Typed configuration: file < environment < flags, unknown keys refused.
//!
//! A service's configuration is one struct that derives `Serialize, Deserialize, JsonSchema` with
//! `#[serde(default, deny_unknown_fields)]`, and holds [`Common`] as `common`. Fields marked
//! `#[schemars(extend("writeOnly" = true))]` are redacted by `--print-config`.

mod common;
mod reference;
mod schema;
mod sources;

pub use common::{Common, HasCommon, LogFormat};
pub use reference::reference_markdown;
pub use sources::Sources;

use crate::error::Error;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Prefix of environment variables that configure; levels are separated by `__`.
pub const ENVIRONMENT_PREFIX: &str = "SEXTANT_";

/// Loads a configuration from `sources`.
pub fn load<C: DeserializeOwned + JsonSchema>(sources: &Sources) -> Result<C, Error> {
    sources.load()
}

/// The configuration as YAML with every `writeOnly` field redacted.
pub fn print<C: Serialize + JsonSchema>(config: &C) -> Result<String, Error> {
    let unprintable = |message: String| Error::ConfigValue {
        origin: "result".into(),
        message,
    };
    let mut value = serde_json::to_value(config).map_err(|e| unprintable(e.to_string()))?;
    schema::Schema::of::<C>().redact(&mut value);
    serde_norway::to_string(&value).map_err(|e| unprintable(e.to_string()))
}

#[cfg(test)]
mod tests;
