//! Sessions: what goes down when, and where it is known.

use crate::nodes::{self, Session, joined};
use crate::rig::{DEADLINE, Rig};
use sextant_identity::{Identity, KeyPair, Limits, ServiceName};
use sextant_proto::supervisor::RemoveNodeRequest;
use sextant_proto::supervisor::admin_client::AdminClient;
use sextant_proto::supervisor::node_instruction::Instruction;
use sextant_testkit::eventually;
use std::time::Duration;
use tonic::Code;

#[tokio::test]
async fn a_session_begins_with_settings_and_trust_and_is_known_to_all() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let mut session = joined(&rig, &replica, "n").await;
    let (mut config, mut trust) = (None, None);
    while config.is_none() || trust.is_none() {
        match session.next().await.unwrap() {
            Instruction::Config(got) => config = Some(got),
            Instruction::Trust(got) => trust = Some(got),
            other => panic!("nobody asked for {other:?}"),
        }
    }
    assert_eq!(
        config.unwrap().settings.unwrap().cluster_domain,
        "cluster.local"
    );
    assert_eq!(trust.unwrap().mesh_pem, rig.root.bundle().mesh_pem());
    let registered = eventually(DEADLINE, "the session is registered", || async {
        rig.store
            .keys("/sextant/supervisor/sessions/n/")
            .pop()
            .ok_or("none")
    })
    .await;
    assert_eq!(
        rig.store.value(&registered).unwrap()["address"],
        replica.internal
    );
    eventually(DEADLINE, "the node's addresses are registered", || async {
        let record = rig.store.value("/sextant/supervisor/nodes/n").unwrap();
        if record["addresses"][0] == "172.18.0.9" {
            Ok(())
        } else {
            Err(record)
        }
    })
    .await;
    drop(session);
    eventually(DEADLINE, "the session is forgotten", || async {
        let left = rig.store.keys("/sextant/supervisor/sessions/");
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn a_removed_node_is_cut_off_and_its_name_is_free() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let mut session = joined(&rig, &replica, "n").await;
    session.next().await.unwrap();
    let mut admin = AdminClient::new(rig.public(&replica, Identity::Admin));
    let request = || RemoveNodeRequest { name: "n".into() };
    admin.remove_node(request()).await.unwrap();
    let end = loop {
        if let Err(status) = session.next().await {
            break status;
        }
    };
    assert_eq!(end.code(), Code::PermissionDenied);
    assert_eq!(
        admin.remove_node(request()).await.unwrap_err().code(),
        Code::NotFound
    );
    let again = Session::open(&rig, &replica, "n").await;
    assert_eq!(
        again.err().map(|status| status.code()),
        Some(Code::PermissionDenied)
    );
    let other = KeyPair::generate().unwrap();
    nodes::join(&rig, &replica, "n", &rig.token("", 1), &other)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_ends_without_an_error_when_its_connection_is_old() {
    let rig = Rig::new().await;
    let limits = Limits {
        max_connection_age: Duration::from_millis(500),
        ..Limits::default()
    };
    let replica = rig.supervisor_with(limits).await;
    let mut session = joined(&rig, &replica, "n").await;
    let end = loop {
        if let Err(status) = session.next().await {
            break status;
        }
    };
    assert_eq!(end.code(), Code::Ok, "{end}");
    Session::open(&rig, &replica, "n").await.unwrap();
}

#[tokio::test]
async fn only_nodes_have_sessions_and_only_administrators_administer() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let mut admin = AdminClient::new(rig.public(&replica, nodes::identity("n")));
    let refused = admin
        .list_nodes(sextant_proto::supervisor::ListNodesRequest {})
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let channel = rig.public(&replica, ServiceName::TokenService);
    let mut client =
        sextant_proto::supervisor::node_session_client::NodeSessionClient::new(channel);
    let refused = client
        .renew(nodes::requests(&KeyPair::generate().unwrap()))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
}
