//! docs/helm-values.md, made of the comments and defaults in the chart's values.yaml.

use crate::paths;
use anyhow::{Context, Result};
use serde_json::Value;

pub const PAGE: &str = "docs/helm-values.md";

const INTRODUCTION: &str = include_str!("values.md");

/// A key that has a comment.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// `datastore.sqlite.size`
    path: String,
    /// Its comment, as one line.
    meaning: String,
}

/// The page.
pub fn render() -> Result<String> {
    let file = paths::root().join("helm/sextant/values.yaml");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let defaults: Value =
        serde_norway::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
    Ok(page(&entries(&text), &defaults))
}

/// The keys with a comment right above them, in their order.
fn entries(text: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut parents: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(words) = trimmed.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let meaning = std::mem::take(&mut comment).join(" ");
        let Some((key, _)) = trimmed.split_once(':') else {
            continue;
        };
        if !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            continue;
        }
        let indent = line.len() - trimmed.len();
        parents.retain(|(outer, _)| *outer < indent);
        parents.push((indent, key));
        if !meaning.is_empty() {
            let path: Vec<&str> = parents.iter().map(|(_, key)| *key).collect();
            let path = path.join(".");
            found.push(Entry { path, meaning });
        }
    }
    found
}

/// One table of the values without a section, then one for each section.
fn page(entries: &[Entry], defaults: &Value) -> String {
    let mut page = INTRODUCTION.to_owned();
    let (inner, outer): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.path.contains('.'));
    let (sections, single): (Vec<&Entry>, Vec<&Entry>) = outer
        .into_iter()
        .partition(|entry| has_parts(entries, entry));
    page.push_str(&table(&single, entries, defaults));
    let mut section = "";
    for (at, entry) in inner.iter().enumerate() {
        let name = entry.path.split('.').next().unwrap_or_default();
        if name == section {
            continue;
        }
        section = name;
        page.push_str(&format!("\n## {name}\n"));
        if let Some(about) = sections.iter().find(|about| about.path == name) {
            page.push_str(&format!("\n{}\n", about.meaning));
        }
        let of_section = inner[at..].iter().copied();
        let rows: Vec<&Entry> = of_section
            .take_while(|entry| entry.path.split('.').next() == Some(name))
            .collect();
        page.push_str(&table(&rows, entries, defaults));
    }
    page
}

fn has_parts(entries: &[Entry], entry: &Entry) -> bool {
    let inside = format!("{}.", entry.path);
    entries.iter().any(|other| other.path.starts_with(&inside))
}

fn table(rows: &[&Entry], entries: &[Entry], defaults: &Value) -> String {
    let mut table = "\n| value | default | meaning |\n| --- | --- | --- |\n".to_owned();
    for entry in rows {
        let default = match default(defaults, &entry.path) {
            Some(value) if !has_parts(entries, entry) => format!("`{value}`"),
            _ => "–".to_owned(),
        };
        let meaning = entry.meaning.replace('|', "\\|");
        table.push_str(&format!("| `{}` | {default} | {meaning} |\n", entry.path));
    }
    table
}

fn default<'a>(defaults: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(defaults, |value, key| value.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# About\n# all.\n\n# One.\none: 1\n\n# More.\nmore:\n  # Inner,\n  # told.\n  inner: [a, b]\n  bare: x\n  list:\n    - name: y\n# Last.\nlast: \"\"\n";

    #[test]
    fn comments_belong_to_the_key_below_them() {
        let found = entries(TEXT);
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|entry| (entry.path.as_str(), entry.meaning.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("one", "One."),
                ("more", "More."),
                ("more.inner", "Inner, told."),
                ("last", "Last."),
            ]
        );
    }

    #[test]
    fn sections_follow_single_values() {
        let page = page(&entries(TEXT), &serde_norway::from_str(TEXT).unwrap());
        let (_, tables) = page.split_once("\n| value").unwrap();
        assert_eq!(
            tables,
            " | default | meaning |\n| --- | --- | --- |\n| `one` | `1` | One. |\n| `last` | `\"\"` | Last. |\n\
             \n## more\n\nMore.\n\n| value | default | meaning |\n| --- | --- | --- |\n\
             | `more.inner` | `[\"a\",\"b\"]` | Inner, told. |\n"
        );
    }

    #[test]
    fn every_value_of_the_chart_is_told() {
        let text = std::fs::read_to_string(paths::root().join("helm/sextant/values.yaml")).unwrap();
        let told: Vec<String> = entries(&text).into_iter().map(|entry| entry.path).collect();
        let mut untold = Vec::new();
        leaves(
            &serde_norway::from_str(&text).unwrap(),
            "",
            &told,
            &mut untold,
        );
        assert_eq!(untold, Vec::<String>::new());
        assert!(told.len() > 90, "only {} values were read", told.len());
        for entry in entries(&text) {
            assert!(entry.meaning.ends_with('.'), "{entry:?}");
        }
    }

    /// Values that neither have a comment nor belong to one that has, and has no parts with comments.
    fn leaves(value: &Value, path: &str, told: &[String], untold: &mut Vec<String>) {
        let inside = format!("{path}.");
        let has_parts = path.is_empty() || told.iter().any(|one| one.starts_with(&inside));
        match value.as_object().filter(|_| has_parts) {
            Some(parts) => {
                for (key, part) in parts {
                    let path = format!("{path}.{key}");
                    leaves(part, path.trim_start_matches('.'), told, untold);
                }
            }
            None if told.iter().any(|one| one == path) => {}
            None => untold.push(path.to_owned()),
        }
    }

    #[test]
    fn the_page_is_current() {
        let page = std::fs::read_to_string(paths::root().join(PAGE)).unwrap_or_default();
        assert!(
            page == render().unwrap(),
            "{PAGE} is not what values.yaml says; run `make docs` and commit it"
        );
    }
}
