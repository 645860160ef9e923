//! The Docker engine of the dev cluster, asked through its own program.
use crate::Error;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(20);

/// The newest container of a compose project's service. A stopped one counts: it holds the volumes too.
///
/// # Errors
/// When Docker can't be asked, or there is none.
pub(crate) async fn container(
    docker: &Path,
    project: &str,
    service: &str,
) -> Result<String, Error> {
    let project_label = format!("label=com.docker.compose.project={project}");
    let service_label = format!("label=com.docker.compose.service={service}");
    let filters = ["--filter", &project_label, "--filter", &service_label];
    let listed = run(docker, &[&["ps", "-aq"], &filters[..]].concat()).await?;
    let ids = String::from_utf8_lossy(&listed.stdout);
    let id = ids.split_whitespace().next();
    id.map(str::to_owned).ok_or_else(|| Error::NoContainer {
        project: project.to_owned(),
        service: service.to_owned(),
    })
}

/// Runs `docker` with these arguments.
///
/// # Errors
/// When it can't be run, doesn't end in time, or fails.
pub(crate) async fn run(docker: &Path, arguments: &[&str]) -> Result<Output, Error> {
    let failed = |found: String, advice| Error::Docker {
        command: format!("docker {}", arguments.join(" ")),
        found,
        advice,
    };
    let child = Command::new(docker)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(DEADLINE, child).await {
        Err(_) => {
            let found = format!("no answer within {} s", DEADLINE.as_secs());
            return Err(failed(found, "check the Docker engine"));
        }
        Ok(Err(error)) => {
            let advice = "install Docker, or give a folder instead (--enrol-dir for the administrator's token, --from \
                          for traces)";
            return Err(failed(error.to_string(), advice));
        }
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(output);
    }
    let found = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', " ");
    Err(failed(
        found,
        "check that the Docker engine runs and that you may use it",
    ))
}
