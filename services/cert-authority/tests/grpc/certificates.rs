//! Enrolling, renewing, signing, and what is recorded of it.

use crate::certificate::{chains, read};
use crate::harness::{DEADLINE, Running, Volumes};
use crate::model::{Cell, For, find};
use cert_authority::domain::authority::label;
use sextant_identity::{
    Authority, Channel, EnrollConfig, Identity, KeyPair, Mesh, ServiceName, TrustBundle,
};
use sextant_proto::certauthority::cert_authority_client::CertAuthorityClient;
use sextant_proto::certauthority::{
    CompleteBootstrapRequest, IssuedCertificate, ListIssuedRequest, NodeSubject, Profile,
    RenewRequest, SignRequest, WatchTrustRequest,
};
use std::collections::BTreeSet;
use tonic::Code;

const SUPERVISOR: Identity = Identity::Service(ServiceName::Supervisor);

fn csr() -> Vec<u8> {
    KeyPair::generate().unwrap().csr_der().unwrap()
}

fn sign(profile: Profile, whose: For) -> SignRequest {
    SignRequest {
        profile: profile.into(),
        csr: csr().into(),
        node: (whose == For::Node).then(|| NodeSubject {
            name: "node-1".to_owned(),
            addresses: Vec::new(),
        }),
        ttl_seconds: 0,
        admin: whose == For::Admin,
    }
}

