//! Enrolment, renewal and trust, against a cert-authority on loopback.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

mod support;

use sextant_identity::{EnrollConfig, Error, Leaf, Mesh, ServiceName};
use sextant_kit::Context;
use sextant_proto::certauthority::{Profile, TrustBundle};
use sextant_testkit::{FakeClock, Root, eventually};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use support::authority::{FakeAuthority, TOKEN};
use support::*;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

fn write(folder: &Path, name: &str, content: &str) {
    std::fs::write(folder.join(name), content).unwrap();
}

fn filled_folder(root: &Root) -> TempDir {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "token", &format!("{TOKEN}\n"));
    write(folder.path(), "ca.pem", &root.bundle().mesh_pem());
    folder
}

fn config(address: std::net::SocketAddr, folder: &TempDir) -> EnrollConfig {
    EnrollConfig {
        cert_authority: address.to_string(),
        folder: folder.path().to_owned(),
        ..EnrollConfig::default()
    }
}

async fn wait_for_reason(ctx: &Context, wanted: &str) {
    eventually(DEADLINE, wanted, || async {
        let waiting = ctx.readiness.waiting();
        if waiting.iter().any(|w| w.reason.contains(wanted)) {
            Ok(())
        } else {
            Err(waiting)
        }
    })
    .await;
}

async fn wait_until_asked(authority: &FakeAuthority, wanted: &[&str]) {
    eventually(
        DEADLINE,
        &format!("cert-authority was asked {wanted:?}"),
        || async {
            let asked = authority.asked();
            if asked == wanted { Ok(()) } else { Err(asked) }
        },
    )
    .await;
}

#[tokio::test]
async fn waits_for_files_and_authority_and_says_so() {
    let root = Root::new();
    let authority = FakeAuthority::new(&root, supervisor());
    let listener = loopback().await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let folder = TempDir::new().unwrap();
    let (ctx, _trigger) = Context::new();
    let enrolling = tokio::spawn({
        let (config, ctx) = (config(address, &folder), ctx.clone());
        async move { Mesh::enroll(&config, supervisor(), &ctx).await }
    });
    wait_for_reason(&ctx, "/token: No such file").await;
    write(folder.path(), "token", "an older token");
    wait_for_reason(&ctx, "/ca.pem: No such file").await;
    write(folder.path(), "ca.pem", &root.bundle().mesh_pem());
    wait_for_reason(&ctx, &format!("dialling {address}")).await;
    authority.start_at(address).await;
    wait_for_reason(&ctx, "refused to enrol: the enrolment token is wrong").await;
    write(folder.path(), "token", TOKEN);
    let mesh = enrolling.await.unwrap().unwrap();
    assert!(ctx.readiness.is_ready());
    assert_eq!(mesh.identity(), &supervisor());
    assert_eq!(mesh.trust().borrow().mesh, root.bundle().mesh);
    let channel = mesh.channel(&address.to_string(), cert_authority());
    // The fake has no Seal service: what counts is that the call got through TLS.
    assert_eq!(
        who_am_i(channel).await.unwrap_err().code(),
        tonic::Code::Unimplemented
    );
}

#[tokio::test]
async fn gives_up_only_when_drained() {
    let folder = TempDir::new().unwrap();
    let (ctx, trigger) = Context::new();
    let config = config("127.0.0.1:1".parse().unwrap(), &folder);
    trigger.start();
    let error = Mesh::enroll(&config, supervisor(), &ctx).await.unwrap_err();
    assert!(matches!(error, Error::Drained(_)), "{error}");
}

