//! A collector that is away, or takes connections and never answers, costs bounded memory and holds nothing up.

use crate::part::Part;
use crate::plane::Plane;
use anyhow::{Context as _, Result, ensure};
use sextant_proto::supervisor::ListTokensRequest;
use sextant_testkit::free_port;
use tokio::net::TcpListener;

/// Calls, each of them a dozen spans: more than all queues hold.
const CALLS: usize = 1_500;
/// Queues of spans and log lines, and what the work itself takes.
const MOST_MORE: u64 = 24 << 20;

pub async fn a_collector_that_is_away_holds_nothing_up() -> Result<()> {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    works_with(nobody).await.context("a closed port")?;
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let address = silent.local_addr()?;
    let taking = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            taken.push(stream);
        }
    });
    let outcome = works_with(format!("http://{address}")).await;
    taking.abort();
    outcome.context("a collector that never answers")
}

async fn works_with(endpoint: String) -> Result<()> {
    let mut plane = Plane::new()?;
    plane.environment = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint),
        ("OTEL_METRIC_EXPORT_INTERVAL".to_owned(), "500".to_owned()),
    ];
    plane.start_all()?;
    plane.all_ready().await?;
    let mut admin = plane.admin().await?;
    admin.list_tokens(ListTokensRequest {}).await?;
    let mut before = Vec::new();
    for part in Part::ALL {
        before.push(resident(&plane, part).await?);
    }
    for _ in 0..CALLS {
        // Each within the deadlines that always are.
        admin.list_tokens(ListTokensRequest {}).await?;
    }
    for (part, before) in Part::ALL.into_iter().zip(before) {
        let after = resident(&plane, part).await?;
        ensure!(
            after < before + MOST_MORE,
            "{}: {before} bytes before, {after} after",
            part.name()
        );
    }
    // An export that is under way doesn't hold up the end, either: it is within the usual limit.
    plane.stop_all().await
}

async fn resident(plane: &Plane, part: Part) -> Result<u64> {
    let text = plane.metrics(part).await?;
    let name = "sextant_process_resident_memory_bytes ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value: f64 = value.context("no memory is told")?.parse()?;
    Ok(value as u64)
}
