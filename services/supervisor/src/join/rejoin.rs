//! Coming back after certificates expired: the node proves the key it registered, on this very connection.

use super::nonce::Nonce;
use super::routes::JoinApi;
use crate::certificates::{NodeRequests, key_hash, parse_node_name};
use crate::domain::membership::decide_rejoin;
use crate::refusal::{Refusal, RefusalCode};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sextant_proto::join::{JoinResponse, RejoinNonce, RejoinRequest, rejoin_message};
use std::time::Instant;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

impl JoinApi {
    /// A nonce for one rejoin with this replica.
    pub(super) fn nonce(&self) -> RejoinNonce {
        let nonce: Nonce = rand::random();
        self.nonces.give(nonce, Instant::now());
        RejoinNonce {
            nonce: STANDARD.encode(nonce),
        }
    }

    /// New certificates for a node that proves its registered key.
    pub(super) async fn rejoin(
        &self,
        exporter: &[u8; 32],
        request: RejoinRequest,
    ) -> Result<JoinResponse, Refusal> {
        let name = parse_node_name(&request.node_name, &self.cluster)?;
        let nonce = decode("nonce", &request.nonce)?;
        let known =
            Nonce::try_from(nonce.as_slice()).is_ok_and(|n| self.nonces.take(&n, Instant::now()));
        if !known {
            return Err(Refusal::new(
                RefusalCode::NonceUnknown,
                "the nonce is unknown to this supervisor, used or older than a minute: ask for a new one on this connection",
            ));
        }
        let spki = decode("public_key", &request.public_key)?;
        let signature = decode("signature", &request.signature)?;
        let message = rejoin_message(&nonce, exporter, name.as_str());
        check_signature(&spki, &message, &signature)?;

        let requests = NodeRequests::parse(&request.requests, &self.cluster)?;
        let now = crate::clock::now();
        let found = self.store.node(name.as_str()).await?;
        let window = self.cluster.rejoin_window_days;
        let key = key_hash(&spki);
        let mut record = decide_rejoin(name.as_str(), &key, found.value.as_ref(), window, now)?;
        record.certify(&requests.key, now);
        self.store
            .put_node(name.as_str(), &record, found.revision)
            .await?;
        let certificates = self.issuer.issue(&name, &requests).await?;
        tracing::info!(node = name.as_str(), "node came back");
        Ok(self.response(certificates))
    }
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(|error| {
        Refusal::new(
            RefusalCode::Malformed,
            format!("`{what}` is not base64: {error}"),
        )
    })
}

fn check_signature(spki: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
    let invalid = || {
        Refusal::new(
            RefusalCode::SignatureInvalid,
            "the signature doesn't match the public key, the nonce, this connection and the node's name (is a TLS-terminating proxy between?)",
        )
    };
    let (_, parsed) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| invalid())?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &*parsed.subject_public_key.data)
        .verify(message, signature)
        .map_err(|_| invalid())
}
