//! The join tokens of the nodes that the deployment brings.

use crate::nodes::joined;
use crate::rig::{DEADLINE, Rig};
use sextant_proto::tokenservice::Token;
use sextant_testkit::eventually;

/// What the volume of `node` holds once `wanted` says that it is right.
async fn content(rig: &Rig, node: &str, wanted: impl Fn(&str) -> bool) -> String {
    let path = rig.folder.path().join(node).join("token");
    let read = || std::fs::read_to_string(&path).unwrap_or_else(|error| error.to_string());
    eventually(DEADLINE, "the token file is right", || async {
        let now = read();
        if wanted(&now) { Ok(()) } else { Err(now) }
    })
    .await;
    read()
}

fn usable(rig: &Rig) -> Vec<Token> {
    let all = rig.tokens.all().into_iter();
    all.filter(|token| !token.revoked && token.uses == 0)
        .collect()
}

/// Regression: a node that joined while its token was being written anew left a usable one behind for an hour.
#[tokio::test]
async fn no_usable_token_stays_behind_once_the_node_has_joined() {
    let rig = Rig::new().await;
    std::fs::create_dir(rig.folder.path().join("node-1")).unwrap();
    let supervisor = rig.supervisor().await;
    content(&rig, "node-1", |text| text.starts_with("K10")).await;
    assert_eq!(usable(&rig).len(), 1);
    // It joins with another token than the one that lies there.
    let _session = joined(&rig, &supervisor, "node-1").await;
    content(&rig, "node-1", str::is_empty).await;
    assert_eq!(usable(&rig), []);
}

#[tokio::test]
async fn what_a_node_writes_into_its_volume_ends_nobody_elses_token() {
    let rig = Rig::new().await;
    std::fs::create_dir(rig.folder.path().join("node-1")).unwrap();
    let others = rig.token("node-2", 1);
    let supervisor = rig.supervisor().await;
    content(&rig, "node-1", |text| text.starts_with("K10")).await;
    std::fs::write(rig.folder.path().join("node-1/token"), &others).unwrap();
    let _session = joined(&rig, &supervisor, "node-1").await;
    content(&rig, "node-1", str::is_empty).await;
    let left: Vec<_> = usable(&rig)
        .into_iter()
        .filter_map(|token| token.scope)
        .collect();
    assert!(
        left.iter().any(|scope| scope.node_name == "node-2"),
        "{left:?}"
    );
}
