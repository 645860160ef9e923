//! ServiceAccounts: their tokens, and what their pods find mounted.

use super::HostingCluster;
use crate::eventually;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use sextant_hosting::ApiConfig;
use std::time::Duration;

/// The API's own audience.
const API: &str = "https://kubernetes.default.svc";
/// The shortest life that the API gives.
const SECONDS: u64 = 600;
const DEADLINE: Duration = Duration::from_secs(20);

/// A ServiceAccount of a [`HostingCluster`].
#[derive(Debug)]
pub struct Account<'a> {
    cluster: &'a HostingCluster,
    namespace: String,
    name: String,
    uid: String,
}

impl<'a> Account<'a> {
    pub(super) fn new(
        cluster: &'a HostingCluster,
        namespace: &str,
        name: &str,
        uid: &Value,
    ) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.as_str().unwrap_or_default().to_owned(),
        }
    }

    /// A token for `audience`, as kubelet projects it.
    pub async fn token(&self, audience: &str) -> String {
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{}/token",
            self.namespace, self.name
        );
        let spec = json!({"spec": {"audiences": [audience], "expirationSeconds": SECONDS}});
        let answer = self.cluster.make(&path, &spec).await;
        let token = answer["status"]["token"].as_str();
        token.expect("a token").to_owned()
    }

    /// A token that was good for `audience` until an hour ago.
    pub fn expired_token(&self, audience: &str) -> String {
        let ended = time::OffsetDateTime::now_utc().unix_timestamp() - 3600;
        let claims = json!({
            "iss": API, "aud": [audience],
            "sub": format!("system:serviceaccount:{}:{}", self.namespace, self.name),
            "iat": ended - 600, "nbf": ended - 600, "exp": ended,
            "kubernetes.io": {"namespace": self.namespace,
                "serviceaccount": {"name": self.name, "uid": self.uid}},
        });
        self.sign(&claims)
    }

    /// What a pod of this account finds mounted.
    pub async fn pod(&self) -> ApiConfig {
        let root = self.cluster.folder.path();
        let folder = root.join(format!("{}-{}", self.namespace, self.name));
        std::fs::create_dir_all(&folder).expect("a folder");
        let token = self.token(API).await;
        std::fs::write(folder.join("token"), token).expect("a file");
        std::fs::write(folder.join("namespace"), &self.namespace).expect("a file");
        std::fs::copy(root.join("admin/ca.crt"), folder.join("ca.crt")).expect("a file");
        self.cluster.api_of(&folder)
    }

    /// Lets this account do what `rules` say in its namespace.
    pub async fn grant(&self, rules: Value) {
        let base = format!(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{}",
            self.namespace
        );
        self.bind(&base, "Role", rules).await;
    }

    /// Lets this account do what `rules` say of things that are in no namespace.
    pub async fn grant_cluster(&self, rules: Value) {
        let base = "/apis/rbac.authorization.k8s.io/v1";
        self.bind(base, "ClusterRole", rules).await;
    }

    async fn bind(&self, base: &str, kind: &str, rules: Value) {
        let name = format!("{}-{}", self.namespace, self.name);
        let metadata = json!({"name": name});
        let plural = kind.to_lowercase();
        let role = json!({"metadata": metadata, "rules": rules});
        self.cluster.make(&format!("{base}/{plural}s"), &role).await;
        let binding = json!({
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": self.name,
                "namespace": self.namespace}],
        });
        let path = format!("{base}/{plural}bindings");
        self.cluster.make(&path, &binding).await;
        let allowed = || self.may(&rules[0]);
        eventually(DEADLINE, "the rules are in force", allowed).await;
    }

    /// Whether the first of what `rule` allows is allowed by now: the API follows its own roles.
    async fn may(&self, rule: &Value) -> Result<(), Value> {
        let review = json!({"spec": {
            "user": format!("system:serviceaccount:{}:{}", self.namespace, self.name),
            "resourceAttributes": {"namespace": self.namespace, "verb": rule["verbs"][0],
                "group": rule["apiGroups"][0], "resource": rule["resources"][0],
                "name": rule["resourceNames"][0]},
        }});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer = self.cluster.make(path, &review).await;
        match answer["status"]["allowed"].as_bool() {
            Some(true) => Ok(()),
            _ => Err(answer),
        }
    }

    fn sign(&self, claims: &Value) -> String {
        let file = self.cluster.folder.path().join("accounts.key");
        let key = PrivateKeyDer::from_pem_file(file).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der());
        let header = json!({"alg": "ES256", "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = key
            .expect("a key")
            .sign(&SystemRandom::new(), signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.expect("a signature"));
        format!("{signed}.{signature}")
    }
}
