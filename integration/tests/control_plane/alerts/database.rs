//! A PostgreSQL server that is slow, and one that is gone.

#[allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "as where it is at home; only a PostgreSQL that crashes is needed here"
)]
#[path = "../../../../services/datastore-proxy/tests/support/database/mod.rs"]
mod servers;

use super::Watch;
use crate::keys::etcd;
use crate::part::Part;
use crate::plane::Plane;
use anyhow::Result;
use etcd_client::Client;
use serde_json::json;
use servers::{Kind, Server};
use std::path::PathBuf;
use tokio::task::JoinSet;

/// Storing takes longer than the rule finds good, and not so long that the writer gives up.
const SLOW: &str = "
    CREATE FUNCTION plane.slow() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_sleep(0.7); RETURN NULL; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON plane.log FOR EACH STATEMENT EXECUTE FUNCTION plane.slow();
";
const QUICK: &str = "DROP TRIGGER slow ON plane.log";

pub async fn slow_and_gone(program: PathBuf) -> Result<bool> {
    let Some(mut server) = Server::start(Kind::Postgres).await else {
        return Ok(false);
    };
    let mut plane = Plane::new()?;
    let part = Part::DatastoreProxy;
    plane.configure(part, "endpoint", json!(server.endpoint("plane")))?;
    let peer = json!({"listen": plane.peer_address()});
    plane.configure(part, "peer", peer)?;
    plane.start_all()?;
    plane.all_ready().await?;
    let watch = Watch::start(&program, &plane, &[part])?;
    let client = etcd(&plane, "kube-apiserver").await?;
    let mut writing = JoinSet::new();
    writing.spawn(write_on(client));

    let slow = async {
        server.administer(SLOW).await;
        Ok(())
    };
    watch.fires_after(&[("DatastoreSlow", &[])], slow).await?;
    watch.look(&plane, "DatastoreSlow", part.name())?;
    server.administer(QUICK).await;
    watch.end(&["DatastoreSlow"])?;

    let gone = async {
        server.crash();
        Ok(())
    };
    let labels: &[_] = &[("job", "datastore-proxy")];
    watch
        .fires_after(&[("DatastoreNoLeader", labels)], gone)
        .await?;
    watch.look(&plane, "DatastoreNoLeader", part.name())?;
    server.restart().await;
    watch.end(&["DatastoreNoLeader"])?;
    Ok(true)
}

/// One write after the other, until its task is aborted. While there is no server they fail.
async fn write_on(mut client: Client) {
    loop {
        let _ = client
            .put("/registry/leases/kube-node-lease/a", "x", None)
            .await;
        tokio::task::yield_now().await;
    }
}
