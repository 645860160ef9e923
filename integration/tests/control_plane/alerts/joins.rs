//! Somebody tries tokens.

use super::Watch;
use crate::clock::join_at;
use crate::node::Node;
use crate::part::Part;
use crate::plane::Plane;
use crate::tokens::refused;
use anyhow::Result;
use futures::future::join_all;
use std::path::PathBuf;

/// All at once: they may be over before Prometheus reads for the first time.
const GUESSES: usize = 24;

pub async fn guessed_tokens(program: PathBuf) -> Result<bool> {
    let plane = Plane::ready().await?;
    let parts = [Part::Supervisor, Part::TokenService];
    let watch = Watch::start(&program, &plane, &parts)?;
    let alerts: [(&str, &[(&str, &str)]); 2] = [
        ("JoinFailures", &[("outcome", "token_unknown")]),
        ("TokenGuessing", &[("job", "token-service")]),
    ];
    let guessed = guessed(&plane).await?;
    watch.fires_after(&alerts, guess(&plane, &guessed)).await?;
    // What such a node says itself.
    let folder = plane.path("nodes");
    std::fs::write(folder.join("token"), &guessed)?;
    let (_, said) = join_at(&plane, "guesser", &folder, None).await?;
    watch.log("guesser", &said)?;
    watch.look(&plane, "JoinFailures", "guesser")?;
    watch.look(&plane, "TokenGuessing", "supervisor")?;
    watch.end(&["JoinFailures", "TokenGuessing"])?;
    Ok(true)
}

/// A token that there is, with another secret.
async fn guessed(plane: &Plane) -> Result<String> {
    let made = plane.token().await?;
    let (hash, _) = made.token.split_once("::").unwrap_or_default();
    Ok(format!("{hash}::{}:{}", made.id, "b".repeat(32)))
}

async fn guess(plane: &Plane, guessed: &str) -> Result<()> {
    let address = plane.address(Part::Edge).to_string();
    let node = Node::new("guesser")?;
    let joins = (0..GUESSES).map(|_| node.join(&address, guessed));
    for answer in join_all(joins).await {
        refused(answer, &["token_unknown"])?;
    }
    Ok(())
}