#[tokio::test]
async fn sends_its_token_to_nobody_but_the_pinned_authority() {
    let root = Root::new();
    let impostor = FakeAuthority::new(&Root::new(), supervisor());
    let (address, _trigger) = impostor.start().await;
    let folder = filled_folder(&root);
    let (ctx, drain) = Context::new();
    let enrolling = tokio::spawn({
        let (config, ctx) = (config(address, &folder), ctx.clone());
        async move { Mesh::enroll(&config, supervisor(), &ctx).await }
    });
    wait_for_reason(&ctx, "doesn't trust").await;
    drain.start();
    enrolling.await.unwrap().unwrap_err();
    assert_eq!(impostor.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn another_parts_folder_is_noticed() {
    let root = Root::new();
    let authority = FakeAuthority::new(&root, ServiceName::TokenService);
    let (address, _trigger) = authority.start().await;
    let folder = filled_folder(&root);
    let (ctx, drain) = Context::new();
    let enrolling = tokio::spawn({
        let (config, ctx) = (config(address, &folder), ctx.clone());
        async move { Mesh::enroll(&config, supervisor(), &ctx).await }
    });
    wait_for_reason(
        &ctx,
        "certified service/token-service, but this is service/supervisor",
    )
    .await;
    drain.start();
    enrolling.await.unwrap().unwrap_err();
}

/// A cert-authority, a mesh enrolled there, and the clock of both.
struct Renewing {
    authority: FakeAuthority,
    mesh: Mesh,
    clock: FakeClock,
    ctx: Context,
    _folder: TempDir,
    _drain: sextant_kit::DrainTrigger,
}

impl Renewing {
    async fn start() -> Self {
        let root = Root::new();
        let clock = FakeClock::new(SystemTime::now());
        let mut authority = FakeAuthority::new(&root, supervisor());
        authority.life = 2 * HOUR;
        authority.now = clock.clock();
        let (address, _) = authority.start().await;
        let folder = filled_folder(&root);
        let (ctx, drain) = Context::new();
        let config = config(address, &folder);
        let mesh = Mesh::enroll_with_clock(&config, supervisor(), &ctx, clock.clock())
            .await
            .unwrap();
        Self {
            authority,
            mesh,
            clock,
            ctx,
            _folder: folder,
            _drain: drain,
        }
    }

    /// Lets the shown time pass, and the timers that look at it.
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn renews_at_half_life_with_jitter() {
    let renewing = Renewing::start().await;
    let first = renewing.mesh.credentials().borrow().not_after;
    renewing.pass(HOUR * 7 / 10).await;
    wait_until_asked(&renewing.authority, &["enroll"]).await;
    // Half life is one hour, jitter a tenth of the life.
    renewing.pass(HOUR * 6 / 10).await;
    wait_until_asked(&renewing.authority, &["enroll", "renew"]).await;
    let mut credentials = renewing.mesh.credentials();
    let renewed = credentials.wait_for(|credentials| credentials.not_after > first);
    tokio::time::timeout(DEADLINE, renewed)
        .await
        .unwrap()
        .unwrap();
    let metrics = renewing.ctx.metrics.encode().unwrap();
    let done =
        "sextant_certificate_renewals_total{certificate=\"mesh certificate\",outcome=\"done\"}";
    // There before it ever happens: what appears with its first failure shows no increase.
    let failed = "certificate=\"mesh certificate\",outcome=\"failed\"} ";
    for sample in [done, failed, "sextant_certificate_not_before_seconds{"] {
        assert!(metrics.contains(sample), "{sample} isn't in {metrics}");
    }
    assert!(renewing.ctx.readiness.is_ready());
}

#[tokio::test]
async fn enrols_again_when_renewal_is_refused_or_too_late() {
    let renewing = Renewing::start().await;
    renewing
        .authority
        .refuse_renewal
        .store(true, Ordering::Relaxed);
    renewing.pass(HOUR * 3 / 2).await;
    wait_until_asked(&renewing.authority, &["enroll", "renew", "enroll"]).await;
    // After its end the certificate isn't even tried.
    renewing.pass(3 * HOUR).await;
    wait_until_asked(
        &renewing.authority,
        &["enroll", "renew", "enroll", "enroll"],
    )
    .await;
}

#[tokio::test]
async fn follows_trust_and_never_goes_back() {
    let renewing = Renewing::start().await;
    let other = Root::new();
    let mut trust = renewing.mesh.trust();
    let publish = |generation: u64, root: &Root| {
        let bundle = TrustBundle {
            generation,
            ..TrustBundle::from(&*root.bundle())
        };
        renewing.authority.trust.send_replace(bundle);
    };
    publish(7, &other);
    let newer = trust.wait_for(|bundle| bundle.generation == 7);
    let found = tokio::time::timeout(DEADLINE, newer)
        .await
        .unwrap()
        .unwrap()
        .mesh
        .clone();
    assert_eq!(found, other.bundle().mesh);
    publish(6, &renewing.authority.root);
    publish(8, &other);
    let newest = trust.wait_for(|bundle| bundle.generation != 7);
    let found = tokio::time::timeout(DEADLINE, newest)
        .await
        .unwrap()
        .unwrap()
        .generation;
    assert_eq!(found, 8);
}

#[tokio::test]
async fn leaves_are_obtained_and_written_whole() {
    let renewing = Renewing::start().await;
    let leaf = Leaf::obtain(&renewing.mesh, Profile::DatastoreClient, &renewing.ctx)
        .await
        .unwrap();
    assert_eq!(
        renewing.authority.asked(),
        ["enroll", "sign PROFILE_DATASTORE_CLIENT"]
    );
    let folder = TempDir::new().unwrap();
    leaf.write_files(folder.path(), "etcd", &renewing.ctx)
        .await
        .unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let credentials = Arc::clone(&leaf.credentials().borrow());
    assert_eq!(read("etcd.crt"), credentials.chain_pem());
    assert_eq!(read("etcd.key"), *credentials.key.private_key_pem());
    assert_eq!(read("etcd.pem"), read("etcd.crt") + &read("etcd.key"));
    for (name, mode) in [
        ("etcd.crt", 0o644),
        ("etcd.key", 0o600),
        ("etcd.pem", 0o600),
    ] {
        let metadata = std::fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        3,
        "no partial files are left"
    );
}

#[tokio::test]
async fn written_files_follow_renewals() {
    let root = Root::new();
    let sign = || {
        let wish = root
            .wish(sextant_identity::Authority::Datastore)
            .identity(&supervisor());
        Arc::new(root.sign(wish))
    };
    let (sender, receiver) = tokio::sync::watch::channel(sign());
    let (ctx, _drain) = Context::new();
    let folder = TempDir::new().unwrap();
    Leaf::from_parts(receiver)
        .write_files(folder.path(), "etcd", &ctx)
        .await
        .unwrap();
    let next = sign();
    sender.send_replace(Arc::clone(&next));
    eventually(DEADLINE, "the files hold the new certificate", || async {
        let found = std::fs::read_to_string(folder.path().join("etcd.crt")).unwrap();
        if found == next.chain_pem() {
            Ok(())
        } else {
            Err("the old one")
        }
    })
    .await;
}
