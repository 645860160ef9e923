//! What the dashboard shows, made from the answers of the Admin service.
mod sections;

use super::feed::Answers;
use super::section::Section;
use super::ui::Tab;
use crate::commands::certificate::CertificatesView;
use crate::commands::node::NodeView;
use crate::duration;
use crate::output::quantity::rate;
use crate::output::{Table, Timestamp, View};
use serde::Serialize;
use sextant_proto::supervisor::{
    CallRates, CommitRates, DatastoreOverview, EventInfo, ReplicaOverview,
};
use std::time::Duration;
use time::OffsetDateTime;

/// The cluster at one time.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DashboardView {
    cluster: String,
    version: String,
    kubernetes_version: String,
    seen: Option<Timestamp>,
    ready: bool,
    replicas: Vec<ReplicaView>,
    replicas_left_out: u32,
    nodes: Vec<NodeView>,
    #[serde(flatten)]
    certificates: CertificatesView,
    certificates_left_out: u32,
    events: Vec<EventView>,
    events_missing: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplicaView {
    part: String,
    address: String,
    ready: bool,
    reasons: Vec<String>,
    version: String,
    started: Option<Timestamp>,
    resident_bytes: u64,
    component_resident_bytes: u64,
    certificate_not_after: Option<Timestamp>,
    calls: Option<CallsView>,
    datastore: Option<DatastoreView>,
    measures_missing: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CallsView {
    per_second: f64,
    failures_per_second: f64,
    p99_seconds: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DatastoreView {
    revision: i64,
    size_bytes: u64,
    used_bytes: u64,
    waiting_requests: u64,
    watches: u64,
    watches_behind: u64,
    term: i64,
    elected: bool,
    commits: Option<CommitsView>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CommitsView {
    per_second: f64,
    requests_per_second: f64,
    p99_seconds: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventView {
    last: Option<Timestamp>,
    r#type: String,
    count: u32,
    reason: String,
    object: String,
    message: String,
}

impl DashboardView {
    /// Puts the answers together.
    #[must_use]
    pub fn new(answers: &Answers, now: OffsetDateTime) -> Self {
        let overview = answers.overview.clone();
        let mut replicas: Vec<_> = overview
            .replicas
            .into_iter()
            .map(ReplicaView::from)
            .collect();
        replicas.sort_by(|a, b| (&a.part, &a.address).cmp(&(&b.part, &b.address)));
        let nodes = NodeView::sorted(answers.nodes.clone());
        let ready = !replicas.is_empty()
            && replicas.iter().all(|replica| replica.ready)
            && nodes.iter().all(NodeView::is_ready);
        Self {
            cluster: overview.cluster_name,
            version: overview.version,
            kubernetes_version: overview.kubernetes_version,
            seen: Timestamp::from_unix(overview.seen_unix_ms / 1000),
            ready,
            replicas,
            replicas_left_out: overview.replicas_left_out,
            nodes,
            certificates_left_out: answers.certificates.left_out,
            certificates: CertificatesView::new(answers.certificates.clone(), false, now),
            events: overview.events.into_iter().map(EventView::from).collect(),
            events_missing: overview.events_missing,
        }
    }

    /// Whether every part and every node is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Which cluster it is, and in what versions.
    #[must_use]
    pub fn heading(&self) -> String {
        format!(
            "{} · Sextant {} · Kubernetes {}",
            self.cluster, self.version, self.kubernetes_version
        )
    }

    /// The whole in one line.
    #[must_use]
    pub fn summary(&self, now: OffsetDateTime) -> String {
        let ready = self.replicas.iter().filter(|replica| replica.ready).count();
        let nodes = self.nodes.iter().filter(|node| node.is_ready()).count();
        let mut parts = vec![
            format!("parts {ready}/{}", self.replicas.len()),
            format!("nodes {nodes}/{}", self.nodes.len()),
        ];
        let commits = self
            .datastores()
            .filter_map(|(_, store)| store.commits.as_ref());
        if self.datastores().next().is_some() {
            let commits: f64 = commits.map(|commits| commits.per_second).sum();
            parts.push(format!("commits {}/s", rate(commits)));
        }
        if let Some(end) = self.certificates.next_end() {
            parts.push(format!("next certificate {}", end.relative(now)));
        }
        parts.join(" · ")
    }

    /// One table of it.
    #[must_use]
    pub fn section(&self, tab: Tab, now: OffsetDateTime) -> Section {
        match tab {
            Tab::Services => self.services(now),
            Tab::Nodes => self.nodes(now),
            Tab::Certificates => self.certificates(now),
            Tab::Datastore => self.datastore(),
            Tab::Events => self.events(now),
        }
    }

    fn datastores(&self) -> impl Iterator<Item = (&str, &DatastoreView)> {
        self.replicas
            .iter()
            .filter_map(|replica| Some((replica.address.as_str(), replica.datastore.as_ref()?)))
    }
}

impl View for DashboardView {
    fn table(&self, now: OffsetDateTime) -> String {
        let mut heading = Table::new(&["CLUSTER", "SEXTANT", "KUBERNETES", "READY"]);
        heading.row([
            self.cluster.clone(),
            self.version.clone(),
            self.kubernetes_version.clone(),
            self.ready.to_string(),
        ]);
        let sections = Tab::ALL.map(|tab| {
            let section = self.section(tab, now);
            format!("\n{}\n{}", section.title.to_uppercase(), section.print())
        });
        heading.render() + &sections.concat()
    }
}

impl From<ReplicaOverview> for ReplicaView {
    fn from(replica: ReplicaOverview) -> Self {
        let status = replica.status.unwrap_or_default();
        Self {
            part: status.name,
            address: status.address,
            ready: status.ready,
            reasons: status.reasons,
            version: replica.version,
            started: Timestamp::from_unix(replica.started_unix),
            resident_bytes: replica.resident_bytes,
            component_resident_bytes: replica.component_resident_bytes,
            certificate_not_after: Timestamp::from_unix(replica.certificate_not_after_unix),
            calls: replica.calls.map(CallsView::from),
            datastore: replica.datastore.map(DatastoreView::from),
            measures_missing: replica.measures_missing,
        }
    }
}

impl From<CallRates> for CallsView {
    fn from(rates: CallRates) -> Self {
        Self {
            per_second: rates.per_second,
            failures_per_second: rates.failures_per_second,
            p99_seconds: rates.p99_seconds,
        }
    }
}

impl From<DatastoreOverview> for DatastoreView {
    fn from(store: DatastoreOverview) -> Self {
        Self {
            revision: store.revision,
            size_bytes: store.size_bytes,
            used_bytes: store.used_bytes,
            waiting_requests: store.waiting_requests,
            watches: store.watches,
            watches_behind: store.watches_behind,
            term: store.term,
            elected: store.elected,
            commits: store.commits.map(CommitsView::from),
        }
    }
}

impl From<CommitRates> for CommitsView {
    fn from(rates: CommitRates) -> Self {
        Self {
            per_second: rates.per_second,
            requests_per_second: rates.requests_per_second,
            p99_seconds: rates.p99_seconds,
        }
    }
}

impl From<EventInfo> for EventView {
    fn from(event: EventInfo) -> Self {
        Self {
            last: Timestamp::from_unix(event.last_unix),
            r#type: event.r#type,
            count: event.count,
            reason: event.reason,
            object: event.object,
            message: event.message,
        }
    }
}

/// How long ago, for cells in which everything is ago.
trait Age {
    fn age(self, now: OffsetDateTime) -> String;
}

impl Age for Timestamp {
    fn age(self, now: OffsetDateTime) -> String {
        let distance = now - OffsetDateTime::from(self);
        duration::human(Duration::try_from(distance).unwrap_or_default())
    }
}
