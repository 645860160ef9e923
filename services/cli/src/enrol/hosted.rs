//! The administrator of a control plane in another cluster: whoever may ask that cluster for a token of ServiceAccount
//! `<name>-admin` is one.

use super::Voucher;
use crate::Error;
use crate::reach::Advice;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use zeroize::Zeroizing;

const DEADLINE: Duration = Duration::from_secs(20);
/// The shortest that the API gives; it is shown at once.
const TOKEN_SECONDS: i64 = 600;

/// A control plane's place in its hosting cluster, `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The namespace.
    pub namespace: String,
    /// The control plane's name there.
    pub name: String,
}

/// A hosted control plane, and how to ask the cluster that hosts it.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// Where it is.
    pub place: Place,
    /// Kubeconfig of the hosting cluster; by default what kubectl would use.
    pub kubeconfig: Option<PathBuf>,
    /// Context in it; by default its current one.
    pub context: Option<String>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fine = |part: &str| {
            let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !part.is_empty() && !part.starts_with('-') && part.chars().all(fine)
        };
        match text.split_once('/') {
            Some((namespace, name)) if fine(namespace) && fine(name) => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(format!(
                "'{text}' is not NAMESPACE/NAME, e.g. tenant-a/plane"
            )),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Hosted {
    /// The supervisor's public port, host:port, as the chart was told.
    ///
    /// # Errors
    /// When the hosting cluster can't be asked, or knows no address.
    pub async fn server(&self) -> Result<String, Error> {
        self.within("its address", async {
            let reach = self.map(&self.client().await?, "reach").await?;
            self.key(&reach, "reach", "supervisor")
        })
        .await
    }

    /// The same with file and context named, for a run that sees another KUBECONFIG: kubectl calls us with the hosted
    /// cluster's.
    ///
    /// # Errors
    /// When there is no single kubeconfig, or no context in it.
    pub fn pinned(&self) -> Result<Self, Error> {
        let tried = "finding the kubeconfig";
        let path = match &self.kubeconfig {
            Some(path) => path.clone(),
            None => default_file().ok_or_else(|| {
                let found = "KUBECONFIG names several files, or there is no home";
                self.failed(tried, &format!("{found}: name one with --kubeconfig"))
            })?,
        };
        let read = Kubeconfig::read_from(&path).map_err(|e| self.failed(tried, &e))?;
        let context = self.context.clone().or(read.current_context);
        let none = || self.failed(tried, &format!("{} has no current context", path.display()));
        Ok(Self {
            place: self.place.clone(),
            context: Some(context.ok_or_else(none)?),
            kubeconfig: Some(path),
        })
    }

    /// What to do where the plane doesn't answer.
    pub(super) fn advice(&self) -> Advice {
        let Place { namespace, name } = &self.place;
        Advice {
            unreachable: format!(
                "look at its pods in the hosting cluster (`kubectl get pods --namespace {namespace}`) and at \
                 public.supervisor in its values"
            ),
            strange: format!(
                "`kubectl logs --namespace {namespace} deployment/{name}-supervisor` in the hosting cluster"
            ),
            refused: format!(
                "the hosting cluster has just made it, so cert-authority can't have it reviewed there, or clocks \
                 differ: look at the log of {name}-cert-authority in namespace {namespace}"
            ),
        }
    }

    /// A token for the administrator, and whom to show it to.
    pub(super) async fn voucher(&self) -> Result<Voucher, Error> {
        self.within("a token of its administrator", async {
            let client = self.client().await?;
            let reach = self.map(&client, "reach").await?;
            let audience = self.key(&reach, "reach", "audience")?;
            let trust = self.map(&client, "trust").await?;
            Ok(Voucher {
                token: self.token(&client, audience).await?,
                ca_pem: self.key(&trust, "trust", "ca.pem")?,
                place: format!("ServiceAccount {}-admin", self.place),
            })
        })
        .await
    }

    /// What the chart says of the plane, by the keys of ConfigMap `<name>-reach`.
    pub(crate) async fn reach(&self) -> Result<BTreeMap<String, String>, Error> {
        self.within("what it is", async {
            let reach = self.map(&self.client().await?, "reach").await?;
            Ok(reach.data.unwrap_or_default())
        })
        .await
    }

    pub(crate) async fn client(&self) -> Result<Client, Error> {
        let client = |config: Config| {
            Client::try_from(config).map_err(|e| self.failed("reading the kubeconfig", &e))
        };
        if self.kubeconfig.is_none()
            && std::env::var_os("KUBECONFIG").is_none()
            && let Ok(config) = Config::incluster()
        {
            return client(config);
        }
        let read = || match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match read() {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
            Err(error) => Err(error),
        };
        client(config.map_err(|e| self.failed("reading the kubeconfig", &e))?)
    }

    async fn map(&self, client: &Client, what: &str) -> Result<ConfigMap, Error> {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &self.place.namespace);
        let name = format!("{}-{what}", self.place.name);
        let found = maps.get(&name).await;
        found.map_err(|e| self.failed(&format!("reading ConfigMap {name}"), &e))
    }

    fn key(&self, map: &ConfigMap, what: &str, key: &str) -> Result<String, Error> {
        let value = map.data.as_ref().and_then(|data| data.get(key));
        value.cloned().ok_or_else(|| Error::Hosting {
            place: self.place.to_string(),
            tried: format!("reading ConfigMap {}-{what}", self.place.name),
            found: format!("it has no {key} yet"),
        })
    }

    async fn token(&self, client: &Client, audience: String) -> Result<Zeroizing<String>, Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &self.place.namespace);
        let name = format!("{}-admin", self.place.name);
        let wanted = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![audience]),
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let tried = format!("asking for a token of ServiceAccount {name}");
        let made = accounts
            .create_token_request(&name, &PostParams::default(), &wanted)
            .await;
        let made = made.map_err(|e| self.failed(&tried, &e))?;
        let token = made.status.and_then(|status| status.token);
        let token = token.map(Zeroizing::new);
        token.ok_or_else(|| self.failed(&tried, &"the answer holds none"))
    }

    pub(crate) async fn within<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let asked = tokio::time::timeout(DEADLINE, work).await;
        asked.unwrap_or_else(|_| {
            let found = format!("no answer within {} s", DEADLINE.as_secs());
            Err(self.failed(&format!("asking for {what}"), &found))
        })
    }

    pub(crate) fn failed(&self, tried: &str, found: &dyn std::fmt::Display) -> Error {
        Error::Hosting {
            place: self.place.to_string(),
            tried: tried.to_owned(),
            found: found.to_string(),
        }
    }
}

/// Where kubectl looks, if that is one file.
fn default_file() -> Option<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let mut files = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty());
    match (files.next(), files.next()) {
        (Some(file), None) => Some(file),
        (Some(_), Some(_)) => None,
        _ => std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_namespace_and_a_name() {
        let place: Place = "tenant-a/plane".parse().unwrap();
        assert_eq!(
            (place.namespace.as_str(), place.name.as_str()),
            ("tenant-a", "plane")
        );
        assert_eq!(place.to_string(), "tenant-a/plane");
        for text in ["plane", "/plane", "a/", "a/b/c", "A/b", "a/-b", "../b", ""] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
