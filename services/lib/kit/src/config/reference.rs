//! The configuration reference, rendered from the struct itself.

use super::schema::Schema;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;

/// A Markdown page that lists every setting of `C`: key, type, default, environment variable, meaning.
pub fn reference_markdown<C: JsonSchema + Serialize + Default>(name: &str) -> String {
    let schema = Schema::of::<C>();
    let defaults = serde_json::to_value(C::default()).unwrap_or_default();
    let mut page = format!(
        "# Configuration of {name}\n\n\
         Read from `--config FILE` (YAML), then from the environment, then from `--set key=value`; later wins. \
         Unknown keys are refused.\n\n\
         | key | type | default | environment | meaning |\n\
         | --- | --- | --- | --- | --- |\n"
    );
    rows(&schema, schema.root(), &defaults, "", &mut page);
    page
}

fn rows(schema: &Schema, at: &Value, defaults: &Value, path: &str, page: &mut String) {
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
            if variants
                .iter()
                .any(|variant| variant.get("properties").is_some())
            {
                rows(schema, field, default, &path, page);
                continue;
            }
            let meaning = variants.iter().find_map(|v| v.get("description")?.as_str());
            let meaning = meaning
                .unwrap_or_default()
                .replace('\n', " ")
                .replace('|', "\\|");
            let variable = path.to_uppercase().replace('.', "__");
            let default = if default.is_null() {
                "–".into()
            } else {
                format!("`{default}`")
            };
            // Writing to a String can't fail.
            let _ = writeln!(
                page,
                "| `{path}` | {} | {default} | `SEXTANT_{variable}` | {meaning} |",
                kind(&variants)
            );
        }
    }
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
    let named = variants.iter().find_map(|v| {
        let kind = match v.get("type")? {
            Value::Array(kinds) => kinds
                .iter()
                .find_map(|k| k.as_str().filter(|k| *k != "null")),
            kind => kind.as_str(),
        }?;
        Some(if kind == "array" {
            "list".to_owned()
        } else {
            kind.to_owned()
        })
    });
    named.unwrap_or_else(|| "any".to_owned())
}
