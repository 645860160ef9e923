//! What the dashboard shows, printed and drawn. `UPDATE_GOLDEN=1 cargo test -p sextant-cli --test dashboard` writes the
//! files anew; look at the difference before you commit it.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use sextant_cli::dashboard::Answers;
use sextant_cli::dashboard::draw::{Palette, Shown, Trouble, draw};
use sextant_cli::dashboard::ui::{Tab, Ui};
use sextant_cli::dashboard::view::DashboardView;
use sextant_proto::supervisor::{
    CallRates, CertificateInfo, CommitRates, DatastoreOverview, EventInfo,
    ListCertificatesResponse, ListNodesResponse, NodeInfo, OverviewResponse, PartStatus,
    ReplicaOverview,
};
use support::{HOUR, NOW, all_formats, compare, now};

fn replica(name: &str, host: u8, reasons: &[&str]) -> ReplicaOverview {
    ReplicaOverview {
        status: Some(PartStatus {
            name: name.into(),
            address: format!("172.20.0.{host}:9090"),
            ready: reasons.is_empty(),
            reasons: reasons.iter().map(ToString::to_string).collect(),
        }),
        version: "0.1.0".into(),
        started_unix: NOW - 26 * HOUR,
        resident_bytes: u64::from(host) << 22,
        certificate_not_after_unix: NOW + 11 * HOUR,
        ..ReplicaOverview::default()
    }
}

fn served(
    mut replica: ReplicaOverview,
    per_second: f64,
    failures: f64,
    p99: Option<f64>,
) -> ReplicaOverview {
    replica.calls = Some(CallRates {
        per_second,
        failures_per_second: failures,
        p99_seconds: p99,
    });
    replica
}

fn replicas() -> Vec<ReplicaOverview> {
    let mut datastore = served(replica("datastore-proxy", 3, &[]), 148.2, 0.0, Some(0.0042));
    datastore.datastore = Some(DatastoreOverview {
        revision: 86_213,
        size_bytes: 14 << 20,
        used_bytes: 9 << 20,
        watches: 63,
        watches_behind: 1,
        commits: Some(CommitRates {
            per_second: 12.5,
            requests_per_second: 21.0,
            p99_seconds: Some(0.0061),
        }),
        ..DatastoreOverview::default()
    });
    let mut apiserver = replica("kube-apiserver", 7, &[]);
    apiserver.component_resident_bytes = 412 << 20;
    let mut absent = replica(
        "token-service",
        5,
        &["asking 172.20.0.5:9090: connection refused"],
    );
    absent.measures_missing = "asking 172.20.0.5:9090: connection refused".into();
    absent.version = String::new();
    absent.started_unix = 0;
    absent.resident_bytes = 0;
    vec![
        absent,
        served(replica("cert-authority", 2, &[]), 0.4, 0.0, None),
        datastore,
        served(replica("supervisor", 4, &[]), 1530.0, 2.25, Some(30.0)),
        apiserver,
    ]
}

fn node(name: &str, ready: bool) -> NodeInfo {
    support::node(name, ready.then_some("172.20.0.4:7443"))
}

fn certificate(at: i64) -> CertificateInfo {
    CertificateInfo {
        requester: "spiffe://td/service/supervisor".into(),
        profile: "PROFILE_SUPERVISOR_CLIENT".into(),
        subject: format!("O=sextant:supervisors, CN=supervisor-{at}"),
        serial: format!("{at:02}"),
        not_before_unix: NOW - 12 * HOUR,
        not_after_unix: NOW + (7 + at) * HOUR,
        ..CertificateInfo::default()
    }
}

fn event(at: i64) -> EventInfo {
    EventInfo {
        last_unix: NOW - 17 * at,
        r#type: if at % 3 == 0 { "Warning" } else { "Normal" }.into(),
        reason: "Unhealthy".into(),
        object: format!("Pod kube-system/coredns-{at}"),
        message: "Readiness probe failed: HTTP probe failed with statuscode: 503".into(),
        count: 4,
    }
}

fn answers() -> Answers {
    Answers {
        overview: OverviewResponse {
            cluster_name: "sextant".into(),
            version: "0.1.0".into(),
            kubernetes_version: "v1.37.2".into(),
            seen_unix_ms: NOW * 1000,
            replicas: replicas(),
            replicas_left_out: 0,
            events: (1..=30).map(event).collect(),
            events_missing: String::new(),
        },
        nodes: ListNodesResponse {
            nodes: vec![node("node-2", false), node("node-1", true)],
        },
        certificates: ListCertificatesResponse {
            certificates: (0..6).map(certificate).collect(),
            left_out: 3,
        },
    }
}

fn view(answers: &Answers) -> DashboardView {
    DashboardView::new(answers, now())
}

fn shown() -> Shown {
    Shown {
        view: Some(view(&answers())),
        at: Some(now()),
        asking: None,
        trouble: None,
    }
}

