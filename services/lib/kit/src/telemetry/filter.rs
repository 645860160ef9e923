//! Log filters: what an operator may write.

use tracing_subscriber::filter::EnvFilter;

/// Longest text of a filter, in bytes.
const LONGEST: usize = 512;
/// Directives of a filter.
const MOST: usize = 16;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Target of lines that must not be filtered out: who changed what.
pub const AUDIT: &str = "audit";

/// The filter of the configuration, which is free in its form.
pub(super) fn configured(text: &str) -> Result<EnvFilter, String> {
    // The last directive of a target is the one that counts.
    EnvFilter::try_new(format!("{text},{AUDIT}=info")).map_err(|error| error.to_string())
}

/// What a filter that comes over the network stands for: itself, or, where it has no level for the rest, itself after
/// `configured`.
pub(super) fn parse(text: &str, configured: &str) -> Result<String, String> {
    check(text)?;
    let has_rest = text.split(',').any(|directive| !directive.contains('='));
    Ok(if has_rest {
        text.to_owned()
    } else {
        format!("{configured},{text}")
    })
}

/// Whether `text` is a filter that may be set while a process runs.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn check(text: &str) -> Result<(), String> {
    if text.len() > LONGEST {
        return Err(format!(
            "the filter has {} bytes; at most {LONGEST} are taken",
            text.len()
        ));
    }
    let directives: Vec<_> = text.split(',').collect();
    if directives.len() > MOST {
        return Err(format!(
            "the filter has {} parts; at most {MOST} are taken",
            directives.len()
        ));
    }
    directives.into_iter().try_for_each(directive)
}

fn directive(text: &str) -> Result<(), String> {
    let known = |level: &str| LEVELS.contains(&level);
    let levels = LEVELS.join(", ");
    match text.split_once('=') {
        None if text == "off" => {
            Err("`off` would hide everything; `error` is the least for all".to_owned())
        }
        None if known(text) => Ok(()),
        None => Err(format!(
            "`{text}` is no level: write one of {levels}, or TARGET=LEVEL"
        )),
        Some((target, level)) => {
            let module = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            if target.is_empty() || !target.chars().all(module) {
                return Err(format!(
                    "`{target}` is no target: it is a module as log lines name it, such as `datastore_proxy::engine`"
                ));
            }
            if target == AUDIT {
                return Err(format!("lines of `{AUDIT}` are always written"));
            }
            if known(level) {
                Ok(())
            } else {
                Err(format!("`{level}` is no level: write one of {levels}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_written() {
        for text in [
            "info",
            "debug",
            "warn,supervisor=debug",
            "h2=off,datastore_proxy::engine=trace",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
            configured(text).unwrap();
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        let long = "a".repeat(600);
        let many = ["info"; 17].join(",");
        for (text, why) in [
            ("inof", "no level"),
            ("", "no level"),
            ("off", "hide everything"),
            ("datastore-proxy=debug", "no target"),
            ("a[span{field=1}]=debug", "no target"),
            ("=debug", "no target"),
            ("a=loud", "no level"),
            ("audit=off", "always"),
            (&long, "bytes"),
            (&many, "parts"),
        ] {
            let refusal = check(text).unwrap_err();
            assert!(refusal.contains(why), "{text}: {refusal}");
        }
    }

    #[test]
    fn targets_alone_leave_the_rest_as_it_is() {
        let parsed = |text| parse(text, "info,x=warn");
        assert_eq!(parsed("y=debug").unwrap(), "info,x=warn,y=debug");
        assert_eq!(parsed("error,y=debug").unwrap(), "error,y=debug");
    }
}
