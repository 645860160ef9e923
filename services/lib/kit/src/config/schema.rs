//! Questions to a JSON schema: which keys may stand where, what is secret, what a field is.

use schemars::JsonSchema;
use serde_json::{Map, Value};

/// The JSON schema of a configuration struct.
pub(super) struct Schema {
    root: Value,
}

/// A key that the schema doesn't know.
pub(super) struct Unknown {
    pub(super) path: String,
    pub(super) allowed: Vec<String>,
}

impl Schema {
    pub(super) fn of<C: JsonSchema>() -> Self {
        Self {
            root: schemars::schema_for!(C).to_value(),
        }
    }

    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    /// The first key of `value` that no field has.
    pub(super) fn unknown_key(&self, value: &Value) -> Option<Unknown> {
        self.unknown_below(&self.root, value, "")
    }

    /// Replaces every `writeOnly` field of `value`.
    pub(super) fn redact(&self, value: &mut Value) {
        self.redact_below(&self.root, value);
    }

    /// The schema's variants at a place: references resolved, `allOf`, `anyOf` and `oneOf` opened.
    pub(super) fn variants<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![schema];
        if let Some(target) = schema.get("$ref").and_then(Value::as_str)
            && let Some(schema) = self.root.pointer(target.trim_start_matches('#'))
        {
            found.extend(self.variants(schema));
        }
        for union in ["allOf", "anyOf", "oneOf"] {
            let members = schema
                .get(union)
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            found.extend(members.flat_map(|member| self.variants(member)));
        }
        found
    }

    fn unknown_below(&self, schema: &Value, value: &Value, path: &str) -> Option<Unknown> {
        let variants = self.variants(schema);
        match value {
            Value::Object(fields) => fields.iter().find_map(|(key, value)| {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                match child(&variants, key) {
                    Child::Known(schemas) => {
                        // With several variants a key is known when any of them takes it.
                        let mut unknown = schemas
                            .iter()
                            .map(|schema| self.unknown_below(schema, value, &path));
                        unknown.next()?.filter(|_| unknown.all(|u| u.is_some()))
                    }
                    Child::Unchecked => None,
                    Child::Unknown(allowed) => Some(Unknown { path, allowed }),
                }
            }),
            Value::Array(items) => {
                let schema = variants.iter().find_map(|variant| variant.get("items"))?;
                items.iter().enumerate().find_map(|(index, item)| {
                    self.unknown_below(schema, item, &format!("{path}[{index}]"))
                })
            }
            _ => None,
        }
    }

    fn redact_below(&self, schema: &Value, value: &mut Value) {
        let variants = self.variants(schema);
        let secret = |schema: &&Value| schema.get("writeOnly") == Some(&Value::Bool(true));
        if !value.is_null() && variants.iter().any(secret) {
            *value = Value::String("<redacted>".to_owned());
            return;
        }
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    if let Child::Known(schemas) = child(&variants, key) {
                        schemas
                            .iter()
                            .for_each(|schema| self.redact_below(schema, value));
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = variants.iter().find_map(|variant| variant.get("items")) {
                    items
                        .iter_mut()
                        .for_each(|item| self.redact_below(schema, item));
                }
            }
            _ => {}
        }
    }
}

enum Child<'a> {
    Known(Vec<&'a Value>),
    /// The schema says nothing about keys here (free-form values, scalars given as text).
    Unchecked,
    Unknown(Vec<String>),
}

fn child<'a>(variants: &[&'a Value], key: &str) -> Child<'a> {
    let properties = || {
        variants
            .iter()
            .filter_map(|v| v.get("properties")?.as_object())
    };
    let mut known: Vec<&Value> = properties().filter_map(|fields| fields.get(key)).collect();
    let free = variants
        .iter()
        .filter_map(|v| v.get("additionalProperties"));
    known.extend(free.filter(|schema| schema.is_object()));
    if !known.is_empty() {
        return Child::Known(known);
    }
    let mut allowed: Vec<String> = properties().flat_map(Map::keys).cloned().collect();
    if allowed.is_empty() {
        return Child::Unchecked;
    }
    allowed.sort();
    allowed.dedup();
    Child::Unknown(allowed)
}
