//! Requests that want more than their profile: what comes back is read, not believed.

use crate::node::Node;
use crate::part::Part;
use crate::plane::Plane;
use crate::tokens::refused;
use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sextant_identity::KeyPair;
use sextant_proto::certauthority::{NodeSubject, Profile, RenewRequest, SignRequest};
use sextant_proto::join::{AdminEnrollRequest, AdminEnrollResponse};
use tonic::Code;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// What of a certificate matters here.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    subject: String,
    names: Vec<String>,
    is_ca: bool,
    usage: (bool, bool),
}

fn read(der: &[u8]) -> Result<Said> {
    let (_, certificate) = X509Certificate::from_der(der)?;
    let names = certificate.subject_alternative_name()?;
    let names = names.map_or_else(Vec::new, |names| names.value.general_names.clone());
    let mut names: Vec<String> = names.iter().map(name).collect();
    names.sort();
    let usage = certificate.extended_key_usage()?.context("no usage")?.value;
    ensure!(!usage.any && !usage.code_signing, "it may be used for more");
    Ok(Said {
        subject: certificate.subject().to_string(),
        names,
        is_ca: certificate.is_ca(),
        usage: (usage.client_auth, usage.server_auth),
    })
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::URI(uri) => (*uri).to_owned(),
        GeneralName::IPAddress([a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
        other => format!("{other:?}"),
    }
}

fn read_pem(chain: &str) -> Result<Said> {
    read(&CertificateDer::from_pem_slice(chain.as_bytes()).context("no certificate came")?)
}

/// A request for everything.
fn greedy() -> Result<rcgen::CertificateSigningRequest> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:masters");
    params
        .distinguished_name
        .push(DnType::CommonName, "kubernetes-admin");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    params.subject_alt_names = vec![
        SanType::DnsName("kubernetes.default.svc".try_into()?),
        SanType::URI("spiffe://0000000000.sextant.internal/admin".try_into()?),
        SanType::IpAddress("10.96.0.1".parse()?),
    ];
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    // rcgen refuses to write basic constraints into a request; everything else is in it.
    params.is_ca = IsCa::NoCa;
    Ok(params.serialize_request(&key)?)
}

pub async fn requests_get_what_their_profile_says_and_no_more() -> Result<()> {
    let plane = Plane::ready().await?;
    let mesh = plane.enrol("token-service").await?;
    let domain = mesh.trust().borrow().trust_domain.clone();
    let uri = |path: &str| format!("spiffe://{domain}/{path}");
    let csr = || Ok::<_, anyhow::Error>(bytes::Bytes::copy_from_slice(greedy()?.der()));

    let renewed = mesh
        .cert_authority()
        .renew(RenewRequest { csr: csr()? })
        .await?;
    let said = read(&renewed.into_inner().chain[0])?;
    ensure!(
        said.names == [uri("service/token-service")] && !said.is_ca,
        "{said:?}"
    );
    ensure!(!said.subject.contains("masters"), "{said:?}");

    let sign = async |profile: Profile, csr: bytes::Bytes, node: Option<NodeSubject>, ttl: i64| {
        let request = SignRequest {
            profile: profile.into(),
            csr,
            node,
            ttl_seconds: ttl,
            admin: false,
        };
        mesh.cert_authority().sign(request).await
    };
    let client = sign(Profile::DatastoreClient, csr()?, None, i64::MAX)
        .await?
        .into_inner();
    let said = read(&client.chain[0])?;
    ensure!(
        !said.subject.contains("masters") && said.usage == (true, false),
        "{said:?}"
    );
    let (_, leaf) = X509Certificate::from_der(&client.chain[0])?;
    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    ensure!(life <= 25 * 3600, "it lives {life} s");

    // Rows of others, and other identities, are refused with a sentence.
    let node = || {
        Some(NodeSubject {
            name: "stolen".to_owned(),
            addresses: Vec::new(),
        })
    };
    for (profile, node) in [
        (Profile::ApiserverServing, None),
        (Profile::SupervisorBootstrap, None),
        (Profile::AdminClient, None),
        (Profile::DatastoreServer, None),
        (Profile::KubeletClient, node()),
        (Profile::Mesh, node()),
    ] {
        let status = sign(profile, csr()?, node, 0).await.err();
        let status = status.with_context(|| format!("{profile:?} was signed"))?;
        let told = status.code() == Code::PermissionDenied && !status.message().is_empty();
        ensure!(told, "{profile:?}: {status}");
    }
    // A key that the asker doesn't prove to have.
    let mut forged = greedy()?.der().to_vec();
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    for broken in [forged, b"nonsense".to_vec()] {
        let status = sign(Profile::DatastoreClient, broken.into(), None, 0)
            .await
            .err();
        let code = status.map(|status| status.code());
        ensure!(code == Some(Code::InvalidArgument), "{code:?}");
    }
    administrators_get_theirs(&plane, &uri("admin")).await
}

