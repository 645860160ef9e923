//! What an operator would write.

use super::{ENROLLING, Plane};
use crate::part::Part;
use serde_json::{Value, json};

impl Plane {
    /// What an operator would write for a part. JSON is YAML, too.
    pub(super) fn configuration(&self, part: Part) -> Value {
        let common = json!({"admin_listen": self.admin_address(part)});
        let listen = self.address(part);
        let enroll = json!({
            "cert_authority": self.address(Part::CertAuthority),
            "folder": self.path("enrol").join(part.name()),
        });
        let datastore = self.address(Part::DatastoreProxy);
        match part {
            Part::CertAuthority => json!({
                "common": common,
                "listen": listen,
                "state_folder": self.path("authority"),
                "seal_folder": self.path("seal"),
                // All tests call from one address.
                "enrolment": {"folder": self.path("enrol"), "identities": ENROLLING,
                    "attempts_burst": 10_000},
            }),
            Part::DatastoreProxy => json!({
                "common": common,
                "listen": listen,
                "enroll": enroll,
                "endpoint": format!("sqlite://{}", self.database().display()),
            }),
            Part::TokenService => json!({
                "common": common,
                "listen": listen,
                "enroll": enroll,
                "datastore": datastore,
            }),
            Part::Supervisor => json!({
                "common": common,
                "listen": listen,
                "public_listen": self.public_address(),
                "advertise": listen,
                "enroll": enroll,
                "token_service": self.address(Part::TokenService),
                "datastore": datastore,
                "nodes_folder": self.path("nodes"),
                "parts": Part::ALL.map(|part| {
                    let rpc = (part != Part::Edge).then(|| self.address(part).to_string());
                    json!({
                        "name": part.name(),
                        "admin": self.admin_address(part),
                        "rpc": rpc.unwrap_or_default(),
                    })
                }),
                "cluster": {
                    "nodes": ["node-1"],
                    "supervisors": [self.address(Part::Edge)],
                    // Nobody listens there: these tests have no Kubernetes.
                    "api": {"internal": "127.0.0.1:1"},
                },
            }),
            Part::Edge => json!({
                "common": common,
                "edge": {"listeners": [{"listen": listen, "upstream": self.public_address()}]},
            }),
        }
    }
}
