//! Parts that others need are gone.

use super::Watch;
use crate::part::Part;
use crate::plane::Plane;
use anyhow::Result;
use std::path::PathBuf;

pub async fn missing(program: PathBuf) -> Result<bool> {
    let mut plane = Plane::ready().await?;
    // The command line has its certificate from then on.
    plane.sextant(&["status"]).await?;
    let parts = [Part::Supervisor, Part::TokenService];
    let watch = Watch::start(&program, &plane, &parts)?;
    let alerts: [(&str, &[(&str, &str)]); 2] = [
        ("PartNotReady", &[("job", "token-service")]),
        ("SupervisorNoLeader", &[("job", "supervisor")]),
    ];
    let fault = async {
        for part in [
            Part::CertAuthority,
            Part::TokenService,
            Part::DatastoreProxy,
        ] {
            plane.kill(part).await?;
        }
        plane.start(Part::TokenService)
    };
    watch.fires_after(&alerts, fault).await?;
    watch.look(&plane, "PartNotReady", "token-service")?;
    watch.look(&plane, "SupervisorNoLeader", "supervisor")?;
    plane.start(Part::CertAuthority)?;
    plane.start(Part::DatastoreProxy)?;
    watch.end(&["PartNotReady", "SupervisorNoLeader"])?;
    Ok(true)
}