async fn administrators_get_theirs(plane: &Plane, uri: &str) -> Result<()> {
    let enrol = async |identity: &str| {
        let token = std::fs::read_to_string(plane.path("enrol").join(identity).join("token"))?;
        let request = AdminEnrollRequest {
            token: token.trim().to_owned(),
            csr: greedy()?.pem()?,
        };
        let mut client = plane.join_client().await?;
        let answer: AdminEnrollResponse = client.post("/v1/enroll", None, &request).await?;
        anyhow::Ok(answer)
    };
    let said = read_pem(&enrol("admin").await?.certificate)?;
    ensure!(said.names == [uri] && !said.is_ca, "{said:?}");
    let error = enrol("supervisor")
        .await
        .err()
        .context("a service enrolled there")?;
    let text = format!("{error:#}");
    ensure!(text.contains("enrolment_refused"), "{text}");
    Ok(())
}

pub async fn nodes_get_their_own_names_only() -> Result<()> {
    let plane = Plane::ready().await?;
    let token = plane.token().await?;
    let address = plane.address(Part::Edge).to_string();
    let mut node = Node::with_key("plain", KeyPair::generate()?)?;
    for request in [
        &mut node.requests.mesh,
        &mut node.requests.kubelet_client,
        &mut node.requests.kubelet_serving,
        &mut node.requests.kube_proxy,
    ] {
        *request = greedy()?.pem()?;
    }
    let response = node.join(&address, &token.token).await?;
    let domain = &response.trust.trust_domain;
    let certificates = &response.certificates;
    let said = |subject: &str, names: &[&str], usage| Said {
        subject: subject.to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        is_ca: false,
        usage,
    };
    let mesh = read_pem(&certificates.mesh)?;
    let uri = format!("spiffe://{domain}/node/plain");
    ensure!(mesh.names == [uri] && !mesh.is_ca, "{mesh:?}");
    ensure!(!mesh.subject.contains("masters"), "{mesh:?}");
    let found = read_pem(&certificates.kubelet_client)?;
    let wanted = said("O=system:nodes, CN=system:node:plain", &[], (true, false));
    ensure!(found == wanted, "{found:?}");
    let found = read_pem(&certificates.kubelet_serving)?;
    let serving = "O=system:nodes, CN=system:node:plain";
    let wanted = said(serving, &["172.30.0.7", "plain"], (false, true));
    ensure!(found == wanted, "{found:?}");
    let found = read_pem(&certificates.kube_proxy)?;
    let subject = "O=sextant:kube-proxies, CN=sextant:kube-proxy:plain";
    ensure!(found == said(subject, &[], (true, false)), "{found:?}");

    for name in [
        "kubernetes",
        "supervisor",
        "localhost",
        "edge",
        "Upper",
        "10.0.0.1",
    ] {
        let answer = Node::new(name)?.join(&address, &token.token).await;
        refused(answer, &["name_refused", name])?;
    }
    for claimed in ["127.0.0.1", "10.96.0.1", "10.244.0.9", "192.0.2.1", "me"] {
        let mut node = Node::new("liar")?;
        node.requests.addresses = vec![claimed.to_owned()];
        let answer = node.join(&address, &token.token).await;
        refused(answer, &["address_refused", claimed])?;
    }
    let mut node = Node::new("liar")?;
    node.requests.kube_proxy = "nonsense".to_owned();
    refused(
        node.join(&address, &token.token).await,
        &["csr_invalid", "kube_proxy"],
    )
}
