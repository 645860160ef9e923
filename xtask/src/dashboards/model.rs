//! What a dashboard is here, and the JSON that Grafana reads it from.

use serde_json::{Value, json};

/// Where alerts and dashboards send whoever has to act.
pub const RUNBOOKS: &str = "docs/runbooks";

/// Panels stand in rows of three on Grafana's grid of 24 columns.
const COLUMNS: usize = 3;
const WIDTH: usize = 24 / COLUMNS;
const HEIGHT: usize = 8;

/// One page: a question, and what answers it.
pub struct Dashboard {
    /// Name of the file, and the address in Grafana.
    pub name: &'static str,
    /// The question.
    pub title: &'static str,
    /// How far back it shows at first, e.g. `1h`.
    pub range: &'static str,
    /// Alerts whose runbooks it links.
    pub alerts: &'static [&'static str],
    pub panels: &'static [Panel],
}

/// One drawing: a question, and the queries that answer it.
pub struct Panel {
    /// The question.
    pub title: &'static str,
    pub unit: Unit,
    pub kind: Kind,
    /// Each with the legend of its series.
    pub queries: &'static [(&'static str, &'static str)],
    /// Why it may have nothing to show on a healthy cluster.
    pub empty: Option<&'static str>,
}

/// Units, as Grafana names them.
#[derive(Clone, Copy)]
pub enum Unit {
    Bytes,
    BytesPerSecond,
    Count,
    PerSecond,
    Ratio,
    Seconds,
    /// A point in time, shown as how long until then.
    When,
}

/// How it is drawn.
#[derive(Clone, Copy)]
pub enum Kind {
    Graph,
    /// The last value, large.
    Number,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "binBps",
            Self::Count => "short",
            Self::PerSecond => "ops",
            Self::Ratio => "percentunit",
            Self::Seconds => "s",
            Self::When => "dateTimeFromNow",
        }
    }
}

impl Dashboard {
    /// As a provisioned file holds it.
    pub fn json(&self) -> Value {
        let panels: Vec<_> = self
            .panels
            .iter()
            .enumerate()
            .map(|(index, panel)| panel.json(index))
            .collect();
        let links: Vec<_> = self.alerts.iter().map(|alert| link(alert)).collect();
        json!({
            "uid": format!("sextant-{}", self.name),
            "title": self.title,
            "tags": ["sextant"],
            "editable": false,
            "graphTooltip": 1,
            "refresh": "10s",
            "schemaVersion": 39,
            "time": { "from": format!("now-{}", self.range), "to": "now" },
            "timezone": "browser",
            "links": links,
            "panels": panels,
        })
    }
}

/// There is no site to link: the pages lie beside the code.
fn link(alert: &str) -> Value {
    json!({
        "type": "link",
        "title": format!("{alert}: what to do"),
        "tooltip": format!("{RUNBOOKS}/{alert}.md in Sextant's repository"),
        "url": format!("{RUNBOOKS}/{alert}.md"),
        "icon": "doc",
    })
}

/// What a query measures, and how one of what it measured is seen as a trace.
const TRACES: &[(&str, &str)] = &[
    (
        "apiserver_request_sli",
        "`sextant trace request AUDIT-ID` shows where one request spent its time.",
    ),
    (
        "sextant_",
        "An exemplar names a trace: `sextant trace show TRACE-ID` prints it.",
    ),
];

impl Panel {
    /// From the panel to a trace, where it shows durations that traces explain.
    pub fn trace(&self) -> Option<&'static str> {
        let durations = self.queries.iter().filter(|(_, q)| q.contains("_bucket"));
        durations
            .flat_map(|(_, query)| TRACES.iter().filter(|(needle, _)| query.contains(needle)))
            .map(|(_, text)| *text)
            .next()
    }

    fn json(&self, index: usize) -> Value {
        let datasource = json!({ "type": "prometheus", "uid": "prometheus" });
        let targets: Vec<_> = self
            .queries
            .iter()
            .zip('A'..)
            .map(|((legend, query), id)| {
                json!({
                    "refId": id.to_string(),
                    "datasource": datasource,
                    "expr": query,
                    "legendFormat": legend,
                    "exemplar": query.contains("_bucket"),
                })
            })
            .collect();
        let mut defaults = json!({ "unit": self.unit.name() });
        if !matches!(self.unit, Unit::When) {
            defaults["min"] = json!(0);
        }
        if matches!(self.unit, Unit::Ratio) {
            defaults["max"] = json!(1);
        }
        if let Some(reason) = self.empty {
            defaults["noValue"] = json!(reason);
        }
        let (kind, options) = match self.kind {
            Kind::Graph => (
                "timeseries",
                json!({ "legend": { "displayMode": "list", "placement": "bottom" } }),
            ),
            Kind::Number => (
                "stat",
                json!({ "reduceOptions": { "calcs": ["lastNotNull"] }, "textMode": "auto" }),
            ),
        };
        let mut panel = json!({
            "id": index + 1,
            "type": kind,
            "title": self.title,
            "datasource": datasource,
            "gridPos": {
                "x": index % COLUMNS * WIDTH,
                "y": index / COLUMNS * HEIGHT,
                "w": WIDTH,
                "h": HEIGHT,
            },
            "fieldConfig": { "defaults": defaults, "overrides": [] },
            "options": options,
            "targets": targets,
        });
        if let Some(trace) = self.trace() {
            panel["description"] = json!(trace);
        }
        panel
    }
}

/// A graph that always has something to show.
pub const fn graph(
    title: &'static str,
    unit: Unit,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        unit,
        kind: Kind::Graph,
        queries,
        empty: None,
    }
}

/// The last value, large.
pub const fn number(
    title: &'static str,
    unit: Unit,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        unit,
        kind: Kind::Number,
        queries,
        empty: None,
    }
}

impl Panel {
    /// With the reason why it may be empty.
    pub const fn unless(self, reason: &'static str) -> Self {
        Self {
            empty: Some(reason),
            ..self
        }
    }
}
