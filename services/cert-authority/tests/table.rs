//! Whatever is asked, a certificate is what its cell of the table says, or there is none.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

#[path = "table/certificate.rs"]
mod certificate;
#[path = "table/model.rs"]
mod model;

use cert_authority::config::Config;
use cert_authority::domain::authority::{LIFE_SECONDS, label};
use cert_authority::domain::csr::ProvenKey;
use cert_authority::domain::keyring::Keyring;
use cert_authority::domain::policy::Policy;
use cert_authority::domain::profile::{Profile, Request};
use cert_authority::domain::signing::{Signed, sign};
use cert_authority::domain::template::template;
use cert_authority::error::Error;
use certificate::{chains, read};
use model::{For, TABLE, find};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use sextant_identity::{Authority, Identity, ServiceName};
use sextant_proto::certauthority::{NodeSubject, Profile as Wire, SignRequest};
use std::process::Command;
use std::sync::LazyLock;

const NOW: i64 = 1_795_000_000;

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::generate(NOW).unwrap());
static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());
static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let mut config = Config::default();
    config.apiserver.names = vec![
        "api.example.org".into(),
        "203.0.113.9".into(),
        "localhost".into(),
    ];
    config.datastore.names = vec!["etcd.example.org".into()];
    Policy::new(&config).unwrap()
});

/// Names and addresses of nodes with the verdict that they must get.
const GOOD_NAMES: &[&str] = &[
    "node-1",
    "a",
    "worker.example.org",
    "kube",
    "svc-1",
    "xcluster.local",
];
const BAD_NAMES: &[&str] = &[
    "",
    "-a",
    "A",
    "a..b",
    "a_b",
    "node 1",
    "kubernetes",
    "kubernetes.default.svc",
    "kubernetes-7",
    "localhost",
    "x.localhost",
    "kube-apiserver",
    "kube-scheduler",
    "datastore-proxy",
    "supervisor",
    "cert-authority",
    "metrics-server.kube-system.svc",
    "svc",
    "a.svc.cluster.local",
    "cluster.local",
    "10.96.0.1",
    "192.0.2.77",
    "api.example.org",
    "etcd.example.org",
];
const GOOD_ADDRESSES: &[&str] = &[
    "172.18.0.7",
    "2001:db8::7",
    "10.95.255.255",
    "10.97.0.0",
    "192.0.2.2",
];
const BAD_ADDRESSES: &[&str] = &[
    "",
    "x",
    "300.0.0.1",
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "::ffff:127.0.0.1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "10.96.0.1",
    "10.96.255.255",
    "::ffff:10.96.0.10",
    "192.0.2.1",
    "203.0.113.9",
];

fn identities() -> Vec<Identity> {
    let services = ServiceName::ALL.iter().map(|name| Identity::Service(*name));
    services
        .chain([Identity::Admin, Identity::Node("node-1".parse().unwrap())])
        .collect()
}

fn issue(
    requester: &Identity,
    request: &SignRequest,
    now: i64,
) -> Result<(CertificateDer<'static>, Signed, Authority), Error> {
    let mut parsed = Request::parse(requester.clone(), request)?;
    parsed.bootstrap_open = true;
    let template = template(&POLICY, &KEYRING.trust_domain, &parsed, now)?;
    let key = ProvenKey::from_csr(&request.csr)?;
    let signed = sign(
        KEYRING.authority(template.authority),
        &template,
        &key,
        [0x40; 16],
        now,
    )?;
    Ok((signed.der.clone(), signed, template.authority))
}

fn request(
    profile: i32,
    whose: For,
    name: &str,
    addresses: &[String],
    csr: Vec<u8>,
) -> SignRequest {
    SignRequest {
        profile,
        csr: csr.into(),
        node: (whose == For::Node).then(|| NodeSubject {
            name: name.to_owned(),
            addresses: addresses.to_vec(),
        }),
        ttl_seconds: 0,
        admin: whose == For::Admin,
    }
}

/// A request that asks for everything.
fn greedy_csr(names: &[String]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:masters");
    params
        .distinguished_name
        .push(DnType::CommonName, "system:kube-controller-manager");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::Any,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    params.subject_alt_names = names
        .iter()
        .map(|name| SanType::DnsName(name.as_str().try_into().unwrap()))
        .collect();
    params
        .subject_alt_names
        .push(SanType::IpAddress([10, 96, 0, 1].into()));
    params.serialize_request(&*KEY).unwrap().der().to_vec()
}

fn whose() -> impl Strategy<Value = For> {
    prop_oneof![Just(For::Own), Just(For::Node), Just(For::Admin)]
}

