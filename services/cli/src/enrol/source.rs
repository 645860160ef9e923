//! Where the administrator's enrolment token and the certificates to pin come from.
use super::{Hosted, tar};
use crate::reach::Advice;
use crate::{Error, docker};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The private volume `admin`, as cert-authority sees it.
const VOLUME: &str = "/enrol/admin/.";
/// A token is one line and a bundle a few certificates.
const MAX_FILE: usize = 1 << 20;

/// What proves an administrator, and whom to show it to.
pub struct Voucher {
    /// The enrolment token.
    pub token: Zeroizing<String>,
    /// The cluster's mesh authorities, PEM.
    pub ca_pem: String,
    /// Where both were found, for messages.
    pub place: String,
}

/// A place to get a voucher from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A folder with the files `token` and `ca.pem`.
    Folder(PathBuf),
    /// The volume of cert-authority's container in a compose project.
    Compose {
        /// The project's name.
        project: String,
        /// The `docker` program.
        docker: PathBuf,
    },
    /// The cluster that hosts the control plane.
    Hosted(Hosted),
}

impl Source {
    /// Reads token and bundle. They are rewritten every few minutes, so nothing of them is kept.
    ///
    /// # Errors
    /// When Docker, the container, the files or the hosting cluster aren't there.
    pub async fn read(&self) -> Result<Voucher, Error> {
        match self {
            Self::Folder(folder) => {
                let token = Zeroizing::new(read_file(&folder.join("token"))?);
                voucher(
                    &folder.display().to_string(),
                    &token,
                    read_file(&folder.join("ca.pem"))?,
                )
            }
            Self::Compose { project, docker } => {
                let container = docker::container(docker, project, "cert-authority").await?;
                let copied =
                    docker::run(docker, &["cp", &format!("{container}:{VOLUME}"), "-"]).await?;
                let archive = Zeroizing::new(copied.stdout);
                let place = format!("{VOLUME} of container {container}");
                let token = Zeroizing::new(from_archive(&place, &archive, "token")?);
                let ca_pem = from_archive(&place, &archive, "ca.pem")?;
                voucher(&place, &token, ca_pem)
            }
            Self::Hosted(hosted) => hosted.voucher().await,
        }
    }

    /// What to do where the control plane doesn't answer.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Self::Folder(_) | Self::Compose { .. } => Advice {
                unreachable: "start the cluster with `make up`".to_owned(),
                strange: "`docker compose logs supervisor`".to_owned(),
                refused: "it is rewritten every few minutes, so an old one means that cert-authority doesn't run or \
                          that clocks differ"
                    .to_owned(),
            },
            Self::Hosted(hosted) => hosted.advice(),
        }
    }
}

fn voucher(place: &str, token: &str, ca_pem: String) -> Result<Voucher, Error> {
    let token = Zeroizing::new(token.trim().to_owned());
    let refused = |found: &str| Error::Enrolment {
        place: place.to_owned(),
        found: found.into(),
    };
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(refused("the file `token` doesn't hold one line"));
    }
    if !ca_pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err(refused("the file `ca.pem` holds no certificate"));
    }
    Ok(Voucher {
        token,
        ca_pem,
        place: place.to_owned(),
    })
}

fn read_file(path: &Path) -> Result<String, Error> {
    let place = || path.display().to_string();
    let content = std::fs::read_to_string(path).map_err(|e| Error::Enrolment {
        place: place(),
        found: e.to_string(),
    })?;
    if content.len() > MAX_FILE {
        return Err(Error::Enrolment {
            place: place(),
            found: "larger than 1 MiB".into(),
        });
    }
    Ok(content)
}

fn from_archive(place: &str, archive: &[u8], name: &str) -> Result<String, Error> {
    let refused = |found: String| Error::Enrolment {
        place: place.to_owned(),
        found,
    };
    let content = tar::file(archive, name)
        .map_err(|e| refused(e.to_string()))?
        .ok_or_else(|| refused(format!("there is no file `{name}` yet")))?;
    String::from_utf8(content.to_vec()).map_err(|_| refused(format!("`{name}` is no text")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const CA: &str = "-----BEGIN CERTIFICATE-----\n";

    async fn ask(project: &str, files: &[(&str, &str)]) -> Result<Voucher, Error> {
        let home = tempfile::tempdir().unwrap();
        let docker = home.path().join("docker");
        symlink(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker.sh"),
            &docker,
        )
        .unwrap();
        std::fs::create_dir(home.path().join("volume")).unwrap();
        for (name, content) in files {
            std::fs::write(home.path().join("volume").join(name), content).unwrap();
        }
        Source::Compose {
            project: project.into(),
            docker,
        }
        .read()
        .await
    }

    fn message(result: Result<Voucher, Error>) -> String {
        result.err().unwrap().to_string()
    }

    #[tokio::test]
    async fn copies_from_the_container() {
        let voucher = ask("sextant", &[("token", "t0ken\n"), ("ca.pem", CA)])
            .await
            .unwrap();
        assert_eq!(*voucher.token, "t0ken");
        assert_eq!(voucher.ca_pem, CA);
    }

    #[tokio::test]
    async fn says_what_is_missing() {
        let none = message(ask("other", &[]).await);
        assert!(
            none.contains("compose project 'other'") && none.contains("make up"),
            "{none}"
        );
        let broken = message(ask("broken", &[]).await);
        assert!(
            broken.contains("no engine") && broken.contains("engine runs"),
            "{broken}"
        );
        let early = message(ask("sextant", &[("ca.pem", CA)]).await);
        assert!(early.contains("no file `token` yet"), "{early}");
        let gone = Source::Compose {
            project: "x".into(),
            docker: "/nowhere/docker".into(),
        };
        let gone = message(gone.read().await);
        assert!(
            gone.contains("install Docker") && gone.contains("--enrol-dir"),
            "{gone}"
        );
    }

    #[tokio::test]
    async fn reads_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::Folder(folder.path().to_owned());
        assert!(message(source.read().await).contains("token: No such file"));
        std::fs::write(folder.path().join("token"), "two words").unwrap();
        std::fs::write(folder.path().join("ca.pem"), CA).unwrap();
        assert!(message(source.read().await).contains("one line"));
    }
}
