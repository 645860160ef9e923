//! The configuration reference, rendered from the struct itself.

use super::ENVIRONMENT_PREFIX;
use super::schema::Schema;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;

/// A Markdown section that lists every setting of `C`: key, type, default, environment variable, meaning.
pub fn reference_markdown<C: JsonSchema + Serialize + Default>(name: &str) -> String {
    let schema = Schema::of::<C>();
    let defaults = serde_json::to_value(C::default()).unwrap_or_default();
    let mut section = format!(
        "## {name}\n\n\
         | key | type | default | environment | meaning |\n\
         | --- | --- | --- | --- | --- |\n"
    );
    rows(&schema, schema.root(), &defaults, "", &mut section);
    section
}

/// The settings below `path`, one row each; those of nested structs in their parent's place.
fn rows(schema: &Schema, at: &Value, defaults: &Value, path: &str, section: &mut String) {
    for variant in schema.variants(at) {
        let Some(fields) = variant.get("properties").and_then(Value::as_object) else {
            continue;
        };
        for (key, field) in fields {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let default = defaults.get(key).unwrap_or(&Value::Null);
            let variants = schema.variants(field);
            if is_struct(&variants) {
                rows(schema, field, default, &path, section);
                continue;
            }
            // Writing to a String can't fail.
            let _ = writeln!(
                section,
                "| `{path}` | {} | {} | {} | {} |",
                kind(&variants),
                shown_default(default),
                variable(&path),
                meaning(&variants)
            );
            if let Some(items) = variants.iter().find_map(|variant| variant.get("items"))
                && is_struct(&schema.variants(items))
            {
                rows(schema, items, &Value::Null, &format!("{path}[]"), section);
            }
        }
    }
}

fn is_struct(variants: &[&Value]) -> bool {
    variants
        .iter()
        .any(|variant| variant.get("properties").is_some())
}

/// The first description: a field's own comes before its type's.
fn meaning(variants: &[&Value]) -> String {
    let text = variants.iter().find_map(|v| v.get("description")?.as_str());
    cell(text.unwrap_or_default())
}

fn shown_default(default: &Value) -> String {
    if default.is_null() {
        return "–".to_owned();
    }
    format!("`{}`", cell(&default.to_string()))
}

/// The variable that sets `path`; what is inside of a list has none.
fn variable(path: &str) -> String {
    if path.contains("[]") {
        return "–".to_owned();
    }
    let name = path.to_uppercase().replace('.', "__");
    format!("`{ENVIRONMENT_PREFIX}{name}`")
}

/// Text as it can stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

fn kind(variants: &[&Value]) -> String {
    let constants = variants.iter().filter_map(|v| v.get("const")?.as_str());
    let listed = variants
        .iter()
        .filter_map(|v| v.get("enum")?.as_array())
        .flatten();
    let values: Vec<_> = constants.chain(listed.filter_map(Value::as_str)).collect();
    if !values.is_empty() {
        return values
            .iter()
            .map(|value| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let named = variants.iter().find_map(|v| match v.get("type")? {
        Value::Array(kinds) => kinds
            .iter()
            .find_map(|k| k.as_str().filter(|k| *k != "null")),
        kind => kind.as_str(),
    });
    match named {
        Some("array") => "list",
        Some("object") => "map",
        Some(kind) => kind,
        None => "any",
    }
    .to_owned()
}
