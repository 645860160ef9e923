//! A stand-in for token-service.

use sextant_identity::pin::CaHash;
use sextant_proto::tokenservice::join_tokens_server::JoinTokens;
use sextant_proto::tokenservice::{
    CreateRequest, CreateResponse, ListRequest, ListResponse, RevokeRequest, RevokeResponse, Token,
    VerifyRequest, VerifyResponse,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tonic::{Request, Response, Status};

/// Tokens, and the joins that used each.
type Kept = BTreeMap<String, (Token, Vec<bytes::Bytes>)>;

#[derive(Clone)]
pub struct Tokens {
    ca: String,
    kept: Arc<Mutex<Kept>>,
}

impl Tokens {
    /// Tokens that pin the bundle `mesh_pem`.
    pub fn new(mesh_pem: &str) -> Self {
        Self {
            ca: CaHash::of(mesh_pem.as_bytes()).to_string(),
            kept: Arc::default(),
        }
    }

    /// All that were made.
    pub fn all(&self) -> Vec<Token> {
        let kept = self.kept.lock().unwrap();
        kept.values().map(|(token, _)| token.clone()).collect()
    }

    pub fn make(&self, request: CreateRequest) -> CreateResponse {
        let id = format!("t{:09}", self.kept.lock().unwrap().len());
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let created = now.as_secs() as i64;
        let token = Token {
            id: id.clone(),
            scope: request.scope,
            description: request.description,
            created_unix: created,
            expires_unix: created + request.ttl_seconds,
            ..Token::default()
        };
        self.kept
            .lock()
            .unwrap()
            .insert(id.clone(), (token.clone(), vec![]));
        CreateResponse {
            token: Some(token),
            secret: format!("K10{}::{id}:secret", self.ca),
        }
    }
}

fn refused(code: &'static str) -> Status {
    let mut status = Status::permission_denied(format!("the test's token-service says {code}"));
    status
        .metadata_mut()
        .insert("sextant-code", code.parse().unwrap());
    status
}

#[tonic::async_trait]
impl JoinTokens for Tokens {
    async fn create(
        &self,
        request: Request<CreateRequest>,
    ) -> Result<Response<CreateResponse>, Status> {
        Ok(Response::new(self.make(request.into_inner())))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let tokens = self
            .kept
            .lock()
            .unwrap()
            .values()
            .map(|(token, _)| token.clone())
            .collect();
        Ok(Response::new(ListResponse { tokens }))
    }

    async fn revoke(
        &self,
        request: Request<RevokeRequest>,
    ) -> Result<Response<RevokeResponse>, Status> {
        if let Some((token, _)) = self.kept.lock().unwrap().get_mut(&request.get_ref().id) {
            token.revoked = true;
        }
        Ok(Response::new(RevokeResponse {}))
    }

    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<VerifyResponse>, Status> {
        let request = request.into_inner();
        let id = request
            .token
            .rsplit(':')
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let mut kept = self.kept.lock().unwrap();
        let (token, joins) = kept.get_mut(&id).ok_or_else(|| refused("token_unknown"))?;
        let scope = token.scope.clone().unwrap_or_default();
        if token.revoked {
            return Err(refused("token_revoked"));
        }
        if !scope.node_name.is_empty() && scope.node_name != request.node_name {
            return Err(refused("token_scope"));
        }
        if !joins.contains(&request.join_id) {
            if scope.max_uses != 0 && token.uses >= scope.max_uses {
                return Err(refused("token_used_up"));
            }
            joins.push(request.join_id);
            token.uses += 1;
        }
        Ok(Response::new(VerifyResponse {
            token: Some(token.clone()),
        }))
    }
}
