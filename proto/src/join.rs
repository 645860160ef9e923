//! The JSON bodies of the supervisor's join API.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET /cacerts` | – | the mesh CA bundle as PEM; its SHA-256 is the `K10…` of a join token |
//! | `GET /ping` | – | `pong` |
//! | `POST /v1/join`, `Authorization: Bearer <join token>` | [`JoinRequest`] | [`JoinResponse`] |
//! | `GET /v1/rejoin/nonce` | – | [`RejoinNonce`] |
//! | `POST /v1/rejoin` | [`RejoinRequest`] | [`JoinResponse`] |
//! | `POST /v1/enroll` | [`AdminEnrollRequest`] | [`AdminEnrollResponse`] |
//!
//! A refusal carries an [`ErrorBody`] and a 4xx or 5xx status.

use crate::supervisor::{NodeCertificateRequests, NodeCertificates, NodeSettings, Trust};
use serde::{Deserialize, Serialize};

/// Label of the TLS exporter (RFC 8446 §7.5, empty context, 32 bytes) that a rejoin signature covers.
pub const REJOIN_EXPORTER_LABEL: &[u8] = b"EXPORTER-sextant-rejoin";

/// A node that joins for the first time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// Wanted node name, a DNS-1123 subdomain.
    pub node_name: String,
    /// Certificate requests; the keys stay on the node.
    pub requests: NodeCertificateRequests,
}

/// What a joined node gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinResponse {
    /// Chains for the requests, PEM.
    pub certificates: NodeCertificates,
    /// Anchors.
    pub trust: Trust,
    /// The cluster's settings.
    pub settings: NodeSettings,
}

/// A nonce for one rejoin, valid for a minute on the replica that gave it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RejoinNonce {
    /// base64 of 32 bytes.
    pub nonce: String,
}

/// A node whose certificates expired proves the key it joined with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejoinRequest {
    /// The node's name.
    pub node_name: String,
    /// base64 of the registered public key, SubjectPublicKeyInfo DER.
    pub public_key: String,
    /// The nonce, as it was given.
    pub nonce: String,
    /// base64 of an ECDSA P-256 SHA-256 signature (ASN.1) over [`rejoin_message`].
    pub signature: String,
    /// New certificate requests.
    pub requests: NodeCertificateRequests,
}

/// The bytes that a rejoin signature covers: nonce, then the connection's TLS exporter, then the node's name.
pub fn rejoin_message(nonce: &[u8], exporter: &[u8; 32], node_name: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(nonce.len() + exporter.len() + node_name.len());
    message.extend_from_slice(nonce);
    message.extend_from_slice(exporter);
    message.extend_from_slice(node_name.as_bytes());
    message
}

/// An administrator enrols with the token of the private volume `admin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminEnrollRequest {
    /// The enrolment token.
    pub token: String,
    /// PKCS#10, PEM.
    pub csr: String,
}

/// An administrator's mesh certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdminEnrollResponse {
    /// PEM chain.
    pub certificate: String,
    /// Anchors.
    pub trust: Trust,
}

/// Why a request was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable code, e.g. `token_expired`.
    pub code: String,
    /// What was tried, what was found, what to do.
    pub message: String,
}
