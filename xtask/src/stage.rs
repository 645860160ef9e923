//! The stages of a long task: a line when one starts, its time when it ends, a table at the end.

use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// Runs stages one after the other and remembers how long each took.
pub struct Stages {
    total: usize,
    done: Vec<(String, Duration)>,
}

impl Stages {
    /// A task of `total` stages.
    pub fn new(total: usize) -> Self {
        Self {
            total,
            done: Vec::new(),
        }
    }

    /// Runs one stage; an error names it.
    pub fn run<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("[{}/{}] {name}", self.done.len() + 1, self.total);
        let started = Instant::now();
        let value = work().with_context(|| format!("stage “{name}”"))?;
        let took = started.elapsed();
        if took >= Duration::from_secs(1) {
            eprintln!("      done in {}", show(took));
        }
        self.done.push((name.to_owned(), took));
        Ok(value)
    }

    /// One line per stage with its time, and the sum.
    pub fn summary(&self) -> String {
        let width = self
            .done
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        let sum: Duration = self.done.iter().map(|(_, took)| *took).sum();
        let line = |name: &str, took: Duration| format!("  {name:<width$}  {:>8}\n", show(took));
        let mut text: String = self
            .done
            .iter()
            .map(|(name, took)| line(name, *took))
            .collect();
        text.push_str(&line("in all", sum));
        text
    }
}

/// `3.2 s`, `41 s`, `6 min 12 s`.
pub fn show(took: Duration) -> String {
    match took.as_secs() {
        0..10 => format!("{:.1} s", took.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}
