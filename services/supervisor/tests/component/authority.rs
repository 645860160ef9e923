//! A stand-in for cert-authority: signs what it is asked for with the test's authorities.

use futures::Stream;
use rcgen::{CertificateParams, DnType, Issuer, SanType};
use sextant_identity::{Authority, Identity};
use sextant_proto::certauthority::cert_authority_server::CertAuthority;
use sextant_proto::certauthority::{
    CompleteBootstrapRequest, CompleteBootstrapResponse, EnrollRequest, EnrollResponse,
    IssuedCertificate, ListIssuedRequest, Profile, RenewRequest, RenewResponse, SignRequest,
    SignResponse, TrustBundle, WatchTrustRequest,
};
use sextant_testkit::Root;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::{Request, Response, Status};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
pub struct Authorities {
    root: Root,
    /// Every request, in order.
    pub signed: Arc<Mutex<Vec<SignRequest>>>,
}

impl Authorities {
    pub fn new(root: Root) -> Self {
        Self {
            root,
            signed: Arc::default(),
        }
    }

    fn sign_for(
        &self,
        csr: &[u8],
        authority: Authority,
        name: &str,
        identity: Option<Identity>,
    ) -> bytes::Bytes {
        let (_, request) = X509CertificationRequest::from_der(csr).unwrap();
        let spki = request.certification_request_info.subject_pki.raw;
        let public = rcgen::SubjectPublicKeyInfo::from_der(spki).unwrap();
        let (certificate, key) = self.root.authority(authority);
        let key = rcgen::KeyPair::from_pem(&key.private_key_pem()).unwrap();
        let issuer = Issuer::from_ca_cert_der(&certificate, key).unwrap();
        let mut params = CertificateParams::default();
        let now = std::time::SystemTime::now();
        params.not_before = (now - Duration::from_secs(60)).into();
        params.not_after = (now + Duration::from_secs(24 * 3600)).into();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(identity) = identity {
            let uri = identity.to_uri(self.root.trust_domain());
            params
                .subject_alt_names
                .push(SanType::URI(uri.try_into().unwrap()));
        }
        bytes::Bytes::copy_from_slice(params.signed_by(&public, &issuer).unwrap().der())
    }
}

#[tonic::async_trait]
impl CertAuthority for Authorities {
    type WatchTrustStream = Answers<TrustBundle>;
    type ListIssuedStream = Answers<IssuedCertificate>;

    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        let identity: Identity = match request.token.as_str() {
            "admin-token" => Identity::Admin,
            "service-token" => "service/token-service".parse().unwrap(),
            _ => {
                return Err(Status::permission_denied(
                    "the enrolment token is not known",
                ));
            }
        };
        let name = identity.to_string();
        let leaf = self.sign_for(&request.csr, Authority::Mesh, &name, Some(identity));
        Ok(Response::new(EnrollResponse {
            chain: vec![leaf],
            trust: None,
        }))
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let request = request.into_inner();
        self.signed.lock().unwrap().push(request.clone());
        let node = request
            .node
            .as_ref()
            .map(|node| node.name.clone())
            .unwrap_or_default();
        let (authority, identity) = match request.profile() {
            Profile::Mesh if request.admin => (Authority::Mesh, Some(Identity::Admin)),
            Profile::Mesh => (Authority::Mesh, Some(Identity::Node(node.parse().unwrap()))),
            Profile::KubeletServing => (Authority::ClusterServer, None),
            _ => (Authority::ClusterClient, None),
        };
        let leaf = self.sign_for(&request.csr, authority, &node, identity);
        Ok(Response::new(SignResponse {
            chain: vec![leaf],
            not_after_unix: 1,
        }))
    }

    async fn watch_trust(
        &self,
        _: Request<WatchTrustRequest>,
    ) -> Result<Response<Self::WatchTrustStream>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn complete_bootstrap(
        &self,
        _: Request<CompleteBootstrapRequest>,
    ) -> Result<Response<CompleteBootstrapResponse>, Status> {
        Ok(Response::new(CompleteBootstrapResponse {}))
    }

    async fn list_issued(
        &self,
        _: Request<ListIssuedRequest>,
    ) -> Result<Response<Self::ListIssuedStream>, Status> {
        Err(Status::unimplemented("not used"))
    }
}
