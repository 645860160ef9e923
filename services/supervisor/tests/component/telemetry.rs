//! Changes of telemetry on nodes, wherever their sessions are.

use crate::nodes::{Session, joined};
use crate::rig::{DEADLINE, Replica, Rig};
use sextant_identity::Identity;
use sextant_proto::supervisor::admin_client::AdminClient;
use sextant_proto::supervisor::node_instruction::Instruction;
use sextant_proto::supervisor::node_report::Report;
use sextant_proto::supervisor::{
    ChangeTelemetryRequest, ReplicaTelemetry, TelemetryInstruction, TelemetryOutcome,
};
use sextant_proto::telemetry::{ChangeRequest, LogChange, Settings};
use sextant_testkit::eventually;

fn debug() -> ChangeRequest {
    ChangeRequest {
        log: Some(LogChange {
            filter: "debug".into(),
            for_seconds: 60,
        }),
        sampling: None,
    }
}

/// How it went on the one node that there is.
async fn change(rig: &Rig, at: &Replica) -> ReplicaTelemetry {
    let mut admin = AdminClient::new(rig.public(at, Identity::Admin));
    let request = ChangeTelemetryRequest {
        service: "node-agent".into(),
        change: Some(debug()),
    };
    let answer = admin.change_telemetry(request).await.unwrap().into_inner();
    let [replica] = answer.replicas.try_into().unwrap();
    replica
}

/// Does what the node's agent would.
async fn obey(session: &mut Session) {
    loop {
        let Instruction::Telemetry(wanted) = session.next().await.unwrap() else {
            continue;
        };
        let TelemetryInstruction {
            id,
            process,
            change,
        } = wanted;
        assert_eq!((process.as_str(), change), ("node-agent", Some(debug())));
        let settings = Some(Settings {
            log_filter: "debug".into(),
            ..Settings::default()
        });
        let outcome = TelemetryOutcome {
            id,
            settings,
            error: String::new(),
        };
        return session.report(Report::Telemetry(outcome)).await;
    }
}

#[tokio::test]
async fn a_node_is_told_whoever_holds_its_session() {
    let rig = Rig::new().await;
    let (holder, other) = (rig.supervisor().await, rig.supervisor().await);
    let mut session = joined(&rig, &holder, "n").await;
    eventually(DEADLINE, "the session is registered", || async {
        let keys = rig.store.keys("/sextant/supervisor/sessions/n/");
        if keys.is_empty() { Err(keys) } else { Ok(()) }
    })
    .await;
    for at in [&holder, &other] {
        let (told, ()) = tokio::join!(change(&rig, at), obey(&mut session));
        assert_eq!((told.place.as_str(), told.error.as_str()), ("n", ""));
        assert_eq!(told.settings.unwrap().log_filter, "debug");
    }

    // A session that ends before it has answered is told at once.
    let leaving = async {
        while !matches!(session.next().await.unwrap(), Instruction::Telemetry(_)) {}
        drop(session);
    };
    let (told, ()) = tokio::join!(change(&rig, &other), leaving);
    assert!(told.error.contains("session has just ended"), "{told:?}");
    assert_eq!(told.settings, None);
    let told = change(&rig, &holder).await;
    assert!(told.error.contains("no session"), "{told:?}");
}