/// A value and whether it is good.
fn verdict(
    good: &'static [&'static str],
    bad: &'static [&'static str],
) -> impl Strategy<Value = (String, bool)> {
    prop_oneof![
        4 => prop::sample::select(good).prop_map(|text| (text.to_owned(), true)),
        1 => prop::sample::select(bad).prop_map(|text| (text.to_owned(), false)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn no_certificate_leaves_its_cell(
        requester in prop::sample::select(identities()),
        profile in prop_oneof![20 => 1..=17i32, 1 => -1..=0i32, 1 => 18..=40i32],
        whose in whose(),
        name in verdict(GOOD_NAMES, BAD_NAMES),
        addresses in prop::collection::vec(verdict(GOOD_ADDRESSES, BAD_ADDRESSES), 0..4),
        ttl in prop_oneof![3 => Just(0), 1 => -5..2000i64, 1 => 2000..100_000_000i64],
        names in prop::collection::vec("[a-z]{1,8}(\\.[a-z]{1,8}){0,2}", 0..4),
        later in 0..LIFE_SECONDS + 100_000,
    ) {
        let now = NOW + later;
        let texts: Vec<_> = addresses.iter().map(|(text, _)| text.clone()).collect();
        let mut asked = request(profile, whose, &name.0, &texts, greedy_csr(&names));
        asked.ttl_seconds = ttl;
        let answer = issue(&requester, &asked, now);

        let wire = Wire::try_from(profile).map_or("", |wire| wire.as_str_name());
        let node_is_good = whose != For::Node || (name.1 && addresses.iter().all(|(_, good)| *good));
        let cell = find(wire, &requester.to_string(), whose).filter(|cell| {
            node_is_good && (ttl == 0 || ttl >= cell.life.1) && later < LIFE_SECONDS
        });
        match (cell, answer) {
            (None, Err(_)) => {}
            (None, Ok(_)) => prop_assert!(false, "{requester} got {wire} for {whose:?} {name:?} {addresses:?}"),
            (Some(_), Err(error)) => prop_assert!(false, "{requester} didn't get {wire}: {error}"),
            (Some(cell), Ok((der, signed, authority))) => {
                let leaf = read(&der);
                let life = if ttl == 0 { cell.life.0 } else { ttl.min(cell.life.0) };
                prop_assert_eq!(label(authority), cell.authority);
                prop_assert_eq!(&leaf.organization, cell.organization);
                prop_assert_eq!(&leaf.common_name, &cell.common_name(&name.0));
                let domain = KEYRING.trust_domain.to_string();
                prop_assert_eq!(&leaf.sans, &cell.sans(&domain, &name.0, &texts));
                prop_assert_eq!(&leaf.usage, cell.usage);
                prop_assert_eq!(leaf.not_before, now - 30);
                prop_assert_eq!(leaf.not_after, (now + life).min(NOW + LIFE_SECONDS));
                prop_assert_eq!(leaf.not_after, signed.not_after);
                prop_assert_eq!(&leaf.public_key[..], KEY.public_key_raw());
            }
        }
    }
}

#[test]
fn each_chain_ends_at_its_own_anchor_and_at_no_other() {
    for cell in TABLE {
        let requester: Identity = cell.requester.parse().unwrap();
        let number = Wire::from_str_name(cell.profile).unwrap() as i32;
        let asked = request(
            number,
            cell.whose,
            "node-1",
            &["172.18.0.7".to_owned()],
            greedy_csr(&[]),
        );
        let (der, _, own) = issue(&requester, &asked, NOW).unwrap();
        for authority in Authority::ALL {
            let anchor = &KEYRING.authority(authority).certificate;
            for usage in ["client", "server"] {
                let expected = authority == own && cell.usage.contains(usage);
                assert_eq!(
                    chains(&der, anchor, usage, NOW),
                    expected,
                    "{} at {} for {usage}",
                    cell.profile,
                    label(authority)
                );
            }
        }
        assert!(!chains(
            &der,
            &KEYRING.authority(own).certificate,
            cell.usage.split(' ').next().unwrap(),
            NOW - 31
        ));
    }
}

#[test]
fn the_table_has_every_profile() {
    for profile in Profile::ALL {
        assert!(
            TABLE.iter().any(|cell| cell.profile == profile.as_str()),
            "{profile:?}"
        );
    }
    let contract = (1..100)
        .filter(|number| Wire::try_from(*number).is_ok())
        .count();
    assert_eq!(Profile::ALL.len(), contract);
}

#[test]
fn openssl_agrees_with_every_chain() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("SKIP openssl isn't installed here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (leaf, anchor) = (folder.path().join("leaf.pem"), folder.path().join("ca.pem"));
    for cell in TABLE {
        let requester: Identity = cell.requester.parse().unwrap();
        let number = Wire::from_str_name(cell.profile).unwrap() as i32;
        let asked = request(
            number,
            cell.whose,
            "node-1",
            &["172.18.0.7".to_owned()],
            greedy_csr(&[]),
        );
        let (der, _, own) = issue(&requester, &asked, NOW).unwrap();
        let pem = sextant_identity::trust::certificates_to_pem;
        std::fs::write(&leaf, pem(&[der])).unwrap();
        std::fs::write(&anchor, pem(&[KEYRING.authority(own).certificate.clone()])).unwrap();
        for usage in cell.usage.split(' ') {
            let output = Command::new("openssl")
                .args([
                    "verify",
                    "-x509_strict",
                    "-check_ss_sig",
                    "-attime",
                    &NOW.to_string(),
                ])
                .args(["-purpose", &format!("ssl{usage}"), "-CAfile"])
                .args([&anchor, &leaf])
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{} {usage}: {output:?}",
                cell.profile
            );
        }
    }
}

#[test]
fn bootstrap_is_refused_once_it_is_complete() {
    let asked = request(
        Wire::SupervisorBootstrap as i32,
        For::Own,
        "",
        &[],
        greedy_csr(&[]),
    );
    let supervisor = Identity::Service(ServiceName::Supervisor);
    let closed = Request::parse(supervisor.clone(), &asked).unwrap();
    let denied = template(&POLICY, &KEYRING.trust_domain, &closed, NOW).unwrap_err();
    assert_eq!(denied.reason.code(), "bootstrap_complete");
    assert!(issue(&supervisor, &asked, NOW).is_ok());
}

#[test]
fn a_clock_before_the_authorities_is_named() {
    let asked = request(Wire::Mesh as i32, For::Own, "", &[], greedy_csr(&[]));
    let supervisor = Identity::Service(ServiceName::Supervisor);
    let error = issue(&supervisor, &asked, NOW - 24 * 3600).err().unwrap();
    assert!(
        matches!(error, Error::ClockBehind { .. }) && error.to_string().contains("set the clock")
    );
}
