//! Keyring, seal key and bootstrap marker in Secrets that replicas share.

use crate::harness::{DEADLINE, Running, Volumes};
use crate::plane::{Plane, enroll};
use cert_authority::app::Bound;
use cert_authority::clock::Clock;
use cert_authority::config::{Config, Place};
use sextant_hosting::{Client, Secret};
use sextant_identity::{Identity, KeyPair, Mesh, ServiceName, TrustBundle};
use sextant_kit::Context;
use sextant_proto::certauthority::{CompleteBootstrapRequest, Profile, SignRequest};
use sextant_testkit::{HostingCluster, eventually};
use tonic::Code;

fn domain(running: &Running) -> String {
    running.own.trust().borrow().trust_domain.to_string()
}

/// Why a start fails.
async fn failure(config: Config) -> String {
    let (ctx, trigger) = Context::new();
    let bound = Bound::bind(config, ctx, Clock::system()).await;
    trigger.start();
    match bound {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

pub async fn replicas_that_start_at_once_are_one_plane(cluster: &HostingCluster) {
    for namespace in ["racing-1", "racing-2", "racing-3"] {
        let plane = Plane::new(cluster, namespace).await;
        // Each has an issuance log of its own, as in an emptyDir.
        let volumes: Vec<Volumes> = (0..4).map(|_| Volumes::new()).collect();
        let starts = volumes.iter().map(|v| Running::start_with(plane.config(v)));
        let replicas = futures::future::join_all(starts).await;
        let first = domain(&replicas[0]);
        for replica in &replicas {
            assert_eq!(domain(replica), first);
        }
        // What one certifies the others believe.
        let token = plane.part("admin").await.token(&plane.audience()).await;
        enroll(&replicas[1], &token).await.unwrap();
        for replica in replicas {
            replica.stop().await;
        }
        // A rollout replaces the pod and its folders.
        let later = Volumes::new();
        let restarted = Running::start_with(plane.config(&later)).await;
        assert_eq!(domain(&restarted), first);
        restarted.stop().await;
        for seen in std::fs::read_dir(later.path().join("state")).unwrap() {
            let name = seen.unwrap().file_name();
            assert!(
                name != "keyring.sealed",
                "the keyring is in its Secret only"
            );
        }
        cannot_read_what_isnt_its_own(&plane).await;
    }
}

async fn cannot_read_what_isnt_its_own(plane: &Plane<'_>) {
    let client = Client::new(&plane.api).unwrap();
    assert!(
        client
            .get::<Secret>("plane-keyring")
            .await
            .unwrap()
            .is_some()
    );
    assert!(client.get::<Secret>("others").await.is_err());
    let mut changed = client
        .get::<Secret>("plane-keyring")
        .await
        .unwrap()
        .unwrap();
    changed.metadata.resource_version.clear();
    assert!(
        client.merge(&changed).await.is_err(),
        "the keyring can't be replaced"
    );
}

/// Every set of Secrets that a killed first start can leave.
pub async fn a_first_start_killed_at_any_step_starts_again(cluster: &HostingCluster) {
    let done = Plane::new(cluster, "steps").await;
    let volumes = Volumes::new();
    Running::start_with(done.config(&volumes))
        .await
        .stop()
        .await;
    let (seal, keyring) = (done.read("seal").await, done.read("keyring").await);
    let mut state = done.read("state").await;
    assert_eq!(state["data"]["keyring"], "bWFkZQ==", "made");
    state["data"]["keyring"] = "d2FudGVk".into();

    let steps: [(&str, &[&serde_json::Value]); 3] = [
        ("steps-state", &[&state]),
        ("steps-seal", &[&state, &seal]),
        ("steps-keyring", &[&state, &seal, &keyring]),
    ];
    for (namespace, secrets) in steps {
        let plane = Plane::new(cluster, namespace).await;
        for secret in secrets {
            plane.restore(secret).await;
        }
        let volumes = Volumes::new();
        Running::start_with(plane.config(&volumes))
            .await
            .stop()
            .await;
        assert_eq!(plane.read("state").await["data"]["keyring"], "bWFkZQ==");
        for (kept, name) in [(&seal, "seal"), (&keyring, "keyring")] {
            if secrets.contains(&kept) {
                assert_eq!(plane.read(name).await["data"], kept["data"], "{namespace}");
            }
        }
    }
}

pub async fn what_is_lost_is_not_made_anew(cluster: &HostingCluster) {
    let plane = Plane::new(cluster, "losing").await;
    let volumes = Volumes::new();
    Running::start_with(plane.config(&volumes))
        .await
        .stop()
        .await;
    let fresh = Volumes::new();
    let (seal, keyring) = (plane.read("seal").await, plane.read("keyring").await);

    plane.delete("keyring").await;
    let lost = failure(plane.config(&fresh)).await;
    assert!(lost.contains("Secret plane-keyring is missing"), "{lost}");
    plane.restore(&keyring).await;

    plane.delete("seal").await;
    let lost = failure(plane.config(&fresh)).await;
    assert!(
        lost.contains("seal.key of Secret plane-seal is not"),
        "{lost}"
    );
    plane.restore(&seal).await;

    plane.delete("state").await;
    let lost = failure(plane.config(&fresh)).await;
    assert!(lost.contains("Secret plane-state is missing"), "{lost}");

    // All Secrets are gone, but a kept log says that certificates were issued.
    plane.delete("keyring").await;
    let lost = failure(plane.config(&volumes)).await;
    assert!(lost.contains("Secret plane-keyring is missing"), "{lost}");
}

pub async fn the_bootstrap_ends_for_all_replicas(cluster: &HostingCluster) {
    let plane = Plane::new(cluster, "bootstrap").await;
    let (one, two) = (Volumes::new(), Volumes::new());
    let one = Running::start_with(plane.config(&one)).await;
    let two = Running::start_with(plane.config(&two)).await;
    let token = plane
        .part("supervisor")
        .await
        .token(&plane.audience())
        .await;
    let first = supervisor(&one, &token).await;
    let second = supervisor(&two, &token).await;
    masters(&first).await.unwrap();
    masters(&second).await.unwrap();

    // Both at once is once.
    let complete = |mesh: &Mesh| {
        let mut client = mesh.cert_authority();
        async move { client.complete_bootstrap(CompleteBootstrapRequest {}).await }
    };
    let (a, b) = tokio::join!(complete(&first), complete(&second));
    a.unwrap();
    b.unwrap();
    let at = plane.read("state").await["data"]["bootstrap-complete"].clone();
    assert!(at.is_string());
    for mesh in [&first, &second] {
        assert_eq!(
            masters(mesh).await.unwrap_err().code(),
            Code::FailedPrecondition
        );
    }
    // A replica that saw nothing of it.
    let three = Volumes::new();
    let three = Running::start_with(plane.config(&three)).await;
    let third = supervisor(&three, &token).await;
    assert_eq!(
        masters(&third).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    third
        .cert_authority()
        .complete_bootstrap(CompleteBootstrapRequest {})
        .await
        .unwrap();
    assert_eq!(plane.read("state").await["data"]["bootstrap-complete"], at);
    for running in [one, two, three] {
        running.stop().await;
    }
}

async fn supervisor(running: &Running, token: &str) -> Mesh {
    let key = KeyPair::generate().unwrap();
    let answer = running.enroll(token, key.csr_der().unwrap()).await.unwrap();
    let trust = TrustBundle::try_from(answer.trust.unwrap()).unwrap();
    let identity = Identity::Service(ServiceName::Supervisor);
    running.mesh_of(identity, answer.chain, key, trust)
}

async fn masters(mesh: &Mesh) -> Result<(), tonic::Status> {
    let request = SignRequest {
        profile: Profile::SupervisorBootstrap.into(),
        csr: KeyPair::generate().unwrap().csr_der().unwrap().into(),
        ..SignRequest::default()
    };
    mesh.cert_authority().sign(request).await.map(drop)
}

pub async fn a_given_seal_key_is_used_and_none_is_made(cluster: &HostingCluster) {
    let plane = Plane::new(cluster, "sealing").await;
    let volumes = Volumes::new();
    let mut config = plane.config(&volumes);
    config.hosting.seal = Place::Folder;
    let wanted = failure(config.clone()).await;
    assert!(wanted.contains("32 random bytes"), "{wanted}");
    std::fs::write(volumes.path().join("seal/seal.key"), [9; 32]).unwrap();
    Running::start_with(config.clone()).await.stop().await;
    Running::start_with(config).await.stop().await;
    assert!(!has_secret(&plane, "plane-seal").await);
    assert!(has_secret(&plane, "plane-keyring").await);
}

pub async fn the_keyring_stays_in_a_folder_if_told_so(cluster: &HostingCluster) {
    let plane = Plane::new(cluster, "folder").await;
    let volumes = Volumes::new();
    let mut config = plane.config(&volumes);
    config.hosting.state = Place::Folder;
    let running = Running::start_with(config.clone()).await;
    let first = domain(&running);
    running.stop().await;
    let running = Running::start_with(config).await;
    assert_eq!(domain(&running), first);
    running.stop().await;
    assert!(volumes.path().join("state/keyring.sealed").exists());
    assert!(!volumes.path().join("seal/seal.key").exists());
    assert!(has_secret(&plane, "plane-seal").await);
    assert!(!has_secret(&plane, "plane-keyring").await);
}

async fn has_secret(plane: &Plane<'_>, name: &str) -> bool {
    let client = Client::new(&plane.api).unwrap();
    client.get::<Secret>(name).await.unwrap().is_some()
}

pub async fn a_start_waits_for_the_hosting_cluster(cluster: &HostingCluster) {
    let plane = Plane::new(cluster, "starting").await;
    let volumes = Volumes::new();
    cluster.pause();
    let (ctx, trigger) = Context::new();
    let starting = tokio::spawn(Bound::bind(
        plane.config(&volumes),
        ctx.clone(),
        Clock::system(),
    ));
    eventually(DEADLINE, "the hosting cluster is named", || async {
        let waiting = ctx.readiness.waiting();
        let named = waiting
            .iter()
            .any(|w| w.name == "keyring" && w.reason.contains("no answer"));
        if named { Ok(()) } else { Err(waiting) }
    })
    .await;
    cluster.resume();
    let bound = starting.await.unwrap().unwrap();
    trigger.start();
    drop(bound);
}
