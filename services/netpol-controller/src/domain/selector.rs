//! Label selectors in a canonical form, so that equal meanings written in another order share one set.

use super::model::Labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeSet;

/// All requirements must hold; none means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(BTreeSet<Requirement>);

/// One condition on the labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Requirement {
    Absent(String),
    In(String, BTreeSet<String>),
    /// What can't be understood matches nothing: a policy never allows more than it says.
    Never,
    NotIn(String, BTreeSet<String>),
    Present(String),
}

impl Selector {
    /// Parses the API's form.
    pub fn parse(selector: &LabelSelector) -> Self {
        let labels = selector.match_labels.iter().flatten();
        let equal = labels
            .map(|(key, value)| Requirement::In(key.clone(), BTreeSet::from([value.clone()])));
        let expressions = selector
            .match_expressions
            .iter()
            .flatten()
            .map(|expression| {
                let key = expression.key.clone();
                let values: BTreeSet<_> = expression.values.iter().flatten().cloned().collect();
                match expression.operator.as_str() {
                    "In" => Requirement::In(key, values),
                    "NotIn" => Requirement::NotIn(key, values),
                    "Exists" => Requirement::Present(key),
                    "DoesNotExist" => Requirement::Absent(key),
                    _ => Requirement::Never,
                }
            });
        Self(equal.chain(expressions).collect())
    }

    /// Whether labels fulfil it.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Absent(key) => !labels.contains_key(key),
            Requirement::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Requirement::Never => false,
            Requirement::NotIn(key, values) => !labels.get(key).is_some_and(|v| values.contains(v)),
            Requirement::Present(key) => labels.contains_key(key),
        })
    }
}