fn drawn((width, height): (u16, u16), ui: &mut Ui, shown: &Shown, palette: Palette) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(frame, ui, shown, palette, now()))
        .unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width);
    let line = |row: &[ratatui::buffer::Cell]| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        format!("{}\n", line.trim_end())
    };
    rows.map(line).collect()
}

fn on(tab: Tab) -> Ui {
    let mut ui = Ui::default();
    while ui.tab != tab {
        ui.press(KeyEvent::from(KeyCode::Tab));
    }
    ui
}

const SMALL: (u16, u16) = (80, 24);

#[test]
fn is_printed_in_every_format() {
    let view = view(&answers());
    assert!(!view.is_ready());
    all_formats("dashboard", &view);
}

#[test]
fn is_ready_when_all_are() {
    let mut answers = answers();
    answers.overview.replicas.remove(0);
    answers.nodes.nodes.remove(0);
    assert!(view(&answers).is_ready());
    answers.overview.replicas.clear();
    assert!(!view(&answers).is_ready(), "nobody knows of any part");
}

#[test]
fn each_table_fits_a_small_terminal() {
    for tab in Tab::ALL {
        let name = format!("dashboard-{}.screen", tab.name().to_lowercase());
        let buffer = drawn(SMALL, &mut on(tab), &shown(), Palette::Plain);
        compare(&name, &text(&buffer));
    }
}

#[test]
fn a_large_terminal_has_room_for_all() {
    let buffer = drawn((160, 48), &mut Ui::default(), &shown(), Palette::Plain);
    compare("dashboard-large.screen", &text(&buffer));
}

#[test]
fn rows_that_have_no_room_are_a_key_away() {
    let mut ui = on(Tab::Events);
    let first = text(&drawn(SMALL, &mut ui, &shown(), Palette::Plain));
    assert!(
        first.contains("1-17 of 30") && first.contains("coredns-1 "),
        "{first}"
    );
    ui.press(KeyEvent::from(KeyCode::End));
    let last = text(&drawn(SMALL, &mut ui, &shown(), Palette::Plain));
    assert!(
        last.contains("14-30 of 30") && last.contains("coredns-30"),
        "{last}"
    );
}

#[test]
fn trouble_and_help_are_shown_over_what_was_known() {
    let mut shown = shown();
    shown.at = Some(now() - time::Duration::seconds(75));
    shown.trouble = Some(Trouble {
        message: "can't reach the supervisor at 127.0.0.1:9443: connection refused; start the cluster with \
                  `make up`, or name another address with --server"
            .into(),
        next: now() + time::Duration::seconds(4),
    });
    let mut ui = Ui::default();
    ui.press(KeyEvent::from(KeyCode::Char('?')));
    let buffer = drawn(SMALL, &mut ui, &shown, Palette::Plain);
    compare("dashboard-trouble.screen", &text(&buffer));
}

#[test]
fn an_answer_that_is_late_is_told() {
    let mut shown = shown();
    let ago = |seconds| Some(now() - time::Duration::seconds(seconds));
    (shown.at, shown.asking) = (ago(4), ago(2));
    let soon = text(&drawn(SMALL, &mut Ui::default(), &shown, Palette::Plain));
    assert!(soon.contains("? help"), "{soon}");
    (shown.at, shown.asking) = (ago(9), ago(7));
    let late = text(&drawn(SMALL, &mut Ui::default(), &shown, Palette::Plain));
    assert!(late.contains("is 9s old, no answer for 7s"), "{late}");
}

#[test]
fn says_what_it_waits_for_before_the_first_answer() {
    let nothing = Shown::default();
    let first = text(&drawn(SMALL, &mut Ui::default(), &nothing, Palette::Plain));
    assert!(first.contains("Asking the supervisor"), "{first}");
}

#[test]
fn without_colour_nothing_is_coloured_and_the_text_is_the_same() {
    let colours = |buffer: &Buffer| {
        let coloured =
            |cell: &&ratatui::buffer::Cell| cell.fg != Color::Reset || cell.bg != Color::Reset;
        buffer.content.iter().filter(coloured).count()
    };
    for size in [SMALL, (160, 48)] {
        let plain = drawn(size, &mut Ui::default(), &shown(), Palette::Plain);
        let coloured = drawn(size, &mut Ui::default(), &shown(), Palette::Colour);
        assert_eq!(colours(&plain), 0);
        assert!(colours(&coloured) > 0);
        assert_eq!(text(&plain), text(&coloured));
    }
    assert_eq!(Palette::wanted(None), Palette::Colour);
    assert_eq!(Palette::wanted(Some("".as_ref())), Palette::Colour);
    assert_eq!(Palette::wanted(Some("1".as_ref())), Palette::Plain);
}

#[test]
fn no_size_is_too_small() {
    for width in [1, 2, 5, 20, 79, 139, 140, 300] {
        for height in [1, 2, 3, 5, 10, 36, 40, 100] {
            for tab in Tab::ALL {
                let mut ui = on(tab);
                ui.press(KeyEvent::from(KeyCode::Char('?')));
                drawn((width, height), &mut ui, &shown(), Palette::Colour);
            }
        }
    }
}
