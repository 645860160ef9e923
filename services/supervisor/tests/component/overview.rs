//! What `sextant dashboard` is told.

use crate::rig::{DEADLINE, Rig};
use prometheus_client::metrics::gauge::Gauge;
use sextant_identity::Identity;
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::supervisor::admin_client::AdminClient;
use sextant_proto::supervisor::{OverviewRequest, ReplicaOverview};
use sextant_testkit::eventually;
use supervisor::config::Part;

/// The admin port of a part that has a datastore.
async fn part(name: &str) -> (Part, Context, DrainTrigger) {
    let (context, trigger) = Context::new();
    context.metrics.describe(name, &context.readiness);
    context.metrics.register(|registry| {
        let revision = Gauge::<i64>::default();
        revision.set(42);
        registry.register("datastore_revision", "Newest revision", revision);
    });
    let listener = sextant_kit::net::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    let served = context.clone();
    tokio::spawn(async move { sextant_kit::admin::serve(listener, &served).await });
    let part = Part {
        name: name.into(),
        admin,
        rpc: String::new(),
    };
    (part, context, trigger)
}

fn of<'a>(replicas: &'a [ReplicaOverview], name: &str) -> &'a ReplicaOverview {
    let named = |replica: &&ReplicaOverview| replica.status.as_ref().unwrap().name == name;
    replicas.iter().find(named).unwrap()
}

#[tokio::test]
async fn tells_what_each_replica_does_and_why_one_is_missing() {
    let rig = Rig::new().await;
    let (datastore, context, _trigger) = part("datastore-proxy").await;
    let waiting = context.readiness.task("disk");
    waiting.waiting("full");
    let nobody = Part {
        name: "token-service".into(),
        admin: "127.0.0.1:1".into(),
        rpc: String::new(),
    };
    let replica = rig.supervisor_of(vec![datastore, nobody]).await;
    let client = AdminClient::new(rig.public(&replica, Identity::Admin));
    let ask = || {
        let mut client = client.clone();
        async move {
            let request = OverviewRequest { events: 10 };
            client.overview(request).await.unwrap().into_inner()
        }
    };

    let first = ask().await;
    let store = of(&first.replicas, "datastore-proxy");
    let status = store.status.as_ref().unwrap();
    assert_eq!(
        (status.ready, &*status.reasons),
        (false, &["disk: full".to_owned()][..])
    );
    assert_eq!(store.version, env!("CARGO_PKG_VERSION"));
    assert!(store.resident_bytes > 1 << 20 && store.started_unix > 1_700_000_000);
    assert_eq!(store.calls, None, "it was seen once only");
    assert_eq!(store.datastore.as_ref().unwrap().revision, 42);
    let absent = of(&first.replicas, "token-service");
    assert!(absent.measures_missing.contains("refused"), "{absent:?}");
    assert!(
        !first.events_missing.is_empty(),
        "there is no Kubernetes here"
    );

    let again = ask().await;
    assert_eq!(
        again.seen_unix_ms, first.seen_unix_ms,
        "two looks in one second"
    );

    // The calls of this test are answered by a server in this process, so they are in its measures.
    waiting.ready();
    eventually(DEADLINE, "rates from two looks", || async {
        let answer = ask().await;
        let store = of(&answer.replicas, "datastore-proxy").clone();
        let ready = store.status.as_ref().is_some_and(|status| status.ready);
        let rated = store.calls.as_ref().is_some_and(|calls| {
            let p99 = calls.p99_seconds.unwrap_or_default();
            calls.per_second > 0.0 && p99 > 0.0 && p99 <= 30.0
        });
        if ready && rated { Ok(()) } else { Err(store) }
    })
    .await;
}

#[tokio::test]
async fn many_who_look_at_once_are_one_look() {
    let rig = Rig::new().await;
    let (part, ..) = part("cert-authority").await;
    let replica = rig.supervisor_of(vec![part]).await;
    let client = AdminClient::new(rig.public(&replica, Identity::Admin));
    let looks = (0..20).map(|_| {
        let mut client = client.clone();
        async move {
            let answer = client.overview(OverviewRequest::default()).await.unwrap();
            answer.into_inner().seen_unix_ms
        }
    });
    let mut seen = futures::future::join_all(looks).await;
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
}
