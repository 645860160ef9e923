//! What the collector has written, and what a trace must be.

use anyhow::{Context, Result, ensure};
use sextant_cli::trace::{Span, Trace};
use sextant_integration::{Cluster, docker_bytes};
use std::collections::BTreeSet;

const FILE: &str = "/var/lib/collector/traces.jsonl";

/// All spans so far.
pub struct Spans(Vec<Span>);

impl Spans {
    /// Copies the collector's newest file.
    pub fn read(cluster: &Cluster) -> Result<Self> {
        let collector = &cluster.containers("collector")?[0];
        // A tar archive of one file: the lines lie in it as they are.
        let archive = docker_bytes(&["cp", &format!("{collector}:{FILE}"), "-"])?;
        let text = String::from_utf8_lossy(&archive);
        let lines = text
            .lines()
            .filter_map(|line| Some(&line[line.find("{\"resourceSpans\"")?..]));
        Ok(Self(lines.flat_map(Span::read).collect()))
    }

    /// Each of them.
    pub fn all(&self) -> impl Iterator<Item = &Span> {
        self.0.iter()
    }

    /// The roots of this name.
    pub fn roots(&self, service: &str, name: &str) -> Vec<&Span> {
        let root = |span: &&Span| span.service == service && span.name == name;
        self.all()
            .filter(root)
            .filter(|span| span.parent.is_empty())
            .collect()
    }

    /// The first of which `is` is true.
    pub fn find(&self, is: impl Fn(&Span) -> bool) -> Result<&Span> {
        let count = self.0.len();
        self.all()
            .find(|span| is(span))
            .with_context(|| format!("none of {count} spans"))
    }

    /// One trace, with what is linked to it.
    pub fn trace(&self, id: &str) -> Trace {
        let links = |span: &&Span| span.links.iter().any(|link| link.trace == id);
        let linked: BTreeSet<&str> = self.all().filter(links).map(|s| s.trace.as_str()).collect();
        let wanted = |span: &&Span| span.trace == id || linked.contains(span.trace.as_str());
        Trace::new(id, self.all().filter(wanted).cloned().collect())
    }
}

/// One root of this name, and every span below it.
pub fn whole(trace: &Trace, root: &str) -> Result<()> {
    let roots: Vec<_> = trace
        .roots
        .iter()
        .map(|root| (root.span.name.as_str(), root.orphan))
        .collect();
    ensure!(
        roots == [(root, false)],
        "trace {} has the roots {roots:?}",
        trace.id
    );
    Ok(())
}

/// Names of its spans.
pub fn names(trace: &Trace) -> BTreeSet<&str> {
    trace.spans().map(|span| span.name.as_str()).collect()
}

/// The processes it leads through.
pub fn services(trace: &Trace) -> BTreeSet<&str> {
    trace.spans().map(|span| span.service.as_str()).collect()
}
