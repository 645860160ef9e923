//! Upstream components, built from their Go modules: pinned by go.mod, verified by go.sum, kept in the user's
//! cache under a hash of both, so that another checkout on this machine builds nothing.

mod modules;

pub use modules::{KUBERNETES, LOCAL_PATH_PROVISIONER, METRICS_SERVER, PAUSE};

use crate::{paths, run};
use anyhow::{Context, Result};
use modules::{COLLECTOR, HELM_CLIENT, KINE, MODULES, Module};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the programs of upstream lie after [`build_all`].
pub struct Upstream {
    folders: Vec<PathBuf>,
}

impl Upstream {
    /// The path of one program.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        self.folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
            .with_context(|| format!("{name} is not among the upstream programs"))
    }

    /// The variables by which tests find those that make a control plane.
    pub fn variables(&self) -> Result<Vec<(&'static str, PathBuf)>> {
        let named = [
            ("TEST_ETCD", "etcd"),
            ("TEST_ETCDCTL", "etcdctl"),
            ("TEST_KUBE_APISERVER", "kube-apiserver"),
            ("TEST_KUBE_CONTROLLER_MANAGER", "kube-controller-manager"),
            ("TEST_KUBE_SCHEDULER", "kube-scheduler"),
            ("TEST_KUBECTL", "kubectl"),
        ];
        let found = named.map(|(variable, name)| Ok((variable, self.program(name)?)));
        found.into_iter().collect()
    }
}

/// Builds what the cache lacks.
pub fn build_all() -> Result<Upstream> {
    let _only = paths::lock("upstream")?;
    let mut folders = Vec::new();
    for module in MODULES {
        folders.push(build(module)?);
    }
    folders.push(build_pause()?);
    Ok(Upstream { folders })
}

/// Builds what the cache lacks of the other datastores.
pub fn build_peers() -> Result<Upstream> {
    let _only = paths::lock("upstream")?;
    let etcd = MODULES.iter().filter(|module| module.folder == "etcd");
    let folders = etcd.chain([&KINE]).map(build).collect::<Result<_>>()?;
    Ok(Upstream { folders })
}

/// Builds Helm if the cache lacks it.
pub fn build_helm() -> Result<Upstream> {
    let _only = paths::lock("upstream")?;
    let folders = vec![build(&HELM_CLIENT)?];
    Ok(Upstream { folders })
}

/// Builds the collector if the cache lacks it.
pub fn build_collector() -> Result<Upstream> {
    let _only = paths::lock("upstream")?;
    let folders = vec![build(&COLLECTOR)?];
    Ok(Upstream { folders })
}

fn build(module: &Module) -> Result<PathBuf> {
    let source = paths::root().join("images/upstream").join(module.folder);
    let target = cached(module.folder, &hash(module, &source)?)?;
    if target.is_dir() {
        return Ok(target);
    }
    let building = target.with_extension("building");
    paths::remove(&building)?;
    paths::create(&building)?;
    // One package takes the wanted name; several take the last parts of their paths, which are the wanted names.
    let output = match module.packages {
        [(_, name)] => building.join(name),
        _ => building.join(""),
    };
    let mut go = Command::new("go");
    go.current_dir(&source)
        .env("CGO_ENABLED", if module.cgo { "1" } else { "0" })
        .env("GOFLAGS", "-mod=readonly")
        .args(["build", "-v", "-trimpath", "-tags", module.tags, "-ldflags"])
        .arg((module.linker_flags)())
        .arg("-o")
        .arg(output)
        .args(module.packages.iter().map(|(package, _)| package));
    run::logged(&format!("build {}", module.folder), &mut go)?;
    std::fs::rename(&building, &target).with_context(|| format!("keeping {}", target.display()))?;
    Ok(target)
}

/// Upstream's pause is one C file in the Kubernetes module.
fn build_pause() -> Result<PathBuf> {
    let source = paths::root().join("images/upstream/kubernetes");
    let module = run::output(Command::new("go").current_dir(&source).args([
        "list",
        "-m",
        "-f",
        "{{.Dir}}",
        "k8s.io/kubernetes",
    ]))?;
    let file = Path::new(&module).join("build/pause/linux/pause.c");
    let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let target = cached("pause", &hex(&Sha256::digest(&text)))?;
    if target.is_dir() {
        return Ok(target);
    }
    let building = target.with_extension("building");
    paths::remove(&building)?;
    paths::create(&building)?;
    let version = format!("-DVERSION=v{PAUSE}");
    run::output(
        Command::new("gcc")
            .args(["-Os", "-Wall", "-static", "-s", &version, "-o"])
            .arg(building.join("pause"))
            .arg(&file),
    )?;
    std::fs::rename(&building, &target).with_context(|| format!("keeping {}", target.display()))?;
    Ok(target)
}

fn cached(name: &str, hash: &str) -> Result<PathBuf> {
    let folder = paths::cache()?.join("upstream");
    paths::create(&folder)?;
    Ok(folder.join(format!("{name}-{}", &hash[..16])))
}

/// Over everything that decides what comes out.
fn hash(module: &Module, source: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        hasher.update(std::fs::read(source.join(file)).unwrap_or_default());
    }
    hasher.update(run::output(Command::new("go").args([
        "env",
        "GOVERSION",
        "GOARCH",
    ]))?);
    hasher.update(module.tags);
    hasher.update((module.linker_flags)());
    for (package, name) in module.packages {
        hasher.update(package);
        hasher.update(name);
    }
    Ok(hex(&hasher.finalize()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
