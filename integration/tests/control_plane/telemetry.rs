//! What the processes log and export, and how that changes while they run.

mod away;
mod secrets;
mod series;

pub use away::a_collector_that_is_away_holds_nothing_up;
pub use secrets::no_secret_is_told;
pub use series::objects_make_no_series;

use crate::node::{Member, Node};
use crate::part::Part;
use crate::plane::{Plane, SOON};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use sextant_identity::{Leaf, Mesh};
use sextant_proto::certauthority::Profile;
use sextant_proto::supervisor::node_instruction::Instruction;
use sextant_proto::supervisor::node_report::Report;
use sextant_proto::supervisor::node_session_client::NodeSessionClient;
use sextant_proto::supervisor::{
    ListTokensRequest, NodeHello, NodeReport, TelemetryInstruction, TelemetryOutcome,
};
use sextant_proto::telemetry::telemetry_client::TelemetryClient;
use sextant_proto::telemetry::{ChangeRequest, Settings};
use sextant_testkit::{Collector, eventually};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

/// Parts whose telemetry can be changed.
const PARTS: [Part; 4] = [
    Part::CertAuthority,
    Part::DatastoreProxy,
    Part::TokenService,
    Part::Supervisor,
];

pub async fn levels_change_live() -> Result<()> {
    let plane = Plane::ready().await?;
    let _node = answering_node(&plane).await?;
    let (code, all) = eventually(SOON, "the node is asked, too", || async {
        match plane.sextant(&["log-level"]).await {
            Ok((code, text)) if text.contains("a-node") => Ok((code, text)),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    ensure!(code == 0, "{all}");
    for part in PARTS {
        ensure!(all.contains(&plane.address(part).to_string()), "{all}");
    }
    ensure!(
        all.contains("by the node") && !all.contains("edge"),
        "{all}"
    );

    let quiet = plane.output(Part::DatastoreProxy);
    ensure!(!quiet.contains(r#""level":"DEBUG""#), "{quiet}");
    let wanted = "warn,sextant_kit::telemetry::rpc=debug";
    let (code, said) = plane
        .sextant(&["log-level", "datastore-proxy", wanted, "--for", "10m"])
        .await?;
    ensure!(
        code == 0 && said.contains("in 9m") | said.contains("in 10m"),
        "{said}"
    );
    plane.token().await?;
    told(&plane, Part::DatastoreProxy, r#""level":"DEBUG""#).await;
    told(&plane, Part::DatastoreProxy, "telemetry changed").await;
    told(
        &plane,
        Part::Supervisor,
        "an administrator changes telemetry",
    )
    .await;
    let others = plane.output(Part::TokenService);
    ensure!(!others.contains(r#""level":"DEBUG""#), "{others}");

    let (code, said) = plane
        .sextant(&["log-level", "datastore-proxy", "reset"])
        .await?;
    ensure!(code == 0 && !said.contains("debug"), "{said}");

    for (arguments, words) in [
        (
            &["log-level", "datastore-proxy", "inof"][..],
            "`inof` is no level",
        ),
        (
            &["log-level", "edge", "debug"],
            "there is no service `edge`",
        ),
        (
            &["log-level", "supervisor", "debug", "--for", "2d"],
            "a day at most",
        ),
    ] {
        let (code, said) = plane.sextant(arguments).await?;
        ensure!(
            code == 1 && said.contains(words),
            "{arguments:?}: {code} {said}"
        );
    }
    only_the_supervisor_changes_the_datastore(&plane).await
}

async fn told(plane: &Plane, part: Part, words: &str) {
    eventually(SOON, words, || async {
        let output = plane.output(part);
        if output.contains(words) {
            Ok(())
        } else {
            Err(output)
        }
    })
    .await;
}

/// datastore-proxy decides on its own listener, where the table of keys doesn't know the call.
async fn only_the_supervisor_changes_the_datastore(plane: &Plane) -> Result<()> {
    let address = plane.address(Part::DatastoreProxy).to_string();
    for (name, wanted) in [
        ("supervisor", None),
        ("token-service", Some(Code::PermissionDenied)),
        ("kube-apiserver", Some(Code::PermissionDenied)),
    ] {
        let mesh: Mesh = plane.enrol(name).await?;
        let leaf = Leaf::obtain(&mesh, Profile::DatastoreClient, &plane.context).await?;
        let mut client = TelemetryClient::new(mesh.datastore_channel(&address, &leaf));
        let answer = client.change(ChangeRequest::default()).await;
        let code = answer.as_ref().err().map(tonic::Status::code);
        ensure!(code == wanted, "{name}: {answer:?}");
    }
    Ok(())
}

/// A node whose session answers what it is told to change.
async fn answering_node(plane: &Plane) -> Result<Member> {
    let (node, token) = (Node::new("a-node")?, plane.token().await?);
    let address = plane.address(Part::Edge).to_string();
    let member = node.member(node.join(&address, &token.token).await?)?;
    let mut client = NodeSessionClient::new(plane.supervisor_channel(&member.mesh));
    let (reports, queue) = mpsc::channel(8);
    let hello = Some(Report::Hello(NodeHello::default()));
    reports.send(NodeReport { report: hello }).await?;
    let mut instructions = client
        .session(ReceiverStream::new(queue))
        .await?
        .into_inner();
    tokio::spawn(async move {
        while let Ok(Some(message)) = instructions.message().await {
            let Some(Instruction::Telemetry(wanted)) = message.instruction else {
                continue;
            };
            let TelemetryInstruction { id, process, .. } = wanted;
            let settings = Settings {
                log_filter: format!("{process} by the node"),
                ..Settings::default()
            };
            let outcome = TelemetryOutcome {
                id,
                settings: Some(settings),
                error: String::new(),
            };
            let report = Some(Report::Telemetry(outcome));
            if reports.send(NodeReport { report }).await.is_err() {
                return;
            }
        }
    });
    Ok(member)
}

/// The server's spans of one call at the supervisor.
fn calls(collector: &Collector, method: &str) -> usize {
    let name = format!("/sextant.supervisor.v1.Admin/{method}");
    let spans = collector.spans().into_iter();
    spans
        .filter(|span| span.service == "supervisor" && span.name == name)
        .count()
}

pub async fn sampling_changes_live() -> Result<()> {
    let collector = Collector::start().await;
    let mut plane = Plane::new()?;
    plane.environment = vec![
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
            collector.endpoint(),
        ),
        ("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "100".to_owned()),
    ];
    plane.start_all()?;
    plane.all_ready().await?;
    let (code, said) = plane.sextant(&["sampling"]).await?;
    ensure!(code == 0 && !said.contains("exports none"), "{said}");

    // The traces of this case's own calls begin at the supervisor.
    let set = ["sampling", "supervisor", "0", "--slow", "5m"];
    let (code, said) = plane.sextant(&set).await?;
    ensure!(code == 0 && said.contains("300000 ms"), "{said}");
    let mut admin = plane.admin().await?;
    for _ in 0..3 {
        admin.list_tokens(ListTokensRequest {}).await?;
    }
    // Spans leave a process in order: once the later ones are there, the earlier ones would be.
    let (code, said) = plane.sextant(&["sampling", "supervisor", "reset"]).await?;
    ensure!(code == 0, "{said}");
    admin.list_tokens(ListTokensRequest {}).await?;
    arrived(&collector, "ListTokens", 1).await;
    ensure!(
        calls(&collector, "ListTokens") == 1,
        "{:?}",
        collector.spans()
    );

    // What fails is exported with what is below it, in the share or not.
    plane.sextant(&set).await?;
    plane.signal(Part::TokenService, Signal::SIGKILL);
    plane.ended(Part::TokenService).await?;
    let failed = admin.list_tokens(ListTokensRequest {}).await;
    ensure!(failed.is_err(), "{failed:?}");
    arrived(&collector, "ListTokens", 2).await;
    let spans = collector.spans();
    let root = spans
        .iter()
        .rfind(|span| span.service == "supervisor" && span.name.ends_with("Admin/ListTokens"))
        .context("no root")?;
    let below = spans.iter().any(|span| {
        span.trace_id == root.trace_id && span.name == "/sextant.tokenservice.v1.JoinTokens/List"
    });
    ensure!(below, "the failed call below isn't there: {spans:?}");

    // What is slow is, too: everything takes at least a millisecond here, at the latest after a few calls.
    plane.start(Part::TokenService)?;
    plane.is_ready(Part::TokenService).await?;
    let (code, said) = plane
        .sextant(&["sampling", "supervisor", "0", "--slow", "1ms"])
        .await?;
    ensure!(code == 0, "{said}");
    plane.token().await?;
    arrived(&collector, "CreateToken", 1).await;
    Ok(())
}

async fn arrived(collector: &Collector, method: &str, times: usize) {
    eventually(SOON, &format!("{times} {method} exported"), || async {
        let found = calls(collector, method);
        if found >= times {
            Ok(())
        } else {
            Err(format!("{found}"))
        }
    })
    .await;
}
