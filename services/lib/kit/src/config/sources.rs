//! Where configuration comes from, and how the sources are laid over each other.

use super::ENVIRONMENT_PREFIX;
use super::schema::Schema;
use crate::error::Error;
use ::config::{Map, Value as ConfigValue, ValueKind};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// File, environment and flags of one invocation.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Environment variables; those without the prefix are ignored.
    pub environment: Vec<(String, String)>,
    /// `--set path.to.key=value`, in order.
    pub sets: Vec<String>,
}

/// One source, parsed and ready to be laid over others.
#[derive(Clone, Debug)]
struct Layer {
    origin: String,
    value: Value,
}

impl Sources {
    /// The sources of this process.
    pub fn of_process(file: Option<PathBuf>, sets: Vec<String>) -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(key, value)| (text(key), text(value)));
        Self {
            file,
            environment: environment.collect(),
            sets,
        }
    }

    /// Lays flags over environment over file, and parses the result.
    pub fn load<C: DeserializeOwned + JsonSchema>(&self) -> Result<C, Error> {
        let schema = Schema::of::<C>();
        let mut layers = Vec::new();
        if let Some(path) = &self.file {
            layers.push(Layer::file(path)?);
        }
        let mut variables: Vec<_> = self.environment.iter().collect();
        variables.sort();
        for (name, value) in variables {
            if let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                let path: Vec<_> = key.to_lowercase().split("__").map(str::to_owned).collect();
                layers.push(Layer::at(
                    format!("environment variable {name}"),
                    &path,
                    value,
                )?);
            }
        }
        for set in &self.sets {
            layers.push(Layer::flag(set)?);
        }
        let mut builder = ::config::Config::builder();
        for layer in layers {
            if let Some(unknown) = schema.unknown_key(&layer.value) {
                return Err(Error::UnknownKey {
                    origin: layer.origin,
                    key: unknown.path,
                    allowed: unknown.allowed.join(", "),
                });
            }
            builder = builder.add_source(layer);
        }
        Ok(builder.build()?.try_deserialize()?)
    }
}

impl Layer {
    fn file(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::ConfigFile {
            path: path.to_owned(),
            source,
        })?;
        let origin = path.display().to_string();
        match serde_norway::from_str(&text) {
            Ok(Value::Null) => Ok(Self {
                origin,
                value: Value::Object(Default::default()),
            }),
            Ok(value @ Value::Object(_)) => Ok(Self { origin, value }),
            Ok(_) => Err(Error::ConfigValue {
                origin,
                message: "must hold a mapping".into(),
            }),
            Err(e) => Err(Error::ConfigValue {
                origin,
                message: e.to_string(),
            }),
        }
    }

    fn flag(set: &str) -> Result<Self, Error> {
        let origin = format!("flag --set {}", set.split('=').next().unwrap_or_default());
        let Some((path, value)) = set.split_once('=') else {
            let message = "must look like path.to.key=value".to_owned();
            return Err(Error::ConfigValue { origin, message });
        };
        let path: Vec<_> = path.split('.').map(str::to_owned).collect();
        Self::at(origin, &path, value)
    }

    /// A single value at `path`. Text that begins like a list or a mapping is read as YAML; anything else stays
    /// text, which the wanted type then parses.
    fn at(origin: String, path: &[String], text: &str) -> Result<Self, Error> {
        let leaf = if text.starts_with(['[', '{']) {
            serde_norway::from_str(text).map_err(|e| Error::ConfigValue {
                origin: origin.clone(),
                message: e.to_string(),
            })?
        } else {
            Value::String(text.to_owned())
        };
        let value = path.iter().rev().fold(leaf, |value, key| {
            Value::Object(std::iter::once((key.clone(), value)).collect())
        });
        Ok(Self { origin, value })
    }
}

impl ::config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn ::config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, ConfigValue>, ::config::ConfigError> {
        let Value::Object(fields) = &self.value else {
            return Ok(Map::new());
        };
        Ok(fields
            .iter()
            .map(|(key, v)| (key.clone(), convert(&self.origin, v)))
            .collect())
    }
}

fn convert(origin: &String, value: &Value) -> ConfigValue {
    let kind = match value {
        Value::Null => ValueKind::Nil,
        Value::Bool(value) => ValueKind::Boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => ValueKind::I64(value),
            (None, Some(value)) => ValueKind::U64(value),
            (None, None) => ValueKind::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => ValueKind::String(text.clone()),
        Value::Array(items) => {
            ValueKind::Array(items.iter().map(|item| convert(origin, item)).collect())
        }
        Value::Object(fields) => ValueKind::Table(
            fields
                .iter()
                .map(|(key, value)| (key.clone(), convert(origin, value)))
                .collect(),
        ),
    };
    ConfigValue::new(Some(origin), kind)
}
