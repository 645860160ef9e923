//! `runner collector`: the OpenTelemetry Collector as a member of the mesh.
//!
//! The collector reads certificates from files, and reads them again when they change. This process enrols as
//! `service/collector`, keeps the files fresh in its tmpfs, and keeps the collector running.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sextant_identity::{Authority, Identity, Leaf, Mesh, ServiceName};
use sextant_kit::{Context, Drain, Task};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    child::{Child, Spec, reap_orphans},
    config::Config,
    error::Error,
    kept::write_file,
    pki,
};

/// The collector's own metrics: it answers there once its receivers listen.
const OWN: (&str, u16) = ("127.0.0.1", 8888);
const LOOK: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_millis(200);
const ANSWER: Duration = Duration::from_secs(2);

/// Runs the collector until the drain.
pub(crate) async fn run(config: Config, ctx: Context) -> anyhow::Result<()> {
    if std::process::id() == 1 {
        tokio::spawn(reap_orphans());
    }
    let task = ctx.readiness.task("collector");
    task.waiting("it has no certificate yet");
    ctx.readiness.started();
    let identity = Identity::Service(ServiceName::Collector);
    let mesh = match Mesh::enroll(&config.enroll, identity, &ctx).await {
        Err(_) if ctx.drain.is_draining() => return Ok(()),
        enrolled => enrolled?,
    };
    pki::mounted_folder(&config.run_folder)?;
    let folder = config.run_folder.join("pki");
    provide(&mesh, &folder, &ctx).await?;

    let configuration = config.collector.configuration.display();
    let spec = Spec::new("collector", &config.collector.program)
        .arguments([format!("--config={configuration}")])
        .grace(Duration::from_secs(config.grace_seconds));
    let child = Arc::new(Child::supervise(spec));
    watch(&child, &task, &ctx.drain).await;
    child.stop().await;
    Ok(())
}

/// Makes `folder` hold `collector.pem` (certificate and key) and `mesh-ca.pem`, now and after each change.
async fn provide(mesh: &Mesh, folder: &Path, ctx: &Context) -> Result<(), Error> {
    pki::private_folder(folder)?;
    let own = Leaf::from_parts(mesh.credentials());
    own.write_files(folder, "collector", ctx).await?;
    let (mut trust, file) = (mesh.trust(), folder.join("mesh-ca.pem"));
    let anchors = trust.borrow_and_update().anchors_pem(Authority::Mesh);
    write_file(&file, anchors.as_bytes(), 0o644)?;
    ctx.drain.spawn(follow(trust, file));
    Ok(())
}

async fn follow(
    mut trust: tokio::sync::watch::Receiver<Arc<sextant_identity::TrustBundle>>,
    file: PathBuf,
) {
    while trust.changed().await.is_ok() {
        let anchors = trust.borrow_and_update().anchors_pem(Authority::Mesh);
        if let Err(error) = write_file(&file, anchors.as_bytes(), 0o644) {
            tracing::error!(%error, "the collector's anchors stay as they are");
        }
    }
}

async fn watch(child: &Child, task: &Task, drain: &Drain) {
    let looking = async {
        loop {
            let answered = timeout(ANSWER, TcpStream::connect(OWN)).await;
            if matches!(answered, Ok(Ok(_))) {
                task.ready();
                sleep(LOOK).await;
            } else {
                task.waiting(child.status().borrow().to_string());
                sleep(SOON).await;
            }
        }
    };
    drain.run(looking).await;
}
