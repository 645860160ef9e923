//! Connections that are led by the name which a client writes into its first TLS message, and otherwise left as they are.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::{Cursor, Error};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// The longest first message.
const LONGEST: usize = 64 << 10;

/// A route that serves until it is dropped.
pub struct Route {
    port: u16,
    taken: Taken,
    _runtime: Runtime,
}

/// Names that connections went by.
type Taken = Arc<Mutex<Vec<String>>>;

impl Route {
    /// On a free port of this machine; `routes` leads from names to addresses.
    pub fn start(routes: BTreeMap<String, String>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr().context("the port")?.port();
        let taken = Taken::default();
        let (routes, names) = (Arc::new(routes), Arc::clone(&taken));
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (routes, names) = (Arc::clone(&routes), Arc::clone(&names));
                tokio::spawn(async move {
                    if let Err(error) = lead(client, &routes, &names).await {
                        eprintln!("a connection ended: {error}");
                    }
                });
            }
        });
        Ok(Self {
            port,
            taken,
            _runtime: runtime,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Names that connections went by so far.
    pub fn taken(&self) -> Vec<String> {
        self.taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn lead(
    mut client: TcpStream,
    routes: &BTreeMap<String, String>,
    taken: &Taken,
) -> std::io::Result<()> {
    let mut first = Vec::new();
    let name = loop {
        if client.read_buf(&mut first).await? == 0 || first.len() > LONGEST {
            return Err(Error::other("no first message of TLS"));
        }
        if let Some(name) = name(&first)? {
            break name;
        }
    };
    let none = || Error::other(format!("no route leads to {name:?}"));
    let address = routes.get(&name).ok_or_else(none)?;
    taken
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(name.clone());
    let mut server = TcpStream::connect(address).await?;
    server.write_all(&first).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// The server's name in a first message, empty where it has none; `None` while the message isn't whole.
fn name(first: &[u8]) -> std::io::Result<Option<String>> {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut rest = Cursor::new(first);
    while acceptor.read_tls(&mut rest)? > 0 {}
    let accepted = acceptor
        .accept()
        .map_err(|(error, _)| Error::other(error))?;
    Ok(accepted.map(|hello| {
        hello
            .client_hello()
            .server_name()
            .unwrap_or_default()
            .to_owned()
    }))
}
