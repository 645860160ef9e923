//! Pages of documentation that tests keep true.

use std::path::Path;

/// Compares what stands in `docs/<page>` between `<!-- begin NAME -->` and `<!-- end NAME -->` with what the code says;
/// with `UPDATE_GOLDEN` set, writes it there.
pub fn documented(page: &str, name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../docs")
        .join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("docs/{page}: {e}"));
    let (begin, end) = (
        format!("<!-- begin {name} -->\n"),
        format!("<!-- end {name} -->"),
    );
    let (before, found, after) = text
        .split_once(&begin)
        .and_then(|(before, rest)| {
            rest.split_once(&end)
                .map(|(found, after)| (before, found, after))
        })
        .unwrap_or_else(|| panic!("docs/{page} has no part between {begin} and {end}"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = format!("{before}{begin}{wanted}{end}{after}");
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("docs/{page}: {e}"));
        return;
    }
    assert_eq!(
        found, wanted,
        "docs/{page} isn't what the code says; run this test with UPDATE_GOLDEN=1 and review the change"
    );
}
