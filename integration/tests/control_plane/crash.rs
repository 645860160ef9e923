//! kill -9 at any moment of the first start, in any order.

use crate::part::Part;
use crate::plane::Plane;
use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use sextant_proto::supervisor::ListTokensRequest;
use std::time::{Duration, Instant};

const ROUNDS: u64 = 5;
/// Kills in one first start.
const KILLS: usize = 6;
/// A first start takes about this long.
const FIRST_START: Duration = Duration::from_millis(1500);

pub async fn killed_at_any_moment_of_the_first_start() -> Result<()> {
    let seed: u64 = match std::env::var("TEST_SEED") {
        Ok(text) => text.parse().context("TEST_SEED is no number")?,
        Err(_) => rand::random::<u32>().into(),
    };
    for round in 0..ROUNDS {
        let number = seed + round;
        let mut random = StdRng::seed_from_u64(number);
        first_start(&mut random)
            .await
            .with_context(|| format!("repeat it with TEST_SEED={number}"))?;
    }
    println!("{ROUNDS} first starts from TEST_SEED={seed} on");
    Ok(())
}

async fn first_start(random: &mut StdRng) -> Result<()> {
    let mut plane = Plane::new()?;
    let mut order = Part::ALL;
    order.shuffle(random);
    for part in order {
        plane.start(part)?;
    }
    // The anchors that somebody may have pinned: from then on they must stay.
    let mut pinned = None;
    let started = Instant::now();
    let mut moments: Vec<Duration> = (0..KILLS)
        .map(|_| FIRST_START.mul_f64(random.random()))
        .collect();
    moments.sort();
    for moment in moments {
        // The moment itself is what the test draws; nothing is waited for.
        tokio::time::sleep(moment.saturating_sub(started.elapsed())).await;
        let part = Part::ALL[random.random_range(0..Part::ALL.len())];
        plane.kill(part).await?;
        pinned = pinned.or_else(|| plane.anchors().ok());
        plane.start(part)?;
    }
    plane.all_ready().await?;
    let anchors = plane.anchors()?;
    ensure!(
        pinned.is_none_or(|pinned| pinned == anchors),
        "the authority was made anew"
    );

    let mut acknowledged = Vec::new();
    for _ in 0..3 {
        acknowledged.push(plane.token().await?.id);
        let part = Part::ALL[random.random_range(0..Part::ALL.len())];
        plane.kill(part).await?;
        plane.start(part)?;
        plane.all_ready().await?;
    }
    ensure!(plane.anchors()? == anchors, "the authority was made anew");
    let mut admin = plane.admin().await?;
    let listed = admin.list_tokens(ListTokensRequest {}).await?.into_inner();
    for id in acknowledged {
        let there = listed.tokens.iter().any(|token| token.id == id);
        ensure!(there, "the acknowledged token {id} is gone");
    }
    plane.no_secret_was_told(&[])
}
