//! `Telemetry`: changes from outside. Who may call is decided by whoever serves it.

use super::control::{check, control};
use sextant_proto::telemetry::telemetry_server::{Telemetry, TelemetryServer};
use sextant_proto::telemetry::{ChangeRequest, Settings};
use tonic::{Request, Response, Status};

/// The service of this process.
pub fn server() -> TelemetryServer<Service> {
    // A change is some hundreds of bytes.
    TelemetryServer::new(Service).max_decoding_message_size(4096)
}

/// Answers with this process' telemetry.
#[derive(Clone, Copy, Debug)]
pub struct Service;

#[tonic::async_trait]
impl Telemetry for Service {
    async fn change(&self, request: Request<ChangeRequest>) -> Result<Response<Settings>, Status> {
        change(request.get_ref()).map(Response::new)
    }
}

/// Makes a change of this process' telemetry, says so in the log, and tells what is in force then.
///
/// # Errors
/// `INVALID_ARGUMENT` for a change that isn't possible, `UNAVAILABLE` where there is no telemetry.
pub fn change(change: &ChangeRequest) -> Result<Settings, Status> {
    check(change).map_err(Status::invalid_argument)?;
    let settings = control()
        .and_then(|control| control.change(change))
        .map_err(Status::unavailable)?;
    if *change != ChangeRequest::default() {
        tracing::info!(
            target: super::filter::AUDIT,
            log_filter = settings.log_filter,
            log_reverts_in_seconds = settings.log_reverts_in_seconds,
            sampling_ratio = settings.sampling_ratio,
            slow_ms = settings.slow_ms,
            sampling_reverts_in_seconds = settings.sampling_reverts_in_seconds,
            "telemetry changed"
        );
    }
    Ok(settings)
}
