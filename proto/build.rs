//! Compiles every `.proto` under this folder with a compiler written in Rust: no protoc needed.
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=sextant");
    println!("cargo:rerun-if-changed=kubernetes");
    println!("cargo:rerun-if-changed=etcd");
    let mut files = Vec::new();
    for root in ["sextant", "kubernetes", "etcd"] {
        collect(Path::new(root), &mut files)?;
    }
    files.sort();
    let descriptors = protox::compile(&files, ["."])?;
    tonic_prost_build::configure()
        // Clients are made over channels of ours (mTLS that renews); `connect` would also clash with Egress.
        .build_transport(false)
        // The node messages are also the JSON of the join API.
        .type_attribute(
            ".sextant.supervisor.v1",
            "#[derive(serde::Serialize, serde::Deserialize)]",
        )
        .type_attribute(
            ".sextant.telemetry.v1",
            "#[derive(serde::Serialize, serde::Deserialize)]",
        )
        .type_attribute(".sextant.supervisor.v1.NodeSettings", "#[serde(default)]")
        .type_attribute(
            ".sextant.supervisor.v1.NodeCertificateRequests",
            "#[serde(default)]",
        )
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
