//! What planes ask of their databases, as their supervisors see it.

use crate::run;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sextant_project::Plane;
use std::time::{Duration, Instant};

/// The datastore of a plane at a moment.
pub(super) struct State {
    seen: Instant,
    revision: f64,
    used_bytes: f64,
    /// Of all its replicas, over the seconds that the supervisor measures.
    requests_per_second: f64,
    commits_per_second: f64,
}

/// The states of all planes.
pub(super) fn states(planes: &[Plane]) -> Result<Vec<State>> {
    planes.iter().map(state).collect()
}

fn state(plane: &Plane) -> Result<State> {
    let mut command = plane.sextant();
    command.args(["dashboard", "--once", "--output", "json"]);
    let overview = serde_json::from_str(&run::output(&mut command)?)?;
    read(&overview, Instant::now())
        .with_context(|| format!("reading what {} says of its datastore", plane.name))
}

fn read(overview: &Value, seen: Instant) -> Result<State> {
    let replicas: Vec<&Value> = overview["replicas"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|replica| replica["datastore"].is_object())
        .collect();
    ensure!(!replicas.is_empty(), "it has none");
    let each = |path: &str| {
        let replicas = replicas.iter();
        replicas
            .filter_map(|replica| replica.pointer(path)?.as_f64())
            .collect::<Vec<_>>()
    };
    let most = |path| each(path).into_iter().fold(0.0, f64::max);
    Ok(State {
        seen,
        revision: most("/datastore/revision"),
        used_bytes: most("/datastore/usedBytes"),
        requests_per_second: each("/calls/perSecond").iter().sum(),
        commits_per_second: each("/datastore/commits/perSecond").iter().sum(),
    })
}

/// The mean plane's load between two looks at each.
pub(super) fn load(before: &[State], after: &[State]) -> Value {
    let mean = |of: &dyn Fn(&State, &State) -> f64| {
        let each = before.iter().zip(after);
        each.map(|(begin, end)| of(begin, end)).sum::<f64>() / before.len().max(1) as f64
    };
    let seconds = |begin: &State, end: &State| {
        let passed = end.seen.saturating_duration_since(begin.seen);
        passed.max(Duration::from_millis(1)).as_secs_f64()
    };
    json!({
        "requests_per_second": mean(&|_, end| end.requests_per_second),
        "commits_per_second": mean(&|_, end| end.commits_per_second),
        "revisions_per_second":
            mean(&|begin, end| (end.revision - begin.revision) / seconds(begin, end)),
        "used_mebibytes": mean(&|_, end| end.used_bytes / 1_048_576.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overview(revision: i64) -> Value {
        let replica = |revision: i64| {
            let commits = json!({"perSecond": 1.5});
            json!({
                "calls": {"perSecond": 4.0},
                "datastore": {"revision": revision, "usedBytes": 2 << 20, "commits": commits},
            })
        };
        let other = json!({"calls": {"perSecond": 100.0}, "datastore": null});
        json!({"replicas": [replica(revision), other, replica(revision - 1)]})
    }

    #[test]
    fn load_is_of_all_replicas_of_a_plane_and_the_mean_of_planes() {
        let begin = Instant::now();
        let end = begin + Duration::from_secs(10);
        let states = |revisions: [i64; 2], seen| {
            revisions.map(|revision| read(&overview(revision), seen).unwrap())
        };
        let load = load(&states([100, 200], begin), &states([120, 200], end));
        assert_eq!(load["requests_per_second"], 8.0);
        assert_eq!(load["commits_per_second"], 3.0);
        assert_eq!(load["revisions_per_second"], 1.0);
        assert_eq!(load["used_mebibytes"], 2.0);
    }

    #[test]
    fn a_plane_without_a_datastore_is_an_error() {
        assert!(read(&json!({"replicas": []}), Instant::now()).is_err());
    }
}
