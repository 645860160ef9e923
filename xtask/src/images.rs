//! Lays out what each image holds and has Docker build it. Nothing is pulled.

mod layout;

use crate::stage::Stages;
use crate::upstream::{KUBERNETES, LOCAL_PATH_PROVISIONER, METRICS_SERVER, PAUSE, Upstream};
use crate::{paths, rootfs, run, services, upstream};
use anyhow::{Context, Result};
use layout::{Layout, accounts, folders, link};
use std::path::Path;
use std::process::Command;

/// How to build images.
#[derive(clap::Args, Clone)]
#[group(id = "images")]
pub struct Options {
    /// Cargo profile of our programs: `image`, or `dev` for quick turns
    #[arg(long, default_value = "image")]
    pub profile: String,
}

/// In build order: the node image holds the baked ones.
const IMAGES: &[&str] = &[
    "cert-authority",
    "token-service",
    "datastore-proxy",
    "supervisor",
    "runner",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "netpol-controller",
    "cli",
    "coredns",
    "local-path-provisioner",
    "metrics-server",
    "pause",
    "toolbox",
    "node",
];

/// Images of compose/observability.yaml.
const OBSERVABILITY: &[&str] = &["collector", "prometheus"];

/// The whole task on its own: build everything, print sizes.
pub fn task(options: &Options) -> Result<()> {
    let mut stages = Stages::new(6);
    stages.run("check prerequisites", crate::prerequisites::ensure)?;
    let upstream = stages.run("build upstream components", upstream::build_all)?;
    let programs = stages.run("build Sextant", || services::build(&options.profile))?;
    stages.run("make images", || build(&upstream, &programs))?;
    observability(&mut stages, &programs)?;
    print!("\n{}{}", sizes()?, sizes_of(OBSERVABILITY)?);
    Ok(())
}

/// The images of compose/observability.yaml alone.
pub fn observability_task(options: &Options) -> Result<()> {
    let mut stages = Stages::new(3);
    let programs = stages.run("build Sextant", || services::build(&options.profile))?;
    observability(&mut stages, &programs)?;
    print!("\n{}", sizes_of(OBSERVABILITY)?);
    Ok(())
}

/// Builds what observes a cluster, in two stages. The collector runs under the runner of `programs`.
pub fn observability(stages: &mut Stages, programs: &Path) -> Result<()> {
    let collector = stages.run("build the collector", upstream::build_collector)?;
    stages.run("make images that observe", || {
        build_observability(&collector, programs)
    })
}

/// Builds all images and puts `sextant` and `kubectl` into out/bin.
pub fn build(upstream: &Upstream, programs: &Path) -> Result<()> {
    let _only = paths::lock("images")?;
    let contexts = paths::out().join("images");
    paths::create(&contexts)?;
    let layout = Layout {
        upstream,
        programs,
        contexts: &contexts,
    };
    for image in IMAGES {
        layout
            .lay_out(image)
            .with_context(|| format!("laying out image {image}"))?;
        docker_build(image, &contexts)?;
    }
    prune()?;
    let bin = paths::out().join("bin");
    link(&programs.join("sextant"), &bin.join("sextant"))?;
    link(&upstream.program("kubectl")?, &bin.join("kubectl"))
}

fn build_observability(collector: &Upstream, programs: &Path) -> Result<()> {
    let _only = paths::lock("images")?;
    let contexts = paths::out().join("images");
    paths::create(&contexts)?;
    for image in OBSERVABILITY {
        let folder = contexts.join(image);
        paths::remove(&folder)?;
        let (root, skeleton) = (folder.join("files"), folder.join("skeleton"));
        paths::create(&root)?;
        accounts(&root)?;
        let mounts = if *image == "collector" {
            let program = collector.program("collector")?;
            link(&program, &root.join("usr/local/bin/collector"))?;
            link(&programs.join("runner"), &root.join("usr/local/bin/runner"))?;
            &["enrol", "run/sextant", "var/lib/collector"][..]
        } else {
            rootfs::prometheus(&root)?;
            &["var/lib/prometheus"]
        };
        folders(&skeleton, mounts.iter().map(|mount| (*mount).to_owned()))?;
        docker_build(image, &contexts)?;
    }
    prune()
}

/// `sextant/<image>:<tag>`; images of upstream carry upstream's version.
pub fn reference(image: &str) -> String {
    let tag = match image {
        "coredns" => "v1.15.0",
        "local-path-provisioner" => LOCAL_PATH_PROVISIONER,
        "metrics-server" => METRICS_SERVER,
        "pause" => PAUSE,
        _ => env!("CARGO_PKG_VERSION"),
    };
    format!("sextant/{image}:{tag}")
}

/// One line per image.
pub fn sizes() -> Result<String> {
    sizes_of(IMAGES)
}

fn sizes_of(images: &[&str]) -> Result<String> {
    let mut text = String::new();
    for image in images {
        let bytes = run::output(Command::new("docker").args([
            "image",
            "inspect",
            "-f",
            "{{.Size}}",
            &reference(image),
        ]))?;
        let mebibytes = bytes.parse::<f64>().unwrap_or(0.0) / 1_048_576.0;
        text.push_str(&format!(
            "  {:<38} {mebibytes:>7.1} MiB\n",
            reference(image)
        ));
    }
    Ok(text)
}

/// Removes our images that have lost their names to newer builds; those of running containers stay.
fn prune() -> Result<()> {
    let filter = "label=org.opencontainers.image.vendor=Sextant";
    run::output(Command::new("docker").args(["image", "prune", "--force", "--filter", filter]))
        .map(drop)
}

fn docker_build(image: &str, contexts: &Path) -> Result<()> {
    let revision = run::output(Command::new("git").current_dir(paths::root()).args([
        "rev-parse",
        "--short",
        "HEAD",
    ]))
    .unwrap_or_else(|_| "unknown".to_owned());
    run::logged(
        &format!("image {image}"),
        Command::new("docker")
            .env("DOCKER_BUILDKIT", "1")
            .args([
                "build",
                "--progress=plain",
                "--target",
                image,
                "--tag",
                &reference(image),
            ])
            .args([
                "--build-arg",
                concat!("VERSION=", env!("CARGO_PKG_VERSION")),
            ])
            .args(["--build-arg", &format!("REVISION={revision}")])
            .arg("--file")
            .arg(paths::root().join("Dockerfile"))
            .arg(contexts),
    )
}

/// Versions of what the images hold, for the summary of `up`.
pub fn versions() -> String {
    format!(
        "Sextant {}, Kubernetes {KUBERNETES}",
        env!("CARGO_PKG_VERSION")
    )
}
