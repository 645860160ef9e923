use super::*;
use serde::Deserialize;

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    /// The shared part.
    common: Common,
    /// A password | for something.
    #[schemars(extend("writeOnly" = true))]
    password: Option<String>,
    store: Option<Store>,
    names: Vec<String>,
    /// Where to serve.
    ports: Vec<Port>,
    flags: std::collections::BTreeMap<String, String>,
    workers: u16,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Port {
    /// Its number.
    number: u16,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Store {
    Sqlite { path: String },
    Postgres { url: String },
}

fn sources(file: Option<&str>, environment: &[(&str, &str)], sets: &[&str]) -> Sources {
    let file = file.map(|text| {
        static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("sextant-kit-config-{}-{number}.yaml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        path
    });
    Sources {
        file,
        environment: environment
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect(),
        sets: sets.iter().map(|set| (*set).into()).collect(),
    }
}

fn refused(sources: Sources) -> String {
    sources.load::<Sample>().unwrap_err().to_string()
}

#[test]
fn flags_over_environment_over_file_over_defaults() {
    let file = "common: {log: debug, drain_seconds: 3, admin_listen: '127.0.0.1:1'}\nworkers: 1\n";
    let environment = [
        ("SEXTANT_COMMON__LOG", "warn"),
        ("SEXTANT_COMMON__DRAIN_SECONDS", "4"),
        ("PATH", "/bin"),
    ];
    let sample: Sample = sources(Some(file), &environment, &["common.log=error"])
        .load()
        .unwrap();
    assert_eq!(sample.common.log, "error");
    assert_eq!(sample.common.drain_seconds, 4);
    assert_eq!(sample.common.admin_listen, "127.0.0.1:1".parse().unwrap());
    assert_eq!(sample.common.log_format, LogFormat::Json);
    assert_eq!(sample.workers, 1);
}

#[test]
fn lists_maps_and_enums_from_any_source() {
    let sets = [
        "names=[a, b]",
        "flags={feature-gates: A=true}",
        "workers=7",
        "password=123",
    ];
    let file = "store: {sqlite: {path: /x}}\nflags: {v: '2', Some.Key: x}\n";
    let sample: Sample = sources(Some(file), &[], &sets).load().unwrap();
    assert_eq!(sample.names, ["a", "b"]);
    assert_eq!(sample.store, Some(Store::Sqlite { path: "/x".into() }));
    assert_eq!(sample.workers, 7);
    assert_eq!(sample.password.as_deref(), Some("123"));
    let flags: Vec<_> = sample.flags.into_iter().collect();
    let wanted = [("Some.Key", "x"), ("feature-gates", "A=true"), ("v", "2")];
    assert_eq!(flags, wanted.map(|(k, v)| (k.to_owned(), v.to_owned())));
}

#[test]
fn unknown_keys_name_key_origin_and_what_is_allowed() {
    let from_file = refused(sources(Some("common: {logg: x}\n"), &[], &[]));
    assert!(
        from_file.contains(".yaml: unknown key `common.logg`"),
        "{from_file}"
    );
    assert!(
        from_file.contains("admin_listen, drain_seconds, log, log_format"),
        "{from_file}"
    );
    let from_environment = refused(sources(None, &[("SEXTANT_LOG", "x")], &[]));
    assert!(from_environment.contains("environment variable SEXTANT_LOG: unknown key `log`"));
    let from_flag = refused(sources(None, &[], &["store.sqlite.pth=x"]));
    assert!(from_flag.contains("flag --set store.sqlite.pth: unknown key `store.sqlite.pth`"));
}

#[test]
fn wrong_values_name_their_origin() {
    let wrong = refused(sources(None, &[("SEXTANT_WORKERS", "many")], &[]));
    assert!(
        wrong.contains("SEXTANT_WORKERS") && wrong.contains("workers"),
        "{wrong}"
    );
    let shape = refused(sources(Some("[1, 2]"), &[], &[]));
    assert!(shape.contains("must hold a mapping"), "{shape}");
    let flag = refused(sources(None, &[], &["workers"]));
    assert!(flag.contains("path.to.key=value"), "{flag}");
}

#[test]
fn prints_without_secrets() {
    let sample = Sample {
        password: Some("hunter2".into()),
        ..Sample::default()
    };
    let text = print(&sample).unwrap();
    assert!(
        text.contains("<redacted>") && !text.contains("hunter2"),
        "{text}"
    );
    let nothing = print(&Sample::default()).unwrap();
    assert!(nothing.contains("password: null"), "{nothing}");
}

#[test]
fn the_reference_lists_every_setting() {
    let page = reference_markdown::<Sample>("sample");
    assert!(
        page.contains("| `common.log` | string | `\"info\"` | `SEXTANT_COMMON__LOG` |"),
        "{page}"
    );
    assert!(page.contains("`json`, `text`"), "{page}");
    assert!(page.contains("A password \\| for something."), "{page}");
    assert!(
        page.contains("| `ports` | list | `[]` | `SEXTANT_PORTS` | Where to serve. |\n| `ports[].number` | integer | – | – | Its number. |"),
        "{page}"
    );
    assert!(page.contains("| `flags` | map | `{}` |"), "{page}");
}
