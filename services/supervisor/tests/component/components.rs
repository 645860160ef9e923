//! Runners: configurations, and whose turn it is to restart.

use crate::rig::{DEADLINE, Replica, Rig};
use sextant_identity::ServiceName;
use sextant_proto::supervisor::components_client::ComponentsClient;
use sextant_proto::supervisor::{RestartPermit, RestartPermitRequest, WatchComponentRequest};
use sextant_testkit::eventually;
use std::time::Duration;
use tonic::{Code, Streaming};

async fn permit(rig: &Rig, at: &Replica, replica: &str) -> Streaming<RestartPermit> {
    let mut client = ComponentsClient::new(rig.internal(at, ServiceName::KubeApiserver));
    let request = RestartPermitRequest {
        replica: replica.into(),
        digest: String::new(),
    };
    client.restart_permit(request).await.unwrap().into_inner()
}

async fn next(permits: &mut Streaming<RestartPermit>) -> RestartPermit {
    let next = tokio::time::timeout(DEADLINE, permits.message())
        .await
        .expect("no permit");
    next.unwrap().expect("the stream ended")
}

#[tokio::test]
async fn each_component_gets_its_own_configuration() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    for service in [ServiceName::KubeApiserver, ServiceName::KubeScheduler] {
        let mut client = ComponentsClient::new(rig.internal(&replica, service));
        let request = WatchComponentRequest {
            replica: "r".into(),
        };
        let mut stream = client.watch(request).await.unwrap().into_inner();
        let config = stream.message().await.unwrap().unwrap();
        assert_eq!(config.component, service.as_str());
        assert!(!config.arguments.is_empty());
        // The stream stays open and silent while nothing changes.
        let more = tokio::time::timeout(Duration::from_millis(300), stream.message()).await;
        assert!(more.is_err(), "{more:?}");
    }
    let mut client = ComponentsClient::new(rig.internal(&replica, ServiceName::TokenService));
    let refused = client
        .watch(WatchComponentRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn one_replica_restarts_at_a_time_across_two_supervisors() {
    let rig = Rig::new().await;
    let (one, two) = (rig.supervisor().await, rig.supervisor().await);
    let mut first = permit(&rig, &one, "a").await;
    assert!(next(&mut first).await.granted);
    let mut second = permit(&rig, &two, "b").await;
    let waiting = next(&mut second).await;
    assert_eq!(
        (waiting.granted, waiting.waiting_for.as_str()),
        (false, "a")
    );
    let mut third = permit(&rig, &one, "c").await;
    assert!(!next(&mut third).await.granted);
    drop(first);
    assert!(next(&mut second).await.granted);
    drop(second);
    loop {
        let third = next(&mut third).await;
        if third.granted {
            break;
        }
        assert_eq!(third.waiting_for, "b");
    }
}

#[tokio::test]
async fn leadership_moves_within_five_seconds_of_a_death() {
    let rig = Rig::new().await;
    let one = rig.supervisor().await;
    let leaders = || rig.store.keys("/sextant/supervisor/queues/leader/");
    eventually(DEADLINE, "a leader", || async {
        if leaders().len() == 1 {
            Ok(())
        } else {
            Err(leaders())
        }
    })
    .await;
    let dead = leaders();
    let _two = rig.supervisor().await;
    eventually(DEADLINE, "a second candidate", || async {
        if leaders().len() == 2 {
            Ok(())
        } else {
            Err(leaders())
        }
    })
    .await;
    let killed = std::time::Instant::now();
    one.kill();
    eventually(
        Duration::from_secs(5),
        "the dead one's place is gone",
        || async {
            let now = leaders();
            if now.len() == 1 && now != dead {
                Ok(())
            } else {
                Err(now)
            }
        },
    )
    .await;
    assert!(killed.elapsed() < Duration::from_secs(5));
}
