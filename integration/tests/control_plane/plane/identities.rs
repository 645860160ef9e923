//! Who the test is towards the control plane.

use super::{Plane, SOON};
use crate::node::Member;
use crate::part::Part;
use anyhow::{Context as _, Result};
use sextant_identity::pin::PinnedClient;
use sextant_identity::{Channel, EnrollConfig, Identity, KeyPair, Mesh, Peer, ServiceName};
use sextant_proto::join::{AdminEnrollRequest, AdminEnrollResponse};
use sextant_proto::supervisor::admin_client::AdminClient;
use sextant_proto::supervisor::{CreateTokenRequest, CreateTokenResponse};

impl Plane {
    /// The mesh anchors, as a client pins them.
    pub fn anchors(&self) -> Result<String> {
        let file = self.path("enrol/admin/ca.pem");
        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    }

    /// Enrols as anybody who has an enrolment folder: a service's name, or `admin`.
    pub async fn enrol(&self, name: &str) -> Result<Mesh> {
        let identity = match name {
            "admin" => Identity::Admin,
            service => Identity::Service(service.parse()?),
        };
        let config = EnrollConfig {
            cert_authority: self.address(Part::CertAuthority).to_string(),
            folder: self.path("enrol").join(name),
            ..EnrollConfig::default()
        };
        let enrolled = tokio::time::timeout(SOON, Mesh::enroll(&config, identity, &self.context));
        Ok(enrolled
            .await
            .with_context(|| format!("enrolling as {name}"))??)
    }

    /// A client of the join API that trusts our anchors, through the edge.
    pub async fn join_client(&self) -> Result<PinnedClient> {
        let address = self.address(Part::Edge).to_string();
        Ok(PinnedClient::connect_trusting(&address, &self.anchors()?).await?)
    }

    /// The administrator, enrolled through the join API.
    pub async fn admin(&self) -> Result<AdminClient<Channel>> {
        let key = KeyPair::generate()?;
        let token = std::fs::read_to_string(self.path("enrol/admin/token"))?;
        let request = AdminEnrollRequest {
            token: token.trim().to_owned(),
            csr: key.csr_pem()?,
        };
        let mut client = self.join_client().await?;
        let answer: AdminEnrollResponse = client.post("/v1/enroll", None, &request).await?;
        let member = Member::new(Identity::Admin, &answer.certificate, key, answer.trust)?;
        Ok(AdminClient::new(self.supervisor_channel(&member.mesh)))
    }

    /// The supervisor's public listener, through the edge.
    pub fn supervisor_channel(&self, mesh: &Mesh) -> Channel {
        let address = self.address(Part::Edge).to_string();
        mesh.channel(&address, Peer::Service(ServiceName::Supervisor))
    }

    /// A join token for any node, any number of times, for an hour.
    pub async fn token(&self) -> Result<CreateTokenResponse> {
        let mut admin = self.admin().await?;
        let made = admin.create_token(CreateTokenRequest::default()).await?;
        Ok(made.into_inner())
    }

    /// A client of the datastore as anybody who may have a certificate for it.
    pub async fn datastore_client(&self, name: &str) -> Result<etcd_client::Client> {
        let mesh = self.enrol(name).await?;
        let address = self.address(Part::DatastoreProxy).to_string();
        Ok(mesh.datastore_client(&address, &self.context).await?)
    }
}
