//! Which Debian mirror this machine uses, out of its apt sources.

use anyhow::{Context, Result};
use std::path::PathBuf;

/// The mirror that this machine's own suite comes from.
pub fn own() -> Result<String> {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or_default();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = std::fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(folder.flatten().map(|entry| entry.path()));
    }
    files.sort();
    // Apt itself leaves out files with other endings.
    files.retain(|file| {
        file.extension()
            .is_some_and(|e| e == "list" || e == "sources")
    });
    let texts: Vec<_> = files
        .iter()
        .filter_map(|f| std::fs::read_to_string(f).ok())
        .collect();
    choose(&texts.join("\n\n"), codename).with_context(|| {
        format!(
            "neither /etc/apt/sources.list nor /etc/apt/sources.list.d names a Debian mirror with component \
             main of suite “{codename}”, so packages of other suites can't be had"
        )
    })
}

/// The mirror with component main of the machine's own suite, in either of apt's two formats. Other repositories
/// use the suite's name as well, so one that is called like Debian's goes first.
fn choose(text: &str, codename: &str) -> Option<String> {
    let mirrors: Vec<&str> = text
        .split("\n\n")
        .flat_map(|stanza| one_line(stanza).chain(deb822(stanza)))
        .filter(|(_, suite, components)| suite.contains(&codename) && components.contains(&"main"))
        .flat_map(|(uris, ..)| uris)
        .collect();
    let named = |uri: &&&str| {
        let path = uri.trim_end_matches('/').trim_end_matches(".list");
        path.ends_with("/debian")
    };
    let chosen = mirrors.iter().find(named).or(mirrors.first())?;
    Some(chosen.trim_end_matches('/').to_owned())
}

/// URIs, suites and components of one source.
type Source<'a> = (Vec<&'a str>, Vec<&'a str>, Vec<&'a str>);

/// `deb [options] URI suite component…`
fn one_line(stanza: &str) -> impl Iterator<Item = Source<'_>> {
    stanza.lines().filter_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        Some((vec![words.next()?], vec![words.next()?], words.collect()))
    })
}

/// `Types: deb`, `URIs: …`, `Suites: …`, `Components: …`
fn deb822(stanza: &str) -> Option<Source<'_>> {
    let field = |name: &str| -> Vec<&str> {
        let line = stanza.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.split_whitespace().collect())
            .unwrap_or_default()
    };
    let wanted = field("Types:").contains(&"deb") && field("Enabled:") != ["no"];
    wanted.then(|| (field("URIs:"), field("Suites:"), field("Components:")))
}

#[cfg(test)]
mod tests {
    use super::choose;

    fn found(text: &str) -> Option<String> {
        choose(text, "bookworm")
    }

    #[test]
    fn finds_the_mirror_in_both_formats() {
        let deb822 = "Types: deb\nURIs: http://m.example/debian-security\nSuites: bookworm-security\nComponents: main\n\n\
            Types: deb deb-src\nURIs: http://m.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n";
        let list = "# deb http://old.example/debian bookworm main\n\
            deb-src http://source.example/debian bookworm main\n\
            deb [arch=amd64 signed-by=/k] http://m.example/debian/ bookworm main contrib\n";
        assert_eq!(found(deb822).as_deref(), Some("http://m.example/debian"));
        assert_eq!(found(list).as_deref(), Some("http://m.example/debian"));
    }

    #[test]
    fn finds_the_list_of_mirrors_of_cloud_images() {
        let text = "Types: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/debian.list\n\
            Suites: bookworm bookworm-updates bookworm-backports\nComponents: main\n";
        let wanted = Some("mirror+file:///etc/apt/mirrors/debian.list");
        assert_eq!(found(text).as_deref(), wanted);
    }

    #[test]
    fn takes_a_mirror_of_any_name_but_no_other_repository() {
        let docker =
            "deb [signed-by=/k] https://download.docker.com/linux/debian bookworm stable\n";
        let other = "deb https://apt.example.com bookworm main\n";
        let own = "deb http://artifacts.example/debian bookworm main\n";
        assert_eq!(found(docker), None);
        assert_eq!(
            found(&format!("{docker}{other}{own}")).as_deref(),
            Some("http://artifacts.example/debian")
        );
        assert_eq!(
            found(&format!(
                "{docker}deb http://a.example/bookworm-remote/ bookworm main\n"
            ))
            .as_deref(),
            Some("http://a.example/bookworm-remote")
        );
        assert_eq!(
            found(
                "Types: deb\nEnabled: no\nURIs: http://a.example/debian\nSuites: bookworm\nComponents: main\n"
            ),
            None
        );
    }
}
