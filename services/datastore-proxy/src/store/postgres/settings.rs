//! How to reach the database.

use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::store::server;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_rustls::TlsConnector;

/// The schema where the endpoint names none.
const SCHEMA: &str = "sextant";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A peer that is gone without a word is noticed after about this time.
const SILENCE: Duration = Duration::from_secs(5);

/// A database and a schema in it.
#[derive(Clone)]
pub struct Settings {
    pub(super) config: Config,
    pub(super) tls: Option<TlsConnector>,
    pub(super) schema: String,
}

/// Without the password.
impl std::fmt::Display for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let database = self.config.get_dbname().unwrap_or_default();
        write!(
            f,
            "PostgreSQL at {host}, {database}, schema {}",
            self.schema
        )
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Settings {
    /// Reads `postgres://user@host:5432/database?schema=name` and the files that `database` names.
    pub fn new(endpoint: &str, database: &DatabaseConfig) -> Result<Self, Error> {
        Self::in_schema(endpoint, SCHEMA, database)
    }

    /// The same with another schema where the endpoint names none.
    pub(crate) fn in_schema(
        endpoint: &str,
        schema: &str,
        database: &DatabaseConfig,
    ) -> Result<Self, Error> {
        let (endpoint, named) = split_schema(endpoint);
        let schema = named.unwrap_or(schema).to_owned();
        if !server::is_identifier(&schema) || schema.starts_with("pg_") {
            return Err(Error::Schema(schema));
        }
        // The text isn't repeated: it may hold a password.
        let mut config: Config = endpoint
            .parse()
            .map_err(|error: tokio_postgres::Error| Error::Postgres(causes(&error)))?;
        if config.get_password().is_some() {
            return Err(Error::PasswordInEndpoint);
        }
        if let Some(file) = &database.password_file {
            config.password(server::password(file)?);
        }
        let tls = database.ca_file.as_deref().map(server::read).transpose()?;
        let tls = tls.map(|roots| super::tls::connector(&roots)).transpose()?;
        if tls.is_none() && !is_local(&config) {
            return Err(Error::PlaintextDatabase);
        }
        config
            .ssl_mode(if tls.is_some() {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .application_name("datastore-proxy")
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(SILENCE)
            .keepalives_interval(Duration::from_secs(1))
            .keepalives_retries(3)
            .tcp_user_timeout(SILENCE);
        Ok(Self {
            config,
            tls,
            schema,
        })
    }

    /// An address of the database, to find out by which address of ours it is reached.
    pub fn host(&self) -> Option<(String, u16)> {
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        match self.config.get_hosts().first()? {
            Host::Tcp(name) => Some((name.clone(), port)),
            #[cfg(unix)]
            Host::Unix(_) => None,
        }
    }
}

fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => server::is_local(name),
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

/// Takes `schema=` out of the query part.
fn split_schema(endpoint: &str) -> (String, Option<&str>) {
    let Some((base, query)) = endpoint.split_once('?') else {
        return (endpoint.to_owned(), None);
    };
    let schema = query.split('&').find_map(|p| p.strip_prefix("schema="));
    let rest: Vec<&str> = query
        .split('&')
        .filter(|part| !part.starts_with("schema="))
        .collect();
    if rest.is_empty() {
        (base.to_owned(), schema)
    } else {
        (format!("{base}?{}", rest.join("&")), schema)
    }
}

/// An error with its causes.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(endpoint: &str) -> Result<Settings, Error> {
        Settings::new(endpoint, &DatabaseConfig::default())
    }

    #[test]
    fn a_schema_is_part_of_the_endpoint() {
        let settings = parse("postgres://me@127.0.0.1:5433/db?schema=plane_b").unwrap();
        assert_eq!(settings.schema, "plane_b");
        assert_eq!(settings.host(), Some(("127.0.0.1".to_owned(), 5433)));
        assert_eq!(parse("postgres://me@localhost/db").unwrap().schema, SCHEMA);
        for schema in ["", "A", "a-b", "a;drop", "pg_x", "1a"] {
            let refused = parse(&format!("postgres://me@localhost/db?schema={schema}"));
            assert!(matches!(refused, Err(Error::Schema(_))), "{schema}");
        }
    }

    #[test]
    fn a_password_stays_out_of_the_endpoint_and_of_messages() {
        let refused = parse("postgres://me:hunter2@localhost/db").unwrap_err();
        assert!(matches!(refused, Error::PasswordInEndpoint));
        let broken = parse("postgres://me:hunter2@localhost:x/db").unwrap_err();
        assert!(!broken.to_string().contains("hunter2"), "{broken}");

        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"hunter2\n").unwrap();
        let database = DatabaseConfig {
            password_file: Some(file.path().to_owned()),
            ..DatabaseConfig::default()
        };
        let settings = Settings::new("postgres://me@localhost/db", &database).unwrap();
        assert_eq!(settings.config.get_password(), Some(&b"hunter2"[..]));
        assert!(!format!("{settings:?} {settings}").contains("hunter2"));
    }

    #[test]
    fn plaintext_is_for_this_machine_alone() {
        let refused = parse("postgres://me@db.example/db").unwrap_err();
        assert!(matches!(refused, Error::PlaintextDatabase), "{refused}");
        assert!(parse("postgres://me@%2Frun%2Fpostgresql/db").is_ok());
        assert!(parse("postgres://me@[::1]/db").is_ok());
    }
}
