//! Creates, updates, reads and deletions.

use crate::Bench;
use crate::load::{self, Op};
use crate::server::Server;
use crate::{figures::Figures, fsync};
use anyhow::Result;
use std::time::Duration;

const OPS: [(Op, &str); 4] = [
    (Op::Create, "create"),
    (Op::Update, "update"),
    (Op::Get, "get"),
    (Op::Delete, "delete"),
];

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let length = bench.plan.length();
    for count in bench.plan.clients.clone() {
        let name = format!("writes-{count}");
        let servers = bench.start(&name).await?;
        for round in 0..bench.plan.rounds {
            fsync::measure(&bench.folder, &mut bench.figures)?;
            for server in &servers {
                measure(server, round, count, length, &mut bench.figures).await?;
            }
        }
        bench.stop(servers, &name).await?;
    }
    Ok(())
}

async fn measure(
    server: &Server,
    round: u32,
    count: usize,
    length: Duration,
    figures: &mut Figures,
) -> Result<()> {
    let prefix = format!("/registry/configmaps/round-{round}/");
    let mut clients = load::clients(server, count, &prefix).await?;
    for (op, name) in OPS {
        let outcome;
        (clients, outcome) = load::run(clients, op, length, usize::MAX).await?;
        let word = if count == 1 { "client" } else { "clients" };
        outcome.add(&format!("{name}, {count} {word}"), server, figures);
    }
    Ok(())
}
