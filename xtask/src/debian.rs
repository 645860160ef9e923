//! Debian packages without installing them: from this machine's suite, or from a newer one in a private apt
//! configuration that is derived from the machine's own sources.

mod mirror;

use crate::{paths, run, upstream};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An apt configuration.
pub enum Suite {
    /// What this machine is set up for.
    Own,
    /// Another suite of the same mirror, in folders of its own.
    Other(&'static str),
}

impl Suite {
    /// A folder with the unpacked packages. It lies in the cache: apt is asked only when it isn't there, so removing
    /// the cache is the way to newer packages.
    pub fn unpacked(&self, packages: &[&str]) -> Result<PathBuf> {
        let base = paths::cache()?.join("debian");
        let hash = upstream::hex(&Sha256::digest(packages.join(" ")));
        let target = base.join(format!("{}-{}", self.name(), &hash[..16]));
        if target.is_dir() {
            return Ok(target);
        }
        let (building, downloads) = (target.with_extension("building"), base.join(self.name()));
        paths::remove(&building)?;
        paths::create(&building)?;
        paths::create(&downloads)?;
        let options = self.options()?;
        for package in packages {
            let archive = self.download(package, &downloads, &options)?;
            run::output(
                Command::new("dpkg-deb")
                    .arg("-x")
                    .arg(&archive)
                    .arg(&building),
            )
            .with_context(|| format!("unpacking {package}"))?;
        }
        std::fs::rename(&building, &target)
            .with_context(|| format!("keeping {}", target.display()))?;
        Ok(target)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Other(name) => name,
        }
    }

    /// The cached archive of the candidate version, downloaded when it isn't there.
    fn download(&self, package: &str, folder: &Path, options: &[String]) -> Result<PathBuf> {
        let uris = run::output(Command::new("apt-get").args(options).args([
            "download",
            "--print-uris",
            package,
        ]))?;
        // 'URI' file size checksum
        let Some(file) = uris
            .lines()
            .last()
            .and_then(|line| line.split_whitespace().nth(1))
        else {
            bail!(
                "apt-get knows no package {package} in suite {}",
                self.name()
            );
        };
        let archive = folder.join(file);
        if !archive.is_file() {
            run::logged(
                &format!("download {package}"),
                Command::new("apt-get")
                    .args(options)
                    .args(["-o", "APT::Sandbox::User=root", "download", package])
                    .current_dir(folder),
            )?;
        }
        Ok(archive)
    }

    fn options(&self) -> Result<Vec<String>> {
        let Self::Other(suite) = self else {
            return Ok(Vec::new());
        };
        let folder = paths::cache()?.join("apt").join(suite);
        let (parts, lists, cache) = (
            folder.join("parts"),
            folder.join("lists"),
            folder.join("cache"),
        );
        for folder in [
            &parts,
            &lists.join("partial"),
            &cache.join("archives/partial"),
        ] {
            paths::create(folder)?;
        }
        std::fs::write(parts.join("suite.sources"), sources(suite)?)?;
        let options: Vec<String> = [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={}", parts.display()),
            format!("Dir::State::lists={}", lists.display()),
            format!("Dir::Cache={}", cache.display()),
            "APT::Sandbox::User=root".to_owned(),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect();
        run::logged(
            &format!("apt-get update for {suite}"),
            Command::new("apt-get")
                .args(&options)
                .args(["update", "-q"]),
        )
        .with_context(|| format!("reading the package list of Debian {suite}"))?;
        Ok(options)
    }
}

/// A source entry for `suite` at the mirror that this machine uses for Debian.
fn sources(suite: &str) -> Result<String> {
    let mirror = mirror::own()?;
    Ok(format!(
        "Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    ))
}
