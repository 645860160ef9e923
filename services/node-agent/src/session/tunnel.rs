//! The node's end of tunnel connections.

use crate::domain::target::Reach;
use bytes::{Bytes, BytesMut};
use sextant_identity::Channel;
use sextant_proto::supervisor::TunnelData;
use sextant_proto::supervisor::node_session_client::NodeSessionClient;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::metadata::MetadataValue;
use tracing::{Instrument, info_span};

/// Longest dial.
const DIAL: Duration = Duration::from_secs(5);
/// Longest time until the supervisor takes the stream.
const OPEN: Duration = Duration::from_secs(10);
/// Bytes per message; [`QUEUE`] of them are 64 KiB.
const CHUNK: usize = 16 * 1024;
/// Messages that wait for the stream.
const QUEUE: usize = 4;

/// What to dial, decided when the instruction came.
pub(super) struct Dial {
    target: Result<SocketAddr, String>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Dial {
    pub(super) fn new(reach: Reach, target: String, permit: OwnedSemaphorePermit) -> Self {
        let target = reach.decide(&target).map_err(|refusal| refusal.to_string());
        Self {
            target,
            _permit: Some(permit),
        }
    }

    pub(super) fn refused(reason: &str) -> Self {
        Self {
            target: Err(reason.to_owned()),
            _permit: None,
        }
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let target = self.target.clone()?;
        match tokio::time::timeout(DIAL, TcpStream::connect(target)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!("dialling {target}: {error}")),
            Err(_) => Err(format!(
                "dialling {target}: no answer within {} s",
                DIAL.as_secs()
            )),
        }
    }
}

/// Dials, tells the outcome in the first message (empty when the dial succeeded), and copies until both
/// directions have ended.
pub(super) async fn carry(channel: Channel, id: String, dial: Dial) {
    let dialled = dial.connect().instrument(info_span!("dial")).await;
    let (up, queue) = mpsc::channel(QUEUE);
    let error = dialled.as_ref().err().cloned().unwrap_or_default();
    if !error.is_empty() {
        tracing::info!(tunnel = id, error, "tunnel refused");
    }
    // The queue is empty: this can't wait.
    let _ = up.try_send(TunnelData {
        data: Bytes::new(),
        error,
    });
    let mut request = tonic::Request::new(ReceiverStream::new(queue));
    let Ok(value) = MetadataValue::try_from(id.as_str()) else {
        tracing::warn!(
            tunnel = id,
            "the supervisor sent an id that is no metadata value"
        );
        return;
    };
    request.metadata_mut().insert("sextant-tunnel-id", value);
    let mut client = NodeSessionClient::new(channel);
    let opened = tokio::time::timeout(OPEN, client.tunnel(request)).await;
    let down = match opened {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => {
            tracing::debug!(tunnel = id, error = status.message(), "tunnel not taken");
            return;
        }
        Err(_) => return,
    };
    let Ok(stream) = dialled else { return };
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    // A clean end of one direction leaves the other open; a failure ends both.
    let ended = tokio::try_join!(upwards(reader, up), downwards(down, writer));
    if let Err(reason) = ended {
        tracing::debug!(tunnel = id, reason, "tunnel cut");
    }
}

async fn upwards(mut reader: OwnedReadHalf, up: mpsc::Sender<TunnelData>) -> Result<(), String> {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        buffer.reserve(CHUNK);
        let read = tokio::select! {
            read = reader.read_buf(&mut buffer) => read.map_err(|e| e.to_string())?,
            // The supervisor's side is gone: don't wait for the target to speak.
            () = up.closed() => return Err("the stream ended".to_owned()),
        };
        if read == 0 {
            return Ok(());
        }
        let message = TunnelData {
            data: buffer.split().freeze(),
            error: String::new(),
        };
        up.send(message)
            .await
            .map_err(|_| "the stream ended".to_owned())?;
    }
}

async fn downwards(
    mut down: Streaming<TunnelData>,
    mut writer: OwnedWriteHalf,
) -> Result<(), String> {
    loop {
        match down.message().await {
            Ok(Some(message)) => {
                writer
                    .write_all(&message.data)
                    .await
                    .map_err(|e| e.to_string())?;
            }
            Ok(None) => return writer.shutdown().await.map_err(|e| e.to_string()),
            Err(status) => return Err(status.message().to_owned()),
        }
    }
}
