//! What the running processes tell: their logs and traces.
use super::{NOT_READY, Run};
use crate::Error;
use crate::args::{LogLevel, Sampling, Trace};
use crate::commands::telemetry::{LogLevelsView, SamplingView};
use crate::commands::trace::TraceView;
use crate::trace::{self, Wanted};
use sextant_proto::supervisor::{ChangeTelemetryRequest, ChangeTelemetryResponse};

impl Run<'_> {
    pub(super) async fn log_level(&mut self, wanted: LogLevel) -> Result<u8, Error> {
        let view = LogLevelsView::from(self.telemetry(wanted.request()).await?);
        self.show(&view)?;
        Ok(if view.is_complete() { 0 } else { NOT_READY })
    }

    pub(super) async fn sampling(&mut self, wanted: Sampling) -> Result<u8, Error> {
        let view = SamplingView::from(self.telemetry(wanted.request()).await?);
        self.show(&view)?;
        Ok(if view.is_complete() { 0 } else { NOT_READY })
    }

    async fn telemetry(
        &mut self,
        asked: ChangeTelemetryRequest,
    ) -> Result<ChangeTelemetryResponse, Error> {
        let mut session = self.session().await?;
        session
            .ask(async |c| c.change_telemetry(asked.clone()).await)
            .await
    }

    pub(super) async fn trace(&mut self, command: Trace) -> Result<u8, Error> {
        let (wanted, from) = match command {
            Trace::Join { node, from } => (Wanted::Join(node), from),
            Trace::Request { audit_id, from } => (Wanted::Request(audit_id), from),
            Trace::Pod { pod, from } if pod.contains('/') => (Wanted::Pod(pod), from),
            Trace::Pod { pod, from } => (Wanted::Pod(format!("default/{pod}")), from),
            Trace::Show { trace_id, from } => (Wanted::Trace(trace_id), from),
        };
        let source = match from.from {
            Some(path) => trace::Source::Files(path),
            None => trace::Source::Compose {
                project: self.global.project.clone(),
                docker: self.host.docker.clone(),
            },
        };
        let found = trace::find(&source, &wanted).await?;
        self.show(&TraceView::new(found))
    }
}
