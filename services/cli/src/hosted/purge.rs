//! `sextant hosted purge`: removes what Helm leaves of a control plane.
use crate::Error;
use crate::enrol::Hosted;
use crate::output::View;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use time::OffsetDateTime;

/// What there is beyond the release, or was.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leftovers {
    /// `kind/name` of each object.
    objects: Vec<String>,
    /// Whether they have been removed.
    removed: bool,
}

impl Leftovers {
    /// Whether something is still there that was to go.
    #[must_use]
    pub fn remain(&self) -> bool {
        !self.removed && !self.objects.is_empty()
    }
}

impl View for Leftovers {
    fn table(&self, _: OffsetDateTime) -> String {
        if self.objects.is_empty() {
            return "Nothing is left.\n".to_owned();
        }
        let done = if self.removed {
            "removed"
        } else {
            "would remove"
        };
        self.objects
            .iter()
            .map(|object| format!("{done} {object}\n"))
            .collect()
    }
}

/// Removes, if `sure`, what is left: what can be made again, and with `data` also the keyring and the volumes.
///
/// # Errors
/// When the plane is still installed, or the hosting cluster refuses.
pub async fn purge(hosted: &Hosted, data: bool, sure: bool) -> Result<Leftovers, Error> {
    let work = Purge {
        hosted,
        client: hosted.client().await?,
        sure,
    };
    hosted.within("what is left of it", work.all(data)).await
}

struct Purge<'a> {
    hosted: &'a Hosted,
    client: Client,
    sure: bool,
}

impl Purge<'_> {
    async fn all(&self, data: bool) -> Result<Leftovers, Error> {
        let name = &self.hosted.place.name;
        let installed = self
            .api::<Deployment>()
            .get_opt(&format!("{name}-supervisor"))
            .await;
        if installed
            .map_err(|e| self.hosted.failed("looking for its Deployments", &e))?
            .is_some()
        {
            let found = "it is still installed: run `helm uninstall` first";
            return Err(self.hosted.failed("removing what is left", &found));
        }
        let mut objects = Vec::new();
        objects.extend(self.remove::<Pod>("pod", &format!("{name}-test")).await?);
        objects.extend(
            self.remove::<ConfigMap>("configmap", &format!("{name}-trust"))
                .await?,
        );
        if data {
            for claim in self.claims().await? {
                objects.extend(
                    self.remove::<PersistentVolumeClaim>("persistentvolumeclaim", &claim)
                        .await?,
                );
            }
            // The state last: while it is there, a keyring that is gone is never made anew.
            for secret in ["keyring", "seal", "state"] {
                objects.extend(
                    self.remove::<Secret>("secret", &format!("{name}-{secret}"))
                        .await?,
                );
            }
        }
        Ok(Leftovers {
            objects,
            removed: self.sure,
        })
    }

    async fn claims(&self) -> Result<Vec<String>, Error> {
        let listed = self
            .api::<PersistentVolumeClaim>()
            .list(&ListParams::default())
            .await;
        let listed = listed.map_err(|e| self.hosted.failed("listing its volumes", &e))?;
        let names = listed.items.iter().map(ResourceExt::name_any);
        Ok(names
            .filter(|claim| is_ours(&self.hosted.place.name, claim))
            .collect())
    }

    /// The object as `kind/name`, if it is there.
    async fn remove<K>(&self, kind: &str, name: &str) -> Result<Option<String>, Error>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        let api = self.api::<K>();
        let object = format!("{kind}/{name}");
        let failed = |e: kube::Error| self.hosted.failed(&format!("removing {object}"), &e);
        if api.get_opt(name).await.map_err(failed)?.is_none() {
            return Ok(None);
        }
        if self.sure {
            match api.delete(name, &DeleteParams::background()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                outcome => {
                    outcome.map_err(failed)?;
                }
            }
        }
        Ok(Some(object))
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.hosted.place.namespace)
    }
}

/// Whether a claim is one that the chart makes for the plane of this name, itself or through a StatefulSet.
fn is_ours(plane: &str, claim: &str) -> bool {
    let of_replica = || {
        let rest = claim.strip_prefix("state-")?.strip_prefix(plane)?;
        let ordinal = rest.strip_prefix("-cert-authority-")?;
        Some(!ordinal.is_empty() && ordinal.bytes().all(|b| b.is_ascii_digit()))
    };
    let made = claim
        .strip_prefix(plane)
        .and_then(|rest| rest.strip_prefix('-'));
    matches!(made, Some("datastore-proxy" | "cert-authority")) || of_replica().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_this_plane_alone() {
        for claim in [
            "a-datastore-proxy",
            "a-cert-authority",
            "state-a-cert-authority-0",
            "state-a-cert-authority-12",
        ] {
            assert!(is_ours("a", claim), "{claim}");
        }
        for claim in [
            "a-b-datastore-proxy",
            "b-datastore-proxy",
            "state-a-b-cert-authority-0",
            "state-a-cert-authority-",
            "state-a-cert-authority-x",
            "a-data",
        ] {
            assert!(!is_ours("a", claim), "{claim}");
        }
    }
}
