//! Who showed a certificate, and what that lets them do.

use crate::config::EtcdClient;
use crate::domain::authz::{Call, Caller};
use crate::domain::range::KeyRange;
use bytes::Bytes;
use rustls_pki_types::CertificateDer;
use sextant_identity::Identity;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Clients that the configuration names.
#[derive(Clone, Debug, Default)]
pub struct Clients(Vec<EtcdClient>);

impl Clients {
    /// Those of the configuration.
    pub fn new(clients: Vec<EtcdClient>) -> Self {
        Self(clients)
    }

    /// What the bearer of a verified certificate may do: with a SPIFFE id what the table grants it, with a common
    /// name what the configuration grants it, else nothing.
    pub fn caller(&self, certificate: &CertificateDer<'_>) -> Caller {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return Caller::named("unknown");
        };
        if let Some(identity) = spiffe(&certificate) {
            return Caller::identified(&identity);
        }
        let names = certificate.subject().iter_common_name();
        let name = names.filter_map(|name| name.as_str().ok()).last();
        self.by_name(name.unwrap_or_default())
    }

    fn by_name(&self, name: &str) -> Caller {
        // Prefixed, so that no common name can take the name of a service.
        let full = format!("client/{name}");
        let client = self.0.iter().find(|client| client.common_name == name);
        let Some(client) = client.filter(|_| !name.is_empty()) else {
            return Caller::named(&full);
        };
        let mut calls = vec![Call::Keys, Call::Status];
        calls.extend(client.compact.then_some(Call::Compact));
        calls.extend(client.maintenance.then_some(Call::Care));
        let prefixes = client.prefixes.iter().map(|prefix| prefix_range(prefix));
        let keys = client
            .keys
            .iter()
            .map(|key| KeyRange::key(key.clone().into()));
        Caller::granted(full, calls, prefixes.chain(keys).collect())
    }
}

/// The only SPIFFE id of a certificate; of several none counts.
fn spiffe(certificate: &X509Certificate<'_>) -> Option<Identity> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with("spiffe://") => Some(*uri),
            _ => None,
        });
    let (uri, more) = (uris.next()?, uris.next());
    if more.is_some() {
        return None;
    }
    Identity::from_uri(uri).ok().map(|(_, identity)| identity)
}

fn prefix_range(prefix: &str) -> KeyRange {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return KeyRange::parse(prefix.to_owned().into(), end.into());
        }
    }
    KeyRange::parse(prefix.to_owned().into(), Bytes::from_static(b"\0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn certificate(name: &str, uris: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn clients() -> Clients {
        Clients::new(vec![EtcdClient {
            common_name: "cilium".to_owned(),
            prefixes: vec!["cilium/".to_owned()],
            keys: Vec::new(),
            compact: false,
            maintenance: false,
        }])
    }

    #[test]
    fn a_name_that_is_not_configured_may_do_nothing() {
        for name in ["", "admin", "kube-apiserver", "local", "client/cilium"] {
            let caller = clients().caller(&certificate(name, &[]));
            for call in Call::ALL {
                assert!(caller.check(call).is_err(), "{name} {call:?}");
            }
        }
    }

    #[test]
    fn a_configured_name_gets_what_it_was_given() {
        let caller = clients().caller(&certificate("cilium", &[]));
        assert!(caller.check(Call::Keys).is_ok());
        assert!(caller.check(Call::Compact).is_err());
        assert!(caller.clip(&KeyRange::key("cilium/a".into())).is_ok());
        assert!(caller.clip(&KeyRange::key("cilium0".into())).is_err());
    }

    #[test]
    fn a_spiffe_id_counts_more_than_a_name() {
        let id = "spiffe://td.example/service/kube-apiserver";
        let caller = clients().caller(&certificate("cilium", &[id]));
        assert_eq!(caller.name(), "kube-apiserver");
        let two = [id, "spiffe://td.example/admin"];
        assert_eq!(clients().caller(&certificate("", &two)).name(), "client/");
    }
}
