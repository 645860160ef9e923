//! The way to the nodes: HTTP CONNECT from kube-apiserver, carried by the supervisor's tunnel.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, ext::ReasonPhrase, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use sextant_identity::Channel;
use sextant_proto::supervisor::{
    EgressData, EgressOpen, egress_client::EgressClient, egress_data::Message,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// Connections at a time; kube-apiserver holds one per node and stream.
const CONNECTIONS: usize = 16 * 1024;
/// How long a request may take to arrive.
const HEADER: Duration = Duration::from_secs(10);
/// How long the tunnel may take to reach the target; kube-apiserver waits 30 s.
const OPEN: Duration = Duration::from_secs(25);
/// Bytes in one message, and messages waiting in each direction.
const CHUNK: usize = 32 * 1024;
const QUEUE: usize = 4;

/// Serves until dropped; connections then go on until the process ends.
pub(super) async fn serve(listener: UnixListener, channel: Channel, open: Gauge) {
    let client = EgressClient::new(channel);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (client, open) = (client.clone(), open.clone());
                tokio::spawn(async move {
                    open.inc();
                    answer(stream, client).await;
                    open.dec();
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting on egress.sock");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection: one CONNECT, then the bytes of the tunnel.
async fn answer(stream: UnixStream, client: EgressClient<Channel>) {
    let (tunnels, mut opened) = mpsc::channel(1);
    let service = service_fn(move |request| connect(request, client.clone(), tunnels.clone()));
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = http {
        tracing::debug!(%error, "a connection to egress.sock broke");
    }
    let Some((upgrade, tunnel)) = opened.recv().await else {
        return;
    };
    match upgrade.await {
        Ok(upgraded) => tunnel.carry(TokioIo::new(upgraded)).await,
        Err(error) => tracing::debug!(%error, "kube-apiserver left before its tunnel was open"),
    }
}

type Opened = (hyper::upgrade::OnUpgrade, Tunnel);

async fn connect(
    mut request: Request<Incoming>,
    client: EgressClient<Channel>,
    tunnels: mpsc::Sender<Opened>,
) -> Result<Response<String>, Infallible> {
    if request.method() != Method::CONNECT {
        return Ok(refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "only CONNECT is served here",
        ));
    }
    let authority = request
        .uri()
        .authority()
        .filter(|authority| authority.port().is_some());
    let Some(target) = authority.map(ToString::to_string) else {
        return Ok(refuse(StatusCode::BAD_REQUEST, "CONNECT needs host:port"));
    };
    let opened = timeout(OPEN, Tunnel::open(client, &target)).await;
    let opened = opened.unwrap_or_else(|_| {
        Err(Status::deadline_exceeded(format!(
            "the tunnel wasn't open within {OPEN:?}"
        )))
    });
    match opened {
        Ok(tunnel) => {
            let upgrade = hyper::upgrade::on(&mut request);
            // The only receiver waits for it, and one connection carries one tunnel.
            let _ = tunnels.try_send((upgrade, tunnel));
            Ok(Response::new(String::new()))
        }
        Err(status) => {
            tracing::warn!(target, code = ?status.code(), reason = status.message(), "no tunnel");
            let late = status.code() == Code::DeadlineExceeded;
            let answer = if late {
                StatusCode::GATEWAY_TIMEOUT
            } else {
                StatusCode::BAD_GATEWAY
            };
            Ok(refuse(answer, status.message()))
        }
    }
}

/// kube-apiserver shows its user the status line alone, so the reason stands there too.
fn refuse(status: StatusCode, reason: &str) -> Response<String> {
    let phrase: String = reason
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { ' ' })
        .collect();
    let mut response = Response::new(format!("{reason}\n"));
    *response.status_mut() = status;
    if let Ok(phrase) = ReasonPhrase::try_from(phrase.into_bytes()) {
        response.extensions_mut().insert(phrase);
    }
    response
}

/// An open connection into the node network.
struct Tunnel {
    up: mpsc::Sender<EgressData>,
    down: Streaming<EgressData>,
}

impl Tunnel {
    async fn open(mut client: EgressClient<Channel>, target: &str) -> Result<Self, Status> {
        let (up, queue) = mpsc::channel(QUEUE);
        let open = EgressOpen {
            target: target.to_owned(),
            relayed: false,
        };
        let first = EgressData {
            message: Some(Message::Open(open)),
        };
        up.try_send(first)
            .map_err(|_| Status::internal("the queue of a new tunnel is full"))?;
        let mut down = client
            .connect(ReceiverStream::new(queue))
            .await?
            .into_inner();
        match down.message().await?.and_then(|answer| answer.message) {
            Some(Message::Opened(opened)) => {
                tracing::debug!(target, node = opened.node, "tunnel open");
                Ok(Self { up, down })
            }
            _ => Err(Status::unavailable(
                "the supervisor ended the tunnel before it was open",
            )),
        }
    }

    /// Copies both ways. The end of kube-apiserver's side is passed on as the end of the request stream; the end of
    /// the answer stream ends the connection.
    async fn carry(self, stream: impl AsyncRead + AsyncWrite) {
        let (reader, writer) = tokio::io::split(stream);
        let sending = send(reader, self.up);
        let receiving = receive(writer, self.down);
        tokio::pin!(sending, receiving);
        let ended = tokio::select! {
            ended = &mut receiving => ended,
            sent = &mut sending => match sent {
                Ok(()) => receiving.await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a tunnel broke");
        }
    }
}

/// Until the end of `reader`; dropping the sender ends the request stream.
async fn send(mut reader: impl AsyncRead + Unpin, up: mpsc::Sender<EgressData>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        // Only waits for room while there is something to send, and reads only when there is room.
        let Ok(place) = up.reserve().await else {
            return Ok(());
        };
        buffer.reserve(CHUNK);
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let data: Bytes = buffer.split().freeze();
        place.send(EgressData {
            message: Some(Message::Data(data)),
        });
    }
}

async fn receive(
    mut writer: impl AsyncWrite + Unpin,
    mut down: Streaming<EgressData>,
) -> io::Result<()> {
    while let Some(data) = down.message().await.map_err(io::Error::other)? {
        if let Some(Message::Data(data)) = data.message {
            writer.write_all(&data).await?;
            writer.flush().await?;
        }
    }
    writer.shutdown().await
}
