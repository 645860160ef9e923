//! Joining with a token.

use super::routes::JoinApi;
use crate::certificates::{NodeRequests, parse_node_name};
use crate::domain::membership::{JoinFacts, decide_join};
use crate::error::{Error, within};
use crate::refusal::{Refusal, RefusalCode};
use crate::store::Versioned;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use sextant_identity::NodeName;
use sextant_proto::join::{JoinRequest, JoinResponse};
use sextant_proto::tokenservice::{Token, VerifyRequest};
use std::net::IpAddr;
use std::time::Duration;

/// Longest token that is looked at.
const LONGEST: usize = 512;
const VERIFY_DEADLINE: Duration = Duration::from_secs(10);

impl JoinApi {
    /// Checks the token, registers the node's key, has its certificates made.
    pub(super) async fn join(
        &self,
        authorization: Option<&str>,
        source: IpAddr,
        request: JoinRequest,
    ) -> Result<JoinResponse, Refusal> {
        let token = bearer(authorization)?;
        self.check_ca(token)?;
        let name = parse_node_name(&request.node_name, &self.cluster)?;
        let requests = NodeRequests::parse(&request.requests, &self.cluster)?;
        let verified = self.verify(token, &name, source, &requests).await?;
        let scoped_to_name = verified
            .scope
            .is_some_and(|scope| scope.node_name == name.as_str());
        self.register(&name, &requests.key, scoped_to_name).await?;
        let certificates = self.issuer.issue(&name, &requests).await?;
        tracing::info!(node = name.as_str(), %source, token = verified.id, "node joined");
        Ok(self.response(certificates))
    }

    /// `K10<sha256 of the mesh CA bundle>::…` must name our bundle. The node has compared it before it sent
    /// anything; this tells a token of another cluster from an unknown one.
    fn check_ca(&self, token: &str) -> Result<(), Refusal> {
        let Some((hash, _)) = token
            .strip_prefix("K10")
            .and_then(|rest| rest.split_once("::"))
        else {
            return Err(Refusal::new(
                RefusalCode::TokenMalformed,
                "the join token has no CA hash: give the whole token, K10…::…:…",
            ));
        };
        let pem = self.trust.borrow().mesh_pem();
        let ours = crate::certificates::key_hash(pem.as_bytes());
        if hash.eq_ignore_ascii_case(&ours) {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::CaMismatch,
            format!(
                "the join token is for a cluster with CA {hash:.12}…, this one has {ours:.12}…: create a token here (`sextant token create`)"
            ),
        ))
    }

    async fn verify(
        &self,
        token: &str,
        name: &NodeName,
        source: IpAddr,
        requests: &NodeRequests,
    ) -> Result<Token, Refusal> {
        let mut client = self.tokens.clone();
        // The name belongs to the idempotency: one key that tries two names uses the token twice.
        let join_id = digest(&SHA256, format!("{name}\0{}", requests.key).as_bytes());
        let request = VerifyRequest {
            token: token.to_owned(),
            node_name: name.to_string(),
            source_address: source.to_string(),
            join_id: Bytes::copy_from_slice(join_id.as_ref()),
        };
        let call = async { Ok::<_, Error>(client.verify(request).await) };
        match within("token-service: verifying the token", VERIFY_DEADLINE, call).await? {
            Ok(answer) => answer.into_inner().token.ok_or_else(|| {
                Refusal::new(
                    RefusalCode::Unavailable,
                    "token-service answered without a token",
                )
            }),
            Err(status) => Err(Refusal::from_verify(&status)),
        }
    }

    /// Registers the key under the name before anything is signed, so that two machines which join under one
    /// name at the same time can't both get certificates.
    async fn register(
        &self,
        name: &NodeName,
        key: &str,
        scoped_to_name: bool,
    ) -> Result<(), Refusal> {
        let mut attempts = 0;
        loop {
            let Versioned { value, revision } = self.store.node(name.as_str()).await?;
            let facts = JoinFacts {
                name: name.as_str(),
                key,
                existing: value.as_ref(),
                scoped_to_name,
                live_session: self.hub.has(name.as_str())
                    || self.state.borrow().sessions.contains_key(name.as_str()),
            };
            let record = decide_join(facts, crate::clock::now())?;
            match self.store.put_node(name.as_str(), &record, revision).await {
                Err(Error::Conflict(_)) if attempts < 5 => attempts += 1,
                outcome => return Ok(outcome?),
            }
        }
    }
}

fn bearer(authorization: Option<&str>) -> Result<&str, Refusal> {
    authorization
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty() && token.len() <= LONGEST)
        .ok_or_else(|| {
            Refusal::new(
                RefusalCode::TokenMalformed,
                "there is no join token: send it as `Authorization: Bearer K10…::…:…`",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bearer_scheme() {
        assert_eq!(bearer(Some("Bearer abc ")).unwrap(), "abc");
        assert_eq!(bearer(Some("bearer abc")).unwrap(), "abc");
        for bad in [
            None,
            Some(""),
            Some("abc"),
            Some("Basic abc"),
            Some("Bearer "),
            Some("Bearer"),
        ] {
            assert_eq!(bearer(bad).unwrap_err().code, RefusalCode::TokenMalformed);
        }
        assert!(bearer(Some(&format!("Bearer {}", "x".repeat(600)))).is_err());
    }
}
