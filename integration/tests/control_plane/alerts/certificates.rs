//! Certificates and authorities that come near their end.

use super::Watch;
use crate::part::Part;
use crate::plane::{Plane, no_faketime};
use anyhow::Result;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// As short as it may be: three quarters are over while it can still be used.
const LIFE_SECONDS: u32 = 60;
/// Sixty days before ten years.
const AGE: &str = "-3590d";

pub async fn no_way_to_cert_authority(program: PathBuf) -> Result<bool> {
    let mut plane = Plane::new()?;
    let lives = json!({"mesh_seconds": LIFE_SECONDS});
    plane.configure(Part::CertAuthority, "lives", lives)?;
    let (from, to) = (plane.detour(), plane.address(Part::CertAuthority));
    let enroll = json!({"cert_authority": from, "folder": plane.path("enrol/token-service")});
    plane.configure(Part::TokenService, "enroll", enroll)?;
    let mut way = open(from, to).await?;
    plane.start_all()?;
    plane.all_ready().await?;
    let parts = [Part::Supervisor, Part::TokenService];
    let watch = Watch::start(&program, &plane, &parts)?;
    let job = &[("job", "token-service")];
    let alerts: [(&str, &[(&str, &str)]); 2] = [
        ("CertificateRenewalsFail", job),
        ("CertificateExpires", job),
    ];
    let fault = async {
        way.shutdown().await;
        Ok(())
    };
    watch.fires_after(&alerts, fault).await?;
    for (alert, _) in alerts {
        watch.look(&plane, alert, "token-service")?;
    }
    let _way = open(from, to).await?;
    watch.end(&["CertificateExpires", "CertificateRenewalsFail"])?;
    Ok(true)
}

/// Carries connections, until it is shut down or dropped.
async fn open(from: SocketAddr, to: SocketAddr) -> Result<JoinSet<()>> {
    let listener = TcpListener::bind(from).await?;
    let mut way = JoinSet::new();
    way.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            open.spawn(async move {
                let mut server = TcpStream::connect(to).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    Ok(way)
}

pub async fn an_authority_near_its_end(program: PathBuf) -> Result<bool> {
    if no_faketime() {
        return Ok(false);
    }
    let mut plane = Plane::new()?;
    plane.start(Part::CertAuthority)?;
    plane.is_ready(Part::CertAuthority).await?;
    let watch = Watch::start(&program, &plane, &[Part::CertAuthority])?;
    let alerts: [(&str, &[(&str, &str)]); 1] =
        [("CertificateAuthorityExpires", &[("authority", "mesh")])];
    watch
        .fires_after(&alerts, made_at(&mut plane, Some(AGE)))
        .await?;
    watch.look(&plane, "CertificateAuthorityExpires", "cert-authority")?;
    made_at(&mut plane, None).await?;
    watch.end(&["CertificateAuthorityExpires"])?;
    Ok(true)
}

/// Other authorities, made at another time of day; they go on today.
async fn made_at(plane: &mut Plane, clock: Option<&str>) -> Result<()> {
    plane.stop(Part::CertAuthority).await?;
    for folder in ["authority", "seal"].map(|name| plane.path(name)) {
        std::fs::remove_dir_all(&folder)?;
        std::fs::create_dir(&folder)?;
    }
    plane.clock = clock.map(str::to_owned);
    plane.start(Part::CertAuthority)?;
    plane.is_ready(Part::CertAuthority).await?;
    plane.clock = None;
    plane.stop(Part::CertAuthority).await?;
    plane.start(Part::CertAuthority)
}
