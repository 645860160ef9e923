//! What was measured.

use crate::server::Kind;
use serde::Serialize;

/// Which way is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Throughputs.
    Higher,
    /// Times and sizes.
    Lower,
}

/// One measure of one server, a value per round.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Of what, e.g. `create, 32 clients: p99`.
    pub name: String,
    /// Of the values.
    pub unit: &'static str,
    /// Which way is up.
    pub better: Better,
    /// Whose; `None` is the machine's.
    pub server: Option<Kind>,
    /// In the order of the rounds.
    pub values: Vec<f64>,
}

impl Figure {
    /// The middle value, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len().saturating_sub(1) / 2..=sorted.len() / 2;
        match sorted.get(middle) {
            Some([low, high]) => (low + high) / 2.0,
            Some([value]) => *value,
            _ => f64::NAN,
        }
    }
}

/// All of them, in the order in which they were first seen.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Figures(pub Vec<Figure>);

impl Figures {
    /// Adds the value of one round.
    pub fn add(
        &mut self,
        name: &str,
        unit: &'static str,
        better: Better,
        server: impl Into<Option<Kind>>,
        value: f64,
    ) {
        let server = server.into();
        let known = |figure: &&mut Figure| figure.name == name && figure.server == server;
        match self.0.iter_mut().find(known) {
            Some(figure) => figure.values.push(value),
            None => self.0.push(Figure {
                name: name.to_owned(),
                unit,
                better,
                server,
                values: vec![value],
            }),
        }
    }

    /// The names, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for figure in &self.0 {
            if !names.contains(&figure.name.as_str()) {
                names.push(&figure.name);
            }
        }
        names
    }

    /// The figure of one server.
    pub fn find(&self, name: &str, server: Option<Kind>) -> Option<&Figure> {
        self.0
            .iter()
            .find(|figure| figure.name == name && figure.server == server)
    }
}

/// Times that one measurement took.
#[derive(Debug, Default)]
pub struct Times(Vec<f64>);

impl Times {
    /// Of milliseconds in any order.
    pub fn of(mut milliseconds: Vec<f64>) -> Self {
        milliseconds.sort_by(f64::total_cmp);
        Self(milliseconds)
    }

    /// The time that `part` of them don't exceed, 0.99 for the 99th percentile.
    pub fn part(&self, part: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a length"
        )]
        let at = (self.0.len() as f64 * part) as usize;
        let at = at.min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or(f64::NAN)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn median(values: &[f64]) -> f64 {
        let mut figures = Figures::default();
        for value in values {
            figures.add("a", "ms", Better::Lower, Kind::Etcd, *value);
        }
        figures.find("a", Some(Kind::Etcd)).unwrap().median()
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let medians = [
            median(&[3.0]),
            median(&[9.0, 1.0, 2.0]),
            median(&[4.0, 1.0]),
        ];
        assert_eq!(medians, [3.0, 2.0, 2.5]);
    }

    #[test]
    fn percentiles_are_of_sorted_times() {
        let times = Times::of((0..100).rev().map(f64::from).collect());
        assert_eq!(
            (times.part(0.5), times.part(0.99), times.part(1.0)),
            (50.0, 99.0, 99.0)
        );
        assert!(Times::default().part(0.5).is_nan());
    }
}
