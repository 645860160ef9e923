//! The two kinds of objects that a control plane keeps in its hosting cluster, as far as we read and write them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// A kind of object in a namespace, of the core API.
pub trait Object: Serialize + DeserializeOwned {
    /// As in the API's paths.
    const PLURAL: &'static str;

    /// Its name and version.
    fn metadata(&self) -> &Metadata;
}

/// Name and version of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The name.
    pub name: String,
    /// Which state of the object this is. A change that names it is refused when the object has another by then.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

/// A ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigMap {
    /// Name and version.
    pub metadata: Metadata,
    /// Texts by key.
    pub data: BTreeMap<String, String>,
}

/// A Secret. Its values don't stand in its `Debug` text, and are wiped when dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// Name and version.
    pub metadata: Metadata,
    /// Bytes by key.
    pub data: BTreeMap<String, Value>,
}

/// Bytes of a Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(pub Zeroizing<Vec<u8>>);

impl Metadata {
    /// Of an object that isn't there yet.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

impl Object for ConfigMap {
    const PLURAL: &'static str = "configmaps";

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl Object for Secret {
    const PLURAL: &'static str = "secrets";

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(&*self.0)))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = STANDARD.decode(text.as_bytes());
        bytes
            .map(|bytes| Self(Zeroizing::new(bytes)))
            .map_err(|_| de::Error::custom("a value isn't base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_written_as_the_api_has_it_and_never_shown() {
        let json = r#"{"kind":"Secret","type":"Opaque","data":{"seal.key":"aHVzaA=="},
            "metadata":{"name":"p-seal","resourceVersion":"7","uid":"u"}}"#;
        let secret: Secret = serde_json::from_str(json).unwrap();
        assert_eq!(*secret.data["seal.key"].0, b"hush");
        assert_eq!(secret.metadata.resource_version, "7");
        let shown = format!("{secret:?}");
        assert!(
            shown.contains("4 bytes") && !shown.contains("hush"),
            "{shown}"
        );
        let written = serde_json::to_string(&secret).unwrap();
        assert!(written.contains(r#""seal.key":"aHVzaA==""#), "{written}");
    }
}
