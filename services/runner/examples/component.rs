//! Stands for an upstream component in the runner's tests: serves /readyz, /livez and /healthz over TLS with the files
//! that its flags name, asks for a client certificate, and ends on SIGTERM.
//!
//! `--version` makes it tell one and end. `--ready-file=<path>` makes it ready only while that file is there. `--fail` makes it end at once.

use std::{collections::HashMap, convert::Infallible, path::Path, sync::Arc};

use anyhow::Context;
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_rustls::TlsAcceptor;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let flags: HashMap<String, String> = std::env::args()
        .skip(1)
        .filter_map(|flag| {
            let (name, value) = flag.split_once('=').unwrap_or((&flag, ""));
            Some((name.strip_prefix("--")?.to_owned(), value.to_owned()))
        })
        .collect();
    if flags.contains_key("version") {
        println!("Kubernetes v1.38.0");
        return Ok(());
    }
    anyhow::ensure!(!flags.contains_key("fail"), "told to fail");
    let flag = |name: &str| {
        flags
            .get(name)
            .with_context(|| format!("--{name} is missing"))
    };
    let acceptor = TlsAcceptor::from(Arc::new(tls(
        Path::new(flag("tls-cert-file")?),
        Path::new(flag("tls-private-key-file")?),
        Path::new(flag("client-ca-file")?),
    )?));
    let listener = TcpListener::bind(format!("127.0.0.1:{}", flag("secure-port")?)).await?;
    let ready: Option<Arc<str>> = flags.get("ready-file").map(|path| path.as_str().into());
    let mut terminate = signal(SignalKind::terminate())?;
    println!("serving");
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = terminate.recv() => return Ok(()),
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| answer(request, ready.clone()));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    ready: Option<Arc<str>>,
) -> Result<Response<String>, Infallible> {
    let waiting = ready.is_some_and(|path| !Path::new(&*path).exists());
    let mut response = Response::new("ok".to_owned());
    if waiting && request.uri().path() != "/livez" {
        *response.body_mut() = "[+]ping ok\n[-]file failed: reason withheld\n".to_owned();
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(response)
}

fn tls(certificate: &Path, key: &Path, clients: &Path) -> anyhow::Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for anchor in CertificateDer::pem_file_iter(clients)? {
        roots.add(anchor?)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?)
}
