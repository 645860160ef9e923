//! Programs that failed once, and are run again each time.

use super::step::Step;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/against_etcd/kept")
}

/// Keeps a shrunk program; the answer says where.
pub fn keep(name: &str, program: &[Step]) -> PathBuf {
    std::fs::create_dir_all(folder()).expect("the folder of kept programs");
    let path = folder().join(format!("{name}.program"));
    let lines: Vec<String> = program.iter().map(|step| step.line() + "\n").collect();
    std::fs::write(&path, lines.concat()).expect("it can be kept");
    path
}

/// All of them, each with its name.
pub fn all() -> Vec<(String, Vec<Step>)> {
    let entries = std::fs::read_dir(folder()).expect("the folder of kept programs");
    let mut programs: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "program"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a kept program");
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let name = path.file_stem().expect("a name").to_string_lossy();
            (name.into_owned(), lines.map(Step::parse).collect())
        })
        .collect();
    programs.sort_by(|a: &(String, Vec<Step>), b| a.0.cmp(&b.0));
    programs
}
