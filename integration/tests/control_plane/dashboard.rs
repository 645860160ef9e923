//! `sextant dashboard` in a terminal: tmux's.

use crate::part::Part;
use crate::plane::{Plane, SOON};
use anyhow::{Context as _, Result, ensure};
use sextant_testkit::eventually;
use std::path::PathBuf;
use tokio::process::Command;

/// A terminal with a shell in it, in which `sextant` is this program as the command line.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// As small as terminals are.
    async fn open(plane: &Plane) -> Result<Self> {
        let bin = plane.path("bin");
        std::fs::create_dir_all(&bin)?;
        std::os::unix::fs::symlink(std::env::current_exe()?, bin.join("sextant"))?;
        let socket = plane.path("tmux");
        let started = Command::new("tmux")
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("HOME", plane.path("home"))
            .env("LC_ALL", "C.UTF-8")
            .env("PS1", "$ ")
            .env("SEXTANT_SERVER", plane.address(Part::Edge).to_string())
            .env("SEXTANT_ENROL_DIR", plane.path("enrol/admin"))
            .env("SEXTANT_STATE_DIR", plane.path("state"))
            .args(["-f", "/dev/null", "-S"])
            .arg(&socket)
            .args(["new-session", "-d", "-x", "80", "-y", "24", "/bin/sh"])
            .status()
            .await?;
        ensure!(started.success(), "tmux: {started}");
        Ok(Self { socket })
    }

    async fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(arguments)
            .output()
            .await?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tmux {arguments:?}: {error}");
        Ok(String::from_utf8(output.stdout)?)
    }

    async fn press(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", key]).await.map(drop)
    }

    /// Types a command.
    async fn run(&self, line: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", line]).await?;
        self.press("Enter").await
    }

    /// Waits until all of `words` are on the screen.
    async fn shows(&self, words: &[&str]) -> Result<String> {
        let what = format!("{words:?} on the screen");
        let screen = eventually(SOON, &what, || async {
            let screen = self.tmux(&["capture-pane", "-p"]).await;
            let screen = screen.map_err(|error| format!("{error:#}"))?;
            if words.iter().all(|word| screen.contains(word)) {
                Ok(screen)
            } else {
                Err(screen)
            }
        });
        Ok(screen.await)
    }

    /// The terminal echoes and edits lines again, and shows what it did before.
    async fn is_given_back(&self) -> Result<()> {
        self.run("clear; stty -a; echo settings").await?;
        let settings = self.shows(&["\nsettings", "icanon"]).await?;
        for off in ["-icanon", "-echo ", "-isig"] {
            ensure!(!settings.contains(off), "{off}: {settings}");
        }
        for of_the_pane in ["#{alternate_on}", "#{?cursor_flag,0,1}"] {
            let shown = self.tmux(&["display", "-p", of_the_pane]).await?;
            ensure!(shown.trim() == "0", "{of_the_pane} is {shown}");
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nobody is left who would look at it.
        let _ = std::process::Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .arg("kill-server")
            .output();
    }
}

async fn no_tmux() -> bool {
    let missing = Command::new("tmux").arg("-V").output().await.is_err();
    if missing {
        println!("SKIP tmux isn't there: install Debian's package tmux");
    }
    missing
}

pub async fn shows_the_plane_and_gives_the_terminal_back() -> Result<()> {
    if no_tmux().await {
        return Ok(());
    }
    let mut plane = Plane::ready().await?;
    let terminal = Terminal::open(&plane).await?;
    terminal.run("sextant dashboard; echo ended:$?").await?;
    let names = Part::ALL.map(Part::name);
    terminal
        .shows(&[&names[..], &["READY", "[1 Services]", "parts 5/5", " ms "]].concat())
        .await?;

    terminal.press("Tab").await?;
    terminal
        .shows(&["[2 Nodes]", "No node has joined yet."])
        .await?;
    terminal.press("3").await?;
    terminal
        .shows(&["[3 Certificates]", "EXPIRES", "mesh"])
        .await?;
    terminal.press("4").await?;
    terminal
        .shows(&["[4 Datastore]", "COMMITS/S", "iB"])
        .await?;
    terminal.press("?").await?;
    terminal.shows(&["Keys", "ask again now"]).await?;
    terminal.press("Escape").await?;
    plane.stop(Part::Supervisor).await?;
    terminal
        .shows(&["What is shown is", "supervisor at", "COMMITS/S"])
        .await?;
    plane.start(Part::Supervisor)?;
    terminal.shows(&["READY", "? help"]).await?;

    terminal.press("q").await?;
    let before = terminal
        .shows(&["sextant dashboard; echo", "ended:0"])
        .await?;
    ensure!(!before.contains("Services"), "left behind: {before}");
    terminal.is_given_back().await?;
    without_colour(&terminal).await?;
    ended_by_a_signal(&terminal).await?;
    printed_where_there_is_no_terminal(&terminal).await?;
    on_a_large_terminal(&terminal).await
}

async fn on_a_large_terminal(terminal: &Terminal) -> Result<()> {
    terminal.run("clear; sextant dashboard").await?;
    terminal.shows(&["[1 Services]"]).await?;
    terminal
        .tmux(&["resize-window", "-x", "160", "-y", "48"])
        .await?;
    terminal
        .shows(&[
            "┌ Services ",
            "┌ Nodes ",
            "┌ Datastore ",
            "┌ Certificates ",
            "┌ Events ",
        ])
        .await?;
    terminal.press("q").await
}

async fn without_colour(terminal: &Terminal) -> Result<()> {
    for (environment, wanted) in [("", true), ("NO_COLOR=1 ", false)] {
        let line = format!("clear; {environment}sextant dashboard; echo 'over' now");
        terminal.run(&line).await?;
        terminal.shows(&["[1 Services]", "parts"]).await?;
        let screen = terminal.tmux(&["capture-pane", "-p", "-e"]).await?;
        let coloured = has_colours(&screen);
        ensure!(
            coloured == wanted,
            "{line}: colours: {coloured}: {screen:?}"
        );
        terminal.press("q").await?;
        terminal.shows(&["over now"]).await?;
    }
    Ok(())
}

/// Whether a text selects one of the sixteen colours, or any other, for what follows.
fn has_colours(text: &str) -> bool {
    let selections = text.split("\u{1b}[").skip(1);
    selections
        .filter_map(|rest| rest.split_once('m'))
        .flat_map(|(numbers, _)| numbers.split(';'))
        .filter_map(|number| number.parse().ok())
        .any(|number: u8| matches!(number, 30..=38 | 40..=48 | 90..=97 | 100..=107))
}

async fn ended_by_a_signal(terminal: &Terminal) -> Result<()> {
    let line = "timeout --foreground --preserve-status 5 sextant dashboard; echo ended:$?";
    terminal.run(&format!("clear; {line}")).await?;
    terminal.shows(&["[1 Services]"]).await?;
    terminal
        .shows(&["ended:143"])
        .await
        .context("after SIGTERM")?;
    terminal.is_given_back().await
}

async fn printed_where_there_is_no_terminal(terminal: &Terminal) -> Result<()> {
    terminal
        .run("clear; sextant dashboard | head -4; echo printed")
        .await?;
    let screen = terminal.shows(&["\nprinted", "SERVICES"]).await?;
    ensure!(screen.contains("CLUSTER"), "{screen}");
    Ok(())
}