/// A mesh of every kind of identity.
async fn meshes(running: &Running, volumes: &Volumes) -> Vec<Mesh> {
    let mut meshes = Vec::new();
    for service in ServiceName::ALL {
        meshes.push(running.mesh(volumes, &Identity::Service(*service)).await);
    }
    meshes.push(running.mesh(volumes, &Identity::Admin).await);
    let key = KeyPair::generate().unwrap();
    let mut request = sign(Profile::Mesh, For::Node);
    request.csr = key.csr_der().unwrap().into();
    let supervisor = running.mesh(volumes, &SUPERVISOR).await;
    let answer = supervisor
        .cert_authority()
        .sign(request)
        .await
        .unwrap()
        .into_inner();
    let trust = TrustBundle::clone(&supervisor.trust().borrow());
    let node = Identity::Node("node-1".parse().unwrap());
    meshes.push(running.mesh_of(node, answer.chain, key, trust));
    meshes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_the_table_over_the_wire() {
    let volumes = Volumes::new();
    let running = Running::start(&volumes).await;
    let mut issued = 0;
    for mesh in meshes(&running, &volumes).await {
        let requester = mesh.identity().to_string();
        let mut client = mesh.cert_authority();
        for profile in (1..).map_while(|number| Profile::try_from(number).ok()) {
            for whose in [For::Own, For::Node, For::Admin] {
                let answer = client.sign(sign(profile, whose)).await;
                let asked = format!("{requester} asks {profile:?} for {whose:?}");
                // Who isn't a service doesn't come as far as the table.
                let cell = find(profile.as_str_name(), &requester, whose)
                    .filter(|_| mesh.identity().service().is_some());
                match (cell, answer) {
                    (Some(cell), Ok(answer)) => {
                        check(cell, &answer.into_inner().chain[0], &mesh.trust().borrow());
                        issued += 1;
                    }
                    (None, Err(status)) => assert!(
                        matches!(
                            status.code(),
                            Code::PermissionDenied | Code::InvalidArgument
                        ) && status.message().len() > 20,
                        "{asked}: {status:?}"
                    ),
                    (cell, answer) => {
                        panic!("{asked}: {answer:?}, in the table: {}", cell.is_some())
                    }
                }
            }
        }
    }
    assert_eq!(
        issued,
        crate::model::TABLE.len() - 1,
        "all cells but the administrator's own"
    );
    running.stop().await;
}

/// The certificate is what its cell says, and its authority's.
fn check(cell: &Cell, der: &[u8], trust: &TrustBundle) {
    let leaf = read(&der.into());
    let asked = cell.profile;
    assert_eq!(leaf.organization, cell.organization, "{asked}");
    assert_eq!(leaf.common_name, cell.common_name("node-1"), "{asked}");
    assert_eq!(
        leaf.sans,
        cell.sans(&trust.trust_domain.to_string(), "node-1", &[]),
        "{asked}"
    );
    assert_eq!(leaf.usage, cell.usage, "{asked}");
    assert_eq!(
        leaf.not_after - leaf.not_before,
        cell.life.0 + 30,
        "{asked}"
    );
    for authority in Authority::ALL {
        let chains = chains(
            &der.into(),
            &trust.anchors(authority)[0],
            leaf.usage.split(' ').next().unwrap(),
            leaf.not_after - 1,
        );
        assert_eq!(
            chains,
            label(authority) == cell.authority,
            "{asked} at {authority:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_call_what() {
    let volumes = Volumes::new();
    let running = Running::start(&volumes).await;
    for mesh in meshes(&running, &volumes).await {
        let mut client = mesh.cert_authority();
        let service = mesh.identity().service();
        let renewed = client
            .renew(RenewRequest { csr: csr().into() })
            .await
            .map(drop);
        let watched = client.watch_trust(WatchTrustRequest {}).await.map(drop);
        let listed = client
            .list_issued(ListIssuedRequest::default())
            .await
            .map(drop);
        let cells = [
            ("Renew", service.is_some(), renewed),
            ("WatchTrust", service.is_some(), watched),
            (
                "ListIssued",
                service == Some(ServiceName::Supervisor),
                listed,
            ),
        ];
        for (method, allowed, answer) in cells {
            let code = answer.err().map(|status| status.code());
            let expected = (!allowed).then_some(Code::PermissionDenied);
            assert_eq!(code, expected, "{method} by {}", mesh.identity());
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_enrols_from_its_volume_and_renews() {
    let volumes = Volumes::new();
    let running = Running::start(&volumes).await;
    let config = EnrollConfig {
        cert_authority: running.address.clone(),
        folder: volumes.enrolment(&SUPERVISOR),
        ..EnrollConfig::default()
    };
    let mesh = tokio::time::timeout(DEADLINE, Mesh::enroll(&config, SUPERVISOR, &running.ctx))
        .await
        .unwrap()
        .unwrap();
    let mut trust = mesh
        .cert_authority()
        .watch_trust(WatchTrustRequest {})
        .await
        .unwrap()
        .into_inner();
    let bundle = TrustBundle::try_from(trust.message().await.unwrap().unwrap()).unwrap();
    assert_eq!(bundle, **running.own.trust().borrow());
    drop(trust);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_tokens_are_bound_to_identity_and_time() {
    let volumes = Volumes::new();
    let running = Running::start(&volumes).await;
    let token = running.token(&volumes, &SUPERVISOR);

    // A token gives its own identity and no other.
    let answer = running.enroll(&token, csr()).await.unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&answer.chain[0]).unwrap();
    assert!(leaf.subject().to_string().contains("service/supervisor"));

    let mut forged = token.clone().into_bytes();
    forged[40] = if forged[40] == b'A' { b'B' } else { b'A' };
    for (text, told) in [
        (String::from_utf8(forged).unwrap(), "not of this cluster"),
        ("secret".to_owned(), "not an enrolment token"),
        (String::new(), "not an enrolment token"),
    ] {
        let status = running.enroll(&text, csr()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(status.message().contains(told), "{status:?}");
        assert!(
            text.is_empty() || !status.message().contains(&text),
            "the token is told"
        );
    }

    // It outlives a restart, but not its ten minutes.
    running.stop().await;
    let running = Running::start(&volumes).await;
    running.enroll(&token, csr()).await.unwrap();
    running.set_clock(601);
    let status = running.enroll(&token, csr()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("expired"), "{status:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolments_of_one_address_are_limited_before_the_token_is_read() {
    let volumes = Volumes::new();
    let mut config = volumes.config();
    config.enrolment.attempts_burst = 3;
    config.enrolment.attempts_per_minute = 1;
    let running = Running::start_with(config).await;
    for _ in 0..3 {
        let status = running.enroll("guess", csr()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    let token = running.token(&volumes, &SUPERVISOR);
    let status = running.enroll(&token, csr()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("wait"), "{status:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_request_and_a_long_message_are_refused() {
    let volumes = Volumes::new();
    let running = Running::start(&volumes).await;
    let mut client = running.client(&volumes, ServiceName::Supervisor).await;
    let mut request = sign(Profile::SupervisorClient, For::Own);
    let mut forged = request.csr.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    request.csr = forged.into();
    let status = client.sign(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("signature"), "{status:?}");

    let long = RenewRequest {
        csr: vec![0; 65 * 1024].into(),
    };
    assert_eq!(
        client.renew(long).await.unwrap_err().code(),
        Code::OutOfRange
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_closes_for_good() {
    let volumes = Volumes::new();
    let running = Running::start(&volumes).await;
    let mut supervisor = running.client(&volumes, ServiceName::Supervisor).await;
    supervisor
        .sign(sign(Profile::SupervisorBootstrap, For::Own))
        .await
        .unwrap();
    let mut other = running.client(&volumes, ServiceName::KubeApiserver).await;
    let status = other
        .complete_bootstrap(CompleteBootstrapRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    supervisor
        .complete_bootstrap(CompleteBootstrapRequest {})
        .await
        .unwrap();
    running.stop().await;

    let running = Running::start(&volumes).await;
    let mut supervisor = running.client(&volumes, ServiceName::Supervisor).await;
    let status = supervisor
        .sign(sign(Profile::SupervisorBootstrap, For::Own))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    supervisor
        .complete_bootstrap(CompleteBootstrapRequest {})
        .await
        .unwrap();
    running.stop().await;
}

async fn listed(
    client: &mut CertAuthorityClient<Channel>,
    valid_only: bool,
) -> Vec<IssuedCertificate> {
    let request = ListIssuedRequest { valid_only };
    let mut stream = client.list_issued(request).await.unwrap().into_inner();
    let mut rows = Vec::new();
    while let Some(row) = stream.message().await.unwrap() {
        rows.push(row);
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_issued_is_listed_also_after_a_restart() {
    let volumes = Volumes::new();
    let running = Running::start(&volumes).await;
    let mut client = running.client(&volumes, ServiceName::Supervisor).await;
    let answer = client
        .sign(sign(Profile::KubeletServing, For::Node))
        .await
        .unwrap()
        .into_inner();
    let (_, leaf) = x509_parser::parse_x509_certificate(&answer.chain[0]).unwrap();
    running.stop().await;

    let running = Running::start(&volumes).await;
    let mut client = running.client(&volumes, ServiceName::Supervisor).await;
    let rows = listed(&mut client, false).await;
    let serials: BTreeSet<_> = rows.iter().map(|row| &row.serial).collect();
    assert_eq!(serials.len(), rows.len(), "serials are unique");
    assert!(
        rows.iter()
            .zip(1..)
            .all(|(row, sequence)| row.sequence == sequence)
    );
    let row = rows
        .iter()
        .find(|row| row.profile == i32::from(Profile::KubeletServing))
        .unwrap();
    assert_eq!(row.serial, leaf.raw_serial_as_string().replace(':', ""));
    assert_eq!(row.subject, "O=system:nodes, CN=system:node:node-1");
    assert_eq!(row.sans, ["DNS:node-1"]);
    assert_eq!(row.not_after_unix, answer.not_after_unix);
    assert!(row.requester.ends_with("/service/supervisor"));
    assert_eq!(row.fingerprint, sha256(&answer.chain[0]));

    // Two days later only kube-apiserver's certificate for kubelets is still valid.
    let mut apiserver = running.client(&volumes, ServiceName::KubeApiserver).await;
    let year = sign(Profile::ApiserverKubeletClient, For::Own);
    let year = apiserver.sign(year).await.unwrap().into_inner();
    running.set_clock(2 * 24 * 3600);
    let valid = listed(&mut client, true).await;
    let year = sha256(&year.chain[0]);
    // cert-authority itself may have renewed by then.
    let own = |row: &IssuedCertificate| row.subject == "CN=service/cert-authority";
    let others: Vec<_> = valid.iter().filter(|row| !own(row)).collect();
    assert!(
        matches!(others.as_slice(), [row] if row.fingerprint == year),
        "{others:?}"
    );
    running.stop().await;
}

fn sha256(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
