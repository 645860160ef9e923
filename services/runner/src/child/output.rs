//! Output of a child as log events, line by line.

use std::{fs, io, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader},
    net::unix::pipe,
};

/// A longer line is cut here; the rest of it is dropped.
const MAX_LINE: usize = 16 * 1024;

/// Forwards `stream` until it ends. Runs in a task of its own: a grandchild may hold the stream open for longer
/// than the child lives.
pub(super) fn forward(child: String, stream: impl AsyncRead + Send + Unpin + 'static) {
    tokio::spawn(async move {
        let mut lines = BufReader::with_capacity(MAX_LINE, stream);
        let mut line = Vec::new();
        while let Ok(true) = read_line(&mut lines, &mut line).await {
            log(&child, &String::from_utf8_lossy(&line));
            line.clear();
        }
    });
}

/// Both ends of the FIFO `path`, made when it isn't there. Each end is opened for reading and writing: so a child
/// that outlives its supervisor keeps a valid output, and opening never waits.
pub(super) fn fifo(path: &Path) -> io::Result<(Stdio, Stdio, pipe::Receiver)> {
    match nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600)) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let reader = pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(path)?;
    let writer = fs::OpenOptions::new().read(true).write(true).open(path)?;
    Ok((writer.try_clone()?.into(), writer.into(), reader))
}

/// Reads up to the next newline, without it. False at the end of the stream.
async fn read_line(
    lines: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<bool> {
    loop {
        let chunk = lines.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let text = &chunk[..end.unwrap_or(chunk.len())];
        line.extend_from_slice(&text[..text.len().min(MAX_LINE - line.len())]);
        let used = text.len() + usize::from(end.is_some());
        lines.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

fn log(child: &str, line: &str) {
    let line = line.trim_end();
    match severity(line) {
        Severity::Error => tracing::error!(target: "child", child, "{line}"),
        Severity::Warning => tracing::warn!(target: "child", child, "{line}"),
        Severity::Info if line.is_empty() => {}
        Severity::Info => tracing::info!(target: "child", child, "{line}"),
    }
}

#[derive(Debug, PartialEq)]
enum Severity {
    Error,
    Info,
    Warning,
}

/// Severity of a line in the forms that the components write: klog (`E1123 01:02:03…`) and logfmt
/// (`… level=error …`).
fn severity(line: &str) -> Severity {
    let klog = line.len() > 5 && line.as_bytes()[1..5].iter().all(u8::is_ascii_digit);
    match line.as_bytes().first() {
        Some(b'E' | b'F') if klog => Severity::Error,
        Some(b'W') if klog => Severity::Warning,
        _ if klog => Severity::Info,
        _ if line.contains("level=error") || line.contains("level=fatal") => Severity::Error,
        _ if line.contains("level=warn") => Severity::Warning,
        _ => Severity::Info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_of_klog_and_logfmt() {
        assert_eq!(
            severity("E1123 01:02:03.4 1 x.go:1] broken"),
            Severity::Error
        );
        assert_eq!(
            severity("F1123 01:02:03.4 1 x.go:1] level=info"),
            Severity::Error
        );
        assert_eq!(severity("W1123 01:02:03.4 1 x.go:1] hm"), Severity::Warning);
        assert_eq!(
            severity("I1123 01:02:03.4 1 x.go:1] level=error"),
            Severity::Info
        );
        assert_eq!(severity("time=\"…\" level=error msg=x"), Severity::Error);
        assert_eq!(severity("Error: klog it is not"), Severity::Info);
        assert_eq!(severity(""), Severity::Info);
    }

    #[tokio::test]
    async fn lines_are_cut_and_nothing_else_is_lost() {
        let long = "x".repeat(MAX_LINE * 3);
        let text = format!("one\n{long}\n\ntwo");
        let mut lines = BufReader::with_capacity(7, text.as_bytes());
        let mut seen = Vec::new();
        let mut line = Vec::new();
        while read_line(&mut lines, &mut line).await.unwrap() {
            seen.push(String::from_utf8(std::mem::take(&mut line)).unwrap());
        }
        assert_eq!(seen, ["one", &"x".repeat(MAX_LINE), "", "two"]);
    }
}
