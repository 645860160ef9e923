//! The table, the JSON file and the plot.

use crate::figures::{Better, Figures};
use crate::plot;
use crate::section::Section;
use crate::server::Kind;
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;

/// Prints a line per figure, and how many times better than the others datastore-proxy is.
pub fn print(figures: &Figures) {
    println!(
        "{:<52} {:>12} {:>12} {:>12} {:>8} {:>8}",
        "median", "etcd", "kine", "ours", "× etcd", "× kine"
    );
    for name in figures.names() {
        if let Some(machine) = figures.find(name, None) {
            println!(
                "{:<52} {:>12}",
                label(name, machine.unit),
                show(machine.median())
            );
            continue;
        }
        let median = |kind| figures.find(name, Some(kind)).map(|f| f.median());
        let unit = Kind::ALL
            .iter()
            .find_map(|kind| figures.find(name, Some(*kind)))
            .map_or("", |figure| figure.unit);
        let cell = |kind| median(kind).map_or_else(|| "–".to_owned(), show);
        let times =
            |kind| ratio(figures, name, kind).map_or_else(|| "–".to_owned(), |r| format!("{r:.2}"));
        println!(
            "{:<52} {:>12} {:>12} {:>12} {:>8} {:>8}",
            label(name, unit),
            cell(Kind::Etcd),
            cell(Kind::Kine),
            cell(Kind::DatastoreProxy),
            times(Kind::Etcd),
            times(Kind::Kine),
        );
    }
}

fn label(name: &str, unit: &str) -> String {
    if unit.is_empty() {
        name.to_owned()
    } else {
        format!("{name}, {unit}")
    }
}

fn show(value: f64) -> String {
    if value >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// How many times better datastore-proxy is than `other`; above 1 is better whichever way is up.
pub fn ratio(figures: &Figures, name: &str, other: Kind) -> Option<f64> {
    let ours = figures.find(name, Some(Kind::DatastoreProxy))?;
    let theirs = figures.find(name, Some(other))?.median();
    let ratio = match ours.better {
        Better::Higher => ours.median() / theirs,
        Better::Lower => theirs / ours.median(),
    };
    Some(ratio).filter(|ratio| ratio.is_finite())
}

/// Writes all values of all rounds, and the plot of the medians.
pub fn write(figures: &Figures, sections: &[Section], out: &Path) -> Result<()> {
    let sections: Vec<String> = sections.iter().map(Section::to_string).collect();
    let all = json!({"sections": sections, "figures": figures});
    let file = |name: &str, content: Vec<u8>| {
        let path = out.join(name);
        std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        println!("written: {}", path.display());
        anyhow::Ok(())
    };
    file("bench-datastore.json", serde_json::to_vec_pretty(&all)?)?;
    file("bench-datastore.svg", plot::ratios(figures).into_bytes())
}
