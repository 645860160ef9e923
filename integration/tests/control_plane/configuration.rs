//! Configuration that can't be: keys that nobody knows, ports that somebody has.

use crate::part::Part;
use crate::plane::{Plane, SOON};
use anyhow::{Result, ensure};
use sextant_testkit::Process;
use std::net::TcpListener;

/// How a start ended that must fail, and what was said.
async fn failed(mut process: Process, words: &[&str]) -> Result<()> {
    let status = process.wait(SOON).await;
    let output = process.output();
    ensure!(status.code() == Some(1), "it ended with {status}: {output}");
    for word in words {
        ensure!(output.contains(word), "{word:?} is missing in: {output}");
    }
    Ok(())
}

pub async fn unknown_keys_are_named() -> Result<()> {
    let plane = Plane::new()?;
    for part in Part::ALL {
        let flag = ["--set", "common.lgo=debug"];
        let process = Process::start(plane.command(part, &flag)?)?;
        failed(process, &["common.lgo", "--set", "allowed here"]).await?;

        let mut command = plane.command(part, &[])?;
        command.env("SEXTANT_COMMON__LGO", "debug");
        failed(
            Process::start(command)?,
            &["common.lgo", "SEXTANT_COMMON__LGO", "allowed here"],
        )
        .await?;

        let file = plane.configuration_file(part);
        let good = std::fs::read_to_string(&file)?;
        std::fs::write(
            &file,
            good.replacen('{', "{\"lsiten\": \"127.0.0.1:1\", ", 1),
        )?;
        let shown = file.display().to_string();
        // The check and the start say the same.
        for arguments in [&["--check-config"][..], &[]] {
            // `edge` is a command of its own and has no check of its own.
            if part == Part::Edge && !arguments.is_empty() {
                continue;
            }
            let process = Process::start(plane.command(part, arguments)?)?;
            failed(process, &["lsiten", &shown, "allowed here"]).await?;
        }
        std::fs::write(&file, good)?;
    }
    Ok(())
}

pub async fn taken_ports_are_named() -> Result<()> {
    let mut plane = Plane::new()?;
    for part in Part::ALL {
        let mut addresses = vec![plane.admin_address(part), plane.address(part)];
        if part == Part::Supervisor {
            addresses.push(plane.public_address());
        }
        for address in addresses {
            let taken = TcpListener::bind(address)?;
            plane.start(part)?;
            let (status, output) = plane.ended(part).await?;
            ensure!(!status.success(), "{} ended well", part.name());
            let named = output.contains(&format!("can't listen on {address}"));
            ensure!(named && output.contains("free the port"), "{output}");
            // In the log and on stderr, with its cause once in each.
            let causes = output.matches("Address already in use").count();
            ensure!(causes == 2, "the cause is told {causes} times: {output}");
            drop(taken);
        }
        if part == Part::CertAuthority {
            // Some bind their port only once they can serve.
            plane.start(part)?;
        }
    }
    // Nothing was spoiled by the failed starts.
    plane.kill(Part::CertAuthority).await?;
    plane.start_all()?;
    plane.all_ready().await
}
