//! Whether a child serves.

use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

const DEADLINE: Duration = Duration::from_secs(3);

/// Whether somebody listens on the socket.
pub(super) async fn socket(path: &Path) -> Result<(), String> {
    match tokio::time::timeout(DEADLINE, UnixStream::connect(path)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{}: {error}", path.display())),
        Err(_) => Err(format!("{}: no answer", path.display())),
    }
}

/// Whether a health endpoint on loopback answers 200.
pub(super) async fn http(port: u16, path: &str) -> Result<(), String> {
    let what = format!("http://127.0.0.1:{port}{path}");
    match tokio::time::timeout(DEADLINE, status_line(port, path)).await {
        Ok(Ok(line)) if line.contains(" 200 ") => Ok(()),
        Ok(Ok(line)) => Err(format!("{what}: {}", line.trim())),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: no answer within {} s", DEADLINE.as_secs())),
    }
}

async fn status_line(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    stream.take(256).read_to_end(&mut head).await?;
    let head = String::from_utf8_lossy(&head);
    Ok(head.lines().next().unwrap_or_default().to_owned())
}
