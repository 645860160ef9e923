//! Whose ServiceAccount tokens enrol whom.

use crate::harness::{DEADLINE, Running, Volumes};
use crate::plane::{NAME, Plane, enroll};
use sextant_hosting::{Client, ConfigMap};
use sextant_identity::{EnrollConfig, Identity, Mesh, ServiceName};
use sextant_kit::Context;
use sextant_testkit::HostingCluster;
use tonic::Code;

const SUPERVISOR: Identity = Identity::Service(ServiceName::Supervisor);

/// As a part does it: its token from a file, whom to trust from the ConfigMap.
pub async fn accounts_enrol_as_what_they_are_named_after(cluster: &HostingCluster) {
    let plane = Plane::new(cluster, "enrolling").await;
    let (volumes, account) = (Volumes::new(), plane.part("supervisor").await);
    let running = Running::start_with(plane.config(&volumes)).await;
    let folder = tempfile::tempdir().unwrap();
    let token = account.token(&plane.audience()).await;
    std::fs::write(folder.path().join("token"), token).unwrap();
    let api = account.pod().await;
    let config = EnrollConfig {
        cert_authority: running.address.clone(),
        folder: folder.path().to_owned(),
        trust_config_map: format!("{NAME}-trust"),
        hosting_api: api.clone(),
    };
    let (ctx, trigger) = Context::new();
    let enrolled = tokio::time::timeout(DEADLINE, Mesh::enroll(&config, SUPERVISOR, &ctx)).await;
    let mesh = enrolled.unwrap().unwrap();
    assert_eq!(mesh.identity(), &SUPERVISOR);

    // A part reads that ConfigMap and nothing else.
    let client = Client::new(&api).unwrap();
    let published: ConfigMap = client.get("plane-trust").await.unwrap().unwrap();
    assert_eq!(published.data["ca.pem"], mesh.trust().borrow().mesh_pem());
    assert!(client.get::<ConfigMap>("other").await.is_err());
    assert!(
        client
            .get::<sextant_hosting::Secret>("plane-keyring")
            .await
            .is_err()
    );
    assert!(client.create(&published).await.is_err());
    assert!(client.review("token", "audience").await.is_err());

    // No volume is written to, since none is there in a pod.
    assert!(!volumes.enrolment(&SUPERVISOR).join("token").exists());
    trigger.start();
    running.stop().await;
}

pub async fn no_other_token_enrols(cluster: &HostingCluster) {
    let plane = Plane::new(cluster, "refusing").await;
    let volumes = Volumes::new();
    let running = Running::start_with(plane.config(&volumes)).await;
    let admin = plane.part("admin").await;
    let audience = plane.audience();
    let good = admin.token(&audience).await;
    enroll(&running, &good).await.unwrap();

    cluster.namespace("elsewhere").await;
    let namesake = cluster.account("elsewhere", "plane-admin").await;
    let stranger = cluster.account(plane.namespace, "default").await;
    let node = cluster.account(plane.namespace, "plane-node").await;
    let neighbour = cluster.account(plane.namespace, "other-admin").await;
    let keeper = cluster
        .account(plane.namespace, "plane-netpol-controller")
        .await;
    let (body, signature) = good.rsplit_once('.').unwrap();
    let swapped: String = signature.chars().rev().collect();
    let cases = [
        (
            "another namespace",
            namesake.token(&audience).await,
            "enrols nobody here",
        ),
        (
            "another account",
            stranger.token(&audience).await,
            "enrols nobody here",
        ),
        (
            "no identity of ours",
            node.token(&audience).await,
            "enrols nobody here",
        ),
        (
            "another plane",
            neighbour.token(&audience).await,
            "enrols nobody here",
        ),
        (
            "a part that isn't hosted",
            keeper.token(&audience).await,
            "enrols nobody here",
        ),
        (
            "the API's audience",
            admin.token("https://kubernetes.default.svc").await,
            "doesn't accept",
        ),
        (
            "another plane's audience",
            admin.token("sextant:refusing:other").await,
            "doesn't accept",
        ),
        (
            "a token of yesterday",
            admin.expired_token(&audience),
            "doesn't accept",
        ),
        (
            "another signature",
            format!("{body}.{swapped}"),
            "doesn't accept",
        ),
        ("no token at all", "a.b.c".to_owned(), "doesn't accept"),
        (
            "a token of a volume",
            "AQAA".to_owned(),
            "not an enrolment token",
        ),
    ];
    for (what, token, wanted) in cases {
        let refused = enroll(&running, &token).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{what}: {refused}");
        assert!(refused.message().contains(wanted), "{what}: {refused}");
        assert!(!refused.message().contains(&token), "{what}: {refused}");
    }
    let long = enroll(&running, &format!("a.{}", "b".repeat(17_000)))
        .await
        .unwrap_err();
    assert_eq!(long.code(), Code::InvalidArgument, "{long}");
    running.stop().await;
}

pub async fn attempts_are_counted_before_the_hosting_cluster_is_asked(cluster: &HostingCluster) {
    let plane = Plane::new(cluster, "counting").await;
    let volumes = Volumes::new();
    let mut config = plane.config(&volumes);
    config.enrolment.attempts_burst = 2;
    config.enrolment.attempts_per_minute = 1;
    let running = Running::start_with(config).await;
    for _ in 0..2 {
        let refused = enroll(&running, "a.b.c").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    }
    // Who isn't asked can't be late.
    cluster.pause();
    let refused = enroll(&running, "a.b.c").await;
    cluster.resume();
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    running.stop().await;
}

pub async fn while_the_hosting_cluster_is_away_enrolling_waits(cluster: &HostingCluster) {
    let plane = Plane::new(cluster, "waiting").await;
    let volumes = Volumes::new();
    let running = Running::start_with(plane.config(&volumes)).await;
    let token = plane.part("admin").await.token(&plane.audience()).await;
    cluster.pause();
    // As many as are asked at once, and some more: nobody waits in a queue that grows.
    let tries = (0..40).map(|_| enroll(&running, &token));
    let refused = futures::future::join_all(tries).await;
    cluster.resume();
    let mut busy = 0;
    for refused in refused {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        busy += usize::from(refused.message().contains("at once"));
        assert!(refused.message().contains("try again"), "{refused}");
    }
    assert_eq!(busy, 40 - 16, "sixteen were asked");
    enroll(&running, &token).await.unwrap();
    running.stop().await;
}
