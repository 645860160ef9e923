//! Who may call what: one table, which every server enforces and from which the tests are made.
//!
//! datastore-proxy's etcd API isn't in it: there, identity × RPC × key range decides, which is its own table.

mod table;

pub use table::TABLE;

use crate::identity::{Identity, ServiceName};
use crate::peer;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use sextant_kit::telemetry::rpc::UnknownMethod;
use std::sync::Arc;
use tonic::Status;

/// A row of the table: a method and who may call it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// Nobody else may; an empty list means that the method is never served on a network.
    pub allowed: &'static [Role],
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An operator.
    Admin,
    /// Anybody, even without a certificate.
    Anyone,
    /// Any node.
    Node,
    /// One service.
    Service(ServiceName),
    /// Any service.
    Services,
}

impl Role {
    /// Whether a caller has this role.
    pub fn includes(self, caller: Option<&Identity>) -> bool {
        match (self, caller) {
            (Role::Anyone, _)
            | (Role::Admin, Some(Identity::Admin))
            | (Role::Node, Some(Identity::Node(_)))
            | (Role::Services, Some(Identity::Service(_))) => true,
            (Role::Service(wanted), Some(Identity::Service(name))) => wanted == *name,
            _ => false,
        }
    }
}

/// A decision about one call. `path` is `/package.Service/Method`.
pub trait Authorize: Send + Sync + 'static {
    /// Whether `caller` may call.
    fn authorize(&self, path: &str, caller: Option<&Identity>) -> Result<(), Refusal>;
}

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller may not; the sentence is told with PERMISSION_DENIED.
    NotAllowed(String),
    /// There is no such method.
    UnknownMethod,
}

impl<F> Authorize for F
where
    F: Fn(&str, Option<&Identity>) -> Result<(), Refusal> + Send + Sync + 'static,
{
    fn authorize(&self, path: &str, caller: Option<&Identity>) -> Result<(), Refusal> {
        self(path, caller)
    }
}

/// [`TABLE`] as a decision.
#[derive(Clone, Copy, Debug, Default)]
pub struct Table {
    /// Whether paths that no rule names pass: they belong to the HTTP routes beside gRPC.
    pass_unlisted: bool,
}

impl Table {
    pub(crate) fn only_listed() -> Self {
        Self {
            pass_unlisted: true,
        }
    }
}

impl Authorize for Table {
    fn authorize(&self, path: &str, caller: Option<&Identity>) -> Result<(), Refusal> {
        let Some(rule) = TABLE.iter().find(|rule| rule.path == path) else {
            return if self.pass_unlisted {
                Ok(())
            } else {
                Err(Refusal::UnknownMethod)
            };
        };
        if rule.allowed.iter().any(|role| role.includes(caller)) {
            return Ok(());
        }
        let caller = caller.map_or("a caller without a certificate".to_owned(), |c| {
            c.to_string()
        });
        Err(Refusal::NotAllowed(format!("{caller} may not call {path}")))
    }
}

/// Puts the table before gRPC routes that something else than [`crate::serve_grpc`] or [`crate::serve_http`]
/// serves.
pub fn guard(routes: tonic::service::Routes) -> axum::Router {
    enforce(
        routes.prepare().into_axum_router(),
        Arc::new(Table::default()),
    )
}

/// Puts a decision before every route.
pub(crate) fn enforce(app: axum::Router, authorize: Arc<dyn Authorize>) -> axum::Router {
    app.layer(middleware::from_fn_with_state(authorize, decide))
}

async fn decide(
    State(authorize): State<Arc<dyn Authorize>>,
    request: Request,
    next: Next,
) -> Response {
    let caller = peer::identity(request.extensions());
    match authorize.authorize(request.uri().path(), caller) {
        Ok(()) => next.run(request).await,
        Err(Refusal::NotAllowed(sentence)) => {
            tracing::info!(sentence, "refused");
            Status::permission_denied(sentence).into_http()
        }
        Err(Refusal::UnknownMethod) => {
            let sentence = "no such method, or none that may be called here";
            let mut response: Response = Status::permission_denied(sentence).into_http();
            response.extensions_mut().insert(UnknownMethod);
            response
        }
    }
}
