//! A dashboard as a page that Prometheus itself serves: the same questions, where there is no Grafana. What the pages
//! share is compose/observability/console_libraries/sextant.lib.

use super::model::{Dashboard, Kind, Panel, RUNBOOKS, Unit};

const MADE: &str = "{{/* Made by `cargo xtask dashboards`. */}}\n";
const END: &str = "{{ template \"sextant.end\" . }}\n";

/// The page of one dashboard.
pub fn page(dashboard: &Dashboard) -> String {
    let panels = dashboard.panels.iter();
    let sections: String = panels
        .map(|panel| section(panel, dashboard.range))
        .collect();
    let runbooks = dashboard.alerts.iter();
    let runbooks: String = runbooks
        .map(|alert| format!("<p><code>{RUNBOOKS}/{alert}.md</code></p>\n"))
        .collect();
    format!(
        "{MADE}{}{sections}<section>\n<h2>What to do when an alert fires?</h2>\n{runbooks}</section>\n{END}",
        begin(dashboard.title)
    )
}

/// The page that leads to all others.
pub fn index(dashboards: &[Dashboard]) -> String {
    let links = dashboards.iter().map(|dashboard| {
        let (name, title) = (dashboard.name, dashboard.title);
        format!("<section><h2><a href=\"{name}.html\">{title}</a></h2></section>\n")
    });
    let links: String = links.collect();
    format!("{MADE}{}{links}{END}", begin("What is to be known?"))
}

fn begin(title: &str) -> String {
    format!("{{{{ template \"sextant.begin\" \"{title}\" }}}}\n")
}

fn section(panel: &Panel, range: &str) -> String {
    let drawn = match panel.kind {
        Kind::Number => numbers(panel),
        Kind::Graph => graph(panel, range),
    };
    let empty = panel.empty.filter(|_| matches!(panel.kind, Kind::Graph));
    let notes = [
        empty.map(|why| format!("May be empty: {why}.")),
        panel.trace().map(str::to_owned),
    ];
    let notes: String = notes
        .into_iter()
        .flatten()
        .map(|note| format!("<p class=\"note\">{}</p>\n", escaped(&note)))
        .collect();
    format!(
        "<section>\n<h2>{}</h2>\n{drawn}{notes}</section>\n",
        panel.title
    )
}

/// Last values, which the server writes into the page.
fn numbers(panel: &Panel) -> String {
    let format = match panel.unit {
        Unit::Bytes => "humanize1024 }}B",
        Unit::BytesPerSecond => "humanize1024 }}B/s",
        Unit::Count => "humanize }}",
        Unit::PerSecond => "humanize }}/s",
        Unit::Ratio => "humanizePercentage }}",
        Unit::Seconds | Unit::When => "humanizeDuration }}",
    };
    let queries = panel.queries.iter().map(|(legend, query)| {
        let query = match panel.unit {
            // Milliseconds since 1970, for Grafana.
            Unit::When => format!("({query}) / 1000 - time()"),
            _ => (*query).to_owned(),
        };
        let legend = legend.replace("{{", "{{ .Labels.").replace("}}", " }}");
        let nothing = panel.empty.map(|why| format!("{{{{ else }}}}<span class=\"note\">{}</span>", escaped(why)));
        format!(
            "{{{{ range query `{query}` }}}}<span class=\"number\">{{{{ .Value | {format} <small>{legend}</small></span>\n{}{{{{ end }}}}\n",
            nothing.unwrap_or_default(),
        )
    });
    format!(
        "<div class=\"numbers\">\n{}</div>\n",
        queries.collect::<String>()
    )
}

/// A graph, which the browser draws.
fn graph(panel: &Panel, range: &str) -> String {
    let (names, queries): (Vec<_>, Vec<_>) = panel.queries.iter().copied().unzip();
    let names: Vec<String> = names
        .iter()
        .map(|name| name.replace("{{", "[[ ").replace("}}", " ]]"))
        .collect();
    format!(
        "<div data-range=\"{range}\" data-unit=\"{}\" data-names='{}' data-exprs='{}'></div>\n",
        panel.unit.name(),
        escaped(&serde_json::json!(names).to_string()),
        escaped(&serde_json::json!(queries).to_string()),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::super::ALL;
    use super::*;

    #[test]
    fn every_question_is_on_its_page_and_every_page_in_the_index() {
        let index = index(ALL);
        for dashboard in ALL {
            assert!(index.contains(&format!("href=\"{}.html\"", dashboard.name)));
            let page = page(dashboard);
            for panel in dashboard.panels {
                let heading = format!("<h2>{}</h2>", panel.title);
                assert_eq!(page.matches(&heading).count(), 1, "{}", panel.title);
            }
        }
    }

    /// Queries stand in Go's raw strings and in attributes.
    #[test]
    fn queries_leave_the_page_whole() {
        for panel in ALL.iter().flat_map(|dashboard| dashboard.panels) {
            for (_, query) in panel.queries {
                let wrong = ["`", "{{", "}}"].iter().find(|text| query.contains(**text));
                assert_eq!(wrong, None, "{query}");
            }
        }
    }
}
