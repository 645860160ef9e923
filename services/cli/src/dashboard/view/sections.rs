//! The tables of the view, one for each tab.

use super::{Age, DashboardView};
use crate::dashboard::section::{Section, Tone};
use crate::dashboard::ui::Tab;
use crate::output::quantity::{bytes, rate, seconds};
use time::OffsetDateTime;

impl DashboardView {
    pub(super) fn services(&self, now: OffsetDateTime) -> Section {
        let mut section = Section::new(
            Tab::Services.name(),
            &[
                ("PART", 0),
                ("ADDRESS", 3),
                ("READY", 0),
                ("VERSION", 5),
                ("UP", 4),
                ("REQ/S", 0),
                ("FAIL/S", 1),
                ("P99", 0),
                ("RSS", 0),
                ("COMPONENT", 2),
            ],
        );
        for replica in &self.replicas {
            let calls = replica.calls.as_ref();
            let size = |count| {
                if count == 0 {
                    String::new()
                } else {
                    bytes(count)
                }
            };
            let tone = match calls {
                _ if !replica.ready => Tone::Bad,
                Some(calls) if calls.failures_per_second > 0.0 => Tone::Warning,
                _ if !replica.reasons.is_empty() => Tone::Warning,
                _ => Tone::Fine,
            };
            section.row(
                tone,
                [
                    replica.part.clone(),
                    replica.address.clone(),
                    if replica.ready { "yes" } else { "NO" }.to_owned(),
                    replica.version.clone(),
                    replica
                        .started
                        .map(|start| start.age(now))
                        .unwrap_or_default(),
                    calls
                        .map(|calls| rate(calls.per_second))
                        .unwrap_or_default(),
                    calls
                        .map(|calls| rate(calls.failures_per_second))
                        .unwrap_or_default(),
                    calls
                        .and_then(|calls| calls.p99_seconds)
                        .map(seconds)
                        .unwrap_or_default(),
                    size(replica.resident_bytes),
                    size(replica.component_resident_bytes),
                ],
            );
            let told = replica.reasons.join("; ");
            if !told.is_empty() {
                section.note(&format!("{} {}: {told}", replica.part, replica.address));
            }
            let missing = &replica.measures_missing;
            if !missing.is_empty() && !told.contains(missing.as_str()) {
                section.note(&format!("{}: no measures: {missing}", replica.part));
            }
        }
        left_out(&mut section, self.replicas_left_out, "replicas");
        section
    }

    pub(super) fn nodes(&self, now: OffsetDateTime) -> Section {
        let mut section = Section::new(
            Tab::Nodes.name(),
            &[
                ("NODE", 0),
                ("READY", 0),
                ("SESSION", 0),
                ("ADDRESSES", 3),
                ("POD CIDR", 2),
                ("VERSION", 1),
                ("JOINED", 4),
            ],
        );
        for node in &self.nodes {
            let tone = if node.is_ready() {
                Tone::Fine
            } else {
                Tone::Bad
            };
            let [
                name,
                ready,
                session,
                addresses,
                pods,
                version,
                joined,
                reason,
            ] = node.cells(now);
            let ready = if ready == "true" { "yes" } else { "NO" }.to_owned();
            if !reason.is_empty() {
                section.note(&format!("{name}: {reason}"));
            }
            section.row(
                tone,
                [name, ready, session, addresses, pods, version, joined],
            );
        }
        if self.nodes.is_empty() {
            section.note("No node has joined yet.");
        }
        section
    }

    pub(super) fn certificates(&self, now: OffsetDateTime) -> Section {
        let columns = [
            ("EXPIRES", 0),
            ("STATE", 0),
            ("PROFILE", 0),
            ("REQUESTER", 1),
            ("SUBJECT", 0),
        ];
        let mut section = Section::new(Tab::Certificates.name(), &columns);
        for ([profile, requester, subject, expires, state], overdue) in self.certificates.cells(now)
        {
            let tone = if overdue { Tone::Bad } else { Tone::Fine };
            section.row(tone, [expires, state, profile, requester, subject]);
        }
        left_out(
            &mut section,
            self.certificates_left_out,
            "certificates that expire later",
        );
        section
    }

    pub(super) fn datastore(&self) -> Section {
        let mut section = Section::new(
            Tab::Datastore.name(),
            &[
                ("REPLICA", 0),
                ("ROLE", 4),
                ("REVISION", 3),
                ("SIZE", 0),
                ("IN USE", 5),
                ("COMMITS/S", 0),
                ("REQ/S", 2),
                ("P99", 0),
                ("WAITING", 1),
                ("WATCHES", 0),
                ("BEHIND", 0),
            ],
        );
        for (address, store) in self.datastores() {
            let commits = store.commits.as_ref();
            let tone = if store.watches_behind > 0 {
                Tone::Warning
            } else {
                Tone::Fine
            };
            let role = match (store.term, store.elected) {
                (0, _) => "alone",
                (_, true) => "elected",
                (_, false) => "standing by",
            };
            section.row(
                tone,
                [
                    address.to_owned(),
                    role.to_owned(),
                    store.revision.to_string(),
                    bytes(store.size_bytes),
                    bytes(store.used_bytes),
                    commits
                        .map(|commits| rate(commits.per_second))
                        .unwrap_or_default(),
                    commits
                        .map(|commits| rate(commits.requests_per_second))
                        .unwrap_or_default(),
                    commits
                        .and_then(|commits| commits.p99_seconds)
                        .map(seconds)
                        .unwrap_or_default(),
                    store.waiting_requests.to_string(),
                    store.watches.to_string(),
                    store.watches_behind.to_string(),
                ],
            );
        }
        if section.rows.is_empty() {
            section.note("No datastore-proxy tells its measures.");
        }
        section
    }

    pub(super) fn events(&self, now: OffsetDateTime) -> Section {
        let columns = [
            ("LAST", 0),
            ("TYPE", 1),
            ("COUNT", 3),
            ("REASON", 0),
            ("OBJECT", 0),
            ("MESSAGE", 0),
        ];
        let mut section = Section::new(Tab::Events.name(), &columns);
        for event in &self.events {
            let tone = if event.r#type == "Warning" {
                Tone::Warning
            } else {
                Tone::Fine
            };
            section.row(
                tone,
                [
                    event.last.map(|last| last.age(now)).unwrap_or_default(),
                    event.r#type.clone(),
                    event.count.to_string(),
                    event.reason.clone(),
                    event.object.clone(),
                    event.message.clone(),
                ],
            );
        }
        if !self.events_missing.is_empty() {
            section.note(&format!("No newer events: {}", self.events_missing));
        } else if self.events.is_empty() {
            section.note("No events within the last hour.");
        }
        section
    }
}

fn left_out(section: &mut Section, count: u32, what: &str) {
    if count > 0 {
        section.note(&format!("{count} more {what} aren't shown."));
    }
}
