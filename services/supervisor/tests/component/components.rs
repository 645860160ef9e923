//! Runners: configurations, and whose turn it is to restart.

use crate::rig::{DEADLINE, Replica, Rig};
use prometheus_client::metrics::info::Info;
use sextant_identity::ServiceName;
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::supervisor::components_client::ComponentsClient;
use sextant_proto::supervisor::{RestartPermit, RestartPermitRequest, WatchComponentRequest};
use sextant_testkit::eventually;
use std::net::SocketAddr;
use std::time::Duration;
use supervisor::config::Part;
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
            version: String::new(),
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

/// The admin port of a runner whose kube-apiserver has that version.
async fn api_server(version: &'static str, port: u16) -> DrainTrigger {
    let (context, trigger) = Context::new();
    context.metrics.register(|registry| {
        let info = Info::new(vec![("version", version)]);
        registry.register("component", "The component of this image", info);
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let listener = sextant_kit::net::bind(address).await.unwrap();
    let drain = context.drain.clone();
    tokio::spawn(async move {
        let serving = sextant_kit::admin::serve(listener, &context);
        drain.run(serving).await
    });
    trigger
}

/// Kubernetes' rule of version skew.
#[tokio::test]
async fn no_component_is_newer_than_a_kube_apiserver() {
    let rig = Rig::new().await;
    let port = sextant_testkit::free_port();
    let part = Part {
        name: "kube-apiserver".into(),
        admin: format!("127.0.0.1:{port}"),
        rpc: String::new(),
    };
    let replica = rig.supervisor_of(vec![part]).await;
    let ask = |service: ServiceName, version: &'static str| {
        let mut client = ComponentsClient::new(rig.internal(&replica, service));
        async move {
            let request = WatchComponentRequest {
                replica: "r".into(),
                version: version.into(),
            };
            let mut stream = client.watch(request).await?.into_inner();
            stream.message().await.map(Option::unwrap)
        }
    };
    let scheduler = ServiceName::KubeScheduler;
    let refused = ask(scheduler, "v1.38.0").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("none answers"), "{refused}");

    let old = api_server("v1.37.2", port).await;
    for service in [scheduler, ServiceName::KubeControllerManager] {
        let refused = ask(service, "v1.38.0").await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(
            refused.message().contains("127.0.0.1 has v1.37.2"),
            "{refused}"
        );
        assert_eq!(ask(service, "v1.37.2").await.unwrap().version, "v1.37.2");
    }
    // kube-apiserver itself goes first, and who doesn't know its version isn't held up.
    ask(ServiceName::KubeApiserver, "v1.38.0").await.unwrap();
    ask(scheduler, "").await.unwrap();
    old.start();
    eventually(DEADLINE, "the port is free again", || async {
        match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            Ok(_) => Err("taken"),
            Err(_) => Ok(()),
        }
    })
    .await;
    let _new = api_server("v1.38.0", port).await;
    ask(scheduler, "v1.38.0").await.unwrap();
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
