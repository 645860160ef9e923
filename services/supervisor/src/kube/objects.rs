//! Objects of any kind: parsing, applying, deleting, naming.

use super::FIELD_MANAGER;
use crate::error::{Error, within};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde::{Deserialize, Serialize};
use sextant_kit::telemetry;
use std::time::Duration;

/// Longest wait for one answer of the API.
pub(super) const DEADLINE: Duration = Duration::from_secs(15);

/// Names one object of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectId {
    /// e.g. `apps/v1`
    pub api_version: String,
    /// e.g. `Deployment`
    pub kind: String,
    /// `None` for objects of the cluster itself.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl ObjectId {
    /// The name of an object.
    pub fn of(object: &DynamicObject) -> Option<Self> {
        let types = object.types.as_ref()?;
        Some(Self {
            api_version: types.api_version.clone(),
            kind: types.kind.clone(),
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone()?,
        })
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        let (group, version) = self
            .api_version
            .split_once('/')
            .unwrap_or(("", &self.api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &self.kind));
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    }
}

/// Reads an object; `None` where there is none.
pub(super) async fn get(client: &Client, id: &ObjectId) -> Result<Option<DynamicObject>, Error> {
    let what = format!("kube-apiserver: reading {id}");
    let api = id.api(client);
    within(&what, DEADLINE, async {
        let found = api.get_opt(&id.name).await;
        found.map_err(|error| Error::kube(&what, error))
    })
    .await
}

/// Applies an object: our fields become as wanted, whoever changed them.
pub(super) async fn apply(client: &Client, object: &DynamicObject) -> Result<(), Error> {
    let Some(id) = ObjectId::of(object) else {
        return Ok(());
    };
    let what = format!("applying {id}");
    let span = tracing::info_span!("object.apply", otel.kind = "client", object = %id);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let api = id.api(client);
    let patch = Patch::Apply(object);
    let call = async {
        match tokio::time::timeout(DEADLINE, api.patch(&id.name, &params, &patch)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Error::kube(what, error)),
            Err(_) => Err(Error::Deadline(
                format!("kube-apiserver: {what}"),
                DEADLINE.as_secs(),
            )),
        }
    };
    telemetry::traced(span, call).await
}

/// Deletes an object; one that is gone already is fine.
pub(super) async fn delete(client: &Client, id: &ObjectId) -> Result<(), Error> {
    let what = format!("deleting {id}");
    let api = id.api(client);
    let params = DeleteParams::background();
    let call = api.delete(&id.name, &params);
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(()),
        Ok(Err(error)) => Err(Error::kube(what, error)),
        Err(_) => Err(Error::Deadline(
            format!("kube-apiserver: {what}"),
            DEADLINE.as_secs(),
        )),
    }
}
