//! Join tokens.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::rand::SystemRandom;
use sextant_identity::TrustBundle;
use sextant_proto::tokenservice::{
    CreateRequest, CreateResponse, ListRequest, ListResponse, RevokeRequest, RevokeResponse, Token,
    VerifyRequest, VerifyResponse, join_tokens_server::JoinTokens,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{
    clock::Clock,
    domain::{
        limit::{Limiter, source_key},
        record::{JoinId, Record},
        token::{CaHash, JoinToken, is_id},
        verification::{Accepted, Attempt, Refusal, authenticate, check_form, decide},
    },
    error::Error,
    keys::Keys,
    metrics::TokenMetrics,
    store::{Kv, Stored, Tokens},
};

/// Wrong attempts at once and the time for one more: for one token, and from one source.
const BY_ID: (u32, Duration) = (100, Duration::from_secs(1));
const BY_SOURCE: (u32, Duration) = (100, Duration::from_secs(1));
/// Ids and sources that are remembered.
const REMEMBERED: usize = 10_000;
/// How often a token that others change meanwhile is tried again.
const TRIES: u32 = 20;

/// Serves join tokens.
#[derive(Clone, Debug)]
pub struct JoinTokensService<K> {
    tokens: Tokens<K>,
    keys: Arc<Keys>,
    trust: watch::Receiver<Arc<TrustBundle>>,
    short_allowed: bool,
    clock: Clock,
    limits: Arc<Mutex<Limits>>,
    metrics: TokenMetrics,
}

#[derive(Debug)]
struct Limits {
    by_id: Limiter<String>,
    by_source: Limiter<IpAddr>,
}

impl Limits {
    fn take(&mut self, id: &str, source: Option<IpAddr>) -> Result<(), Error> {
        let now = Instant::now();
        if source.is_some_and(|source| !self.by_source.take(&source_key(source), now)) {
            return Err(Error::Limited("from this address"));
        }
        if !self.by_id.take(&id.to_owned(), now) {
            return Err(Error::Limited("with this token"));
        }
        Ok(())
    }

    fn give_back(&mut self, id: &str, source: Option<IpAddr>) {
        let now = Instant::now();
        if let Some(source) = source {
            self.by_source.give_back(&source_key(source), now);
        }
        self.by_id.give_back(&id.to_owned(), now);
    }
}

impl<K: Kv> JoinTokensService<K> {
    /// Serves from these. `trust` gives the CA bundle whose hash tokens carry.
    pub fn new(
        tokens: Tokens<K>,
        keys: Arc<Keys>,
        trust: watch::Receiver<Arc<TrustBundle>>,
        short_allowed: bool,
        clock: Clock,
        metrics: TokenMetrics,
    ) -> Self {
        let limits = Limits {
            by_id: Limiter::new(BY_ID.0, BY_ID.1, REMEMBERED),
            by_source: Limiter::new(BY_SOURCE.0, BY_SOURCE.1, REMEMBERED),
        };
        let limits = Arc::new(Mutex::new(limits));
        Self {
            tokens,
            keys,
            trust,
            short_allowed,
            clock,
            limits,
            metrics,
        }
    }

    fn ca_hash(&self) -> CaHash {
        CaHash::of_bundle(&self.trust.borrow().mesh_pem())
    }

    async fn create_token(&self, request: CreateRequest) -> Result<CreateResponse, Error> {
        for _ in 0..TRIES {
            let token = JoinToken::generate(self.ca_hash(), &SystemRandom::new())?;
            let hash = self.keys.tokens.hash(&token.id, &token.secret);
            let record = Record::new(request.clone(), hash, self.clock.unix())?;
            if self.tokens.create(&token.id, &record).await? {
                tracing::info!(id = token.id, expires = record.expires, "made a join token");
                let secret = token.expose().to_string();
                return Ok(CreateResponse {
                    token: Some(record.to_wire(&token.id)),
                    secret,
                });
            }
        }
        Err(Error::Crypto("every new id is taken"))
    }

    async fn revoke_token(&self, id: &str) -> Result<(), Error> {
        if !is_id(id) {
            return Err(Error::Invalid(format!(
                "`{id}` is no token id: 10 letters and digits"
            )));
        }
        for _ in 0..TRIES {
            let stored = self.tokens.get(id).await?;
            let stored = stored.ok_or_else(|| Error::NotFound(id.to_owned()))?;
            let revoked = Record {
                revoked: true,
                ..stored.record.clone()
            };
            if stored.record.revoked || self.tokens.update(&stored, &revoked).await? {
                tracing::info!(id, "revoked a join token");
                return Ok(());
            }
        }
        Err(Error::Contention(id.to_owned()))
    }

    async fn verify_token(&self, request: VerifyRequest) -> Result<Token, Error> {
        let token = JoinToken::parse(&request.token)?;
        check_form(&token, self.ca_hash(), self.short_allowed)?;
        let source = request.source_address.parse().ok();
        self.limits().take(&token.id, source)?;
        let join = JoinId::of(&request.join_id);
        let join = Some(&join).filter(|_| !request.join_id.is_empty());
        let attempt = Attempt {
            node_name: &request.node_name,
            source,
            join,
        };
        let mut stored = self.authentic(&token).await?;
        // The secret was right, so this was no guess.
        self.limits().give_back(&token.id, source);
        for _ in 0..TRIES {
            if let Some(record) = self.use_token(stored, &attempt).await? {
                return Ok(record.to_wire(&token.id));
            }
            // Another replica counted at the same time: decide again on what there is now.
            stored = self.authentic(&token).await?;
        }
        Err(Error::Contention(token.id))
    }

    async fn authentic(&self, token: &JoinToken) -> Result<Stored, Error> {
        let stored = self.tokens.get(&token.id).await?;
        authenticate(
            stored.as_ref().map(|stored| &stored.record),
            token,
            &self.keys.tokens,
        )?;
        Ok(stored.ok_or(Refusal::Unknown)?)
    }

    /// The record after its use; None when somebody else changed it meanwhile.
    async fn use_token(
        &self,
        stored: Stored,
        attempt: &Attempt<'_>,
    ) -> Result<Option<Record>, Error> {
        match decide(&stored.record, &stored.id, attempt, self.clock.unix())? {
            Accepted::Again => Ok(Some(stored.record)),
            Accepted::Counts => {
                let anonymous = || JoinId::of(&[]);
                let join = attempt.join.cloned().unwrap_or_else(anonymous);
                let used = stored.record.clone().used_by(join);
                Ok(self.tokens.update(&stored, &used).await?.then_some(used))
            }
        }
    }

    fn limits(&self) -> std::sync::MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl<K: Kv> JoinTokens for JoinTokensService<K> {
    async fn create(
        &self,
        request: Request<CreateRequest>,
    ) -> Result<Response<CreateResponse>, Status> {
        Ok(Response::new(
            self.create_token(request.into_inner()).await?,
        ))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let stored = self.tokens.list().await?;
        let tokens = stored
            .iter()
            .map(|stored| stored.record.to_wire(&stored.id))
            .collect();
        Ok(Response::new(ListResponse { tokens }))
    }

    async fn revoke(
        &self,
        request: Request<RevokeRequest>,
    ) -> Result<Response<RevokeResponse>, Status> {
        self.revoke_token(&request.into_inner().id).await?;
        Ok(Response::new(RevokeResponse {}))
    }

    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<VerifyResponse>, Status> {
        let request = request.into_inner();
        let (node, source) = (request.node_name.clone(), request.source_address.clone());
        let verified = self.verify_token(request).await;
        self.metrics.verified(&verified);
        match &verified {
            Ok(token) => tracing::info!(id = token.id, node, source, "accepted a join token"),
            Err(error) => tracing::warn!(node, source, %error, "refused a join token"),
        }
        Ok(Response::new(VerifyResponse {
            token: Some(verified?),
        }))
    }
}
