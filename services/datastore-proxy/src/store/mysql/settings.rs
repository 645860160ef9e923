//! How to reach the database.

use crate::config::DatabaseConfig;
use crate::error::Error;
use crate::store::server;
use mysql_async::{Opts, OptsBuilder, SslOpts};
use std::time::Duration;

/// A peer that is gone without a word is noticed after about this time.
const SILENCE: Duration = Duration::from_secs(5);

/// A server and a database on it.
#[derive(Clone)]
pub struct Settings {
    pub(super) opts: Opts,
    pub(super) database: String,
}

/// Without the password.
impl std::fmt::Display for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "MySQL at {}, database {}",
            self.opts.ip_or_hostname(),
            self.database
        )
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Settings {
    /// Reads `mysql://user@host:3306/database` and the files that `config` names.
    pub fn new(endpoint: &str, config: &DatabaseConfig) -> Result<Self, Error> {
        let (address, rest) = endpoint.split_once('?').unwrap_or((endpoint, ""));
        if !rest.is_empty() {
            return Err(Error::MySql(
                "nothing may follow the database's name".into(),
            ));
        }
        let opts = Opts::from_url(address).map_err(|error| Error::MySql(error.to_string()))?;
        if opts.pass().is_some() {
            return Err(Error::PasswordInEndpoint);
        }
        let database = opts.db_name().unwrap_or_default().to_owned();
        if !server::is_identifier(&database) {
            return Err(Error::Schema(database));
        }
        if config.ca_file.is_none() && !server::is_local(opts.ip_or_hostname()) {
            return Err(Error::PlaintextDatabase);
        }
        let password = config.password_file.as_deref().map(server::password);
        let opts = OptsBuilder::from_opts(opts)
            .pass(password.transpose()?)
            .ssl_opts(ssl(config)?)
            .db_name(Some(&database))
            // The address that was configured, also where the server has a socket on this machine.
            .prefer_socket(false)
            .tcp_keepalive(Some(SILENCE));
        Ok(Self {
            opts: opts.into(),
            database,
        })
    }

    /// An address of the server, to find out by which address of ours it is reached.
    pub fn host(&self) -> (String, u16) {
        (self.opts.ip_or_hostname().to_owned(), self.opts.tcp_port())
    }
}

/// TLS with the authorities of a file alone, names verified. Where it is set the server must have it.
fn ssl(config: &DatabaseConfig) -> Result<Option<SslOpts>, Error> {
    let Some(file) = &config.ca_file else {
        return Ok(None);
    };
    let pem = server::read(file)?;
    server::roots(&pem)?;
    Ok(Some(
        SslOpts::default()
            .with_disable_built_in_roots(true)
            .with_root_certs(vec![pem.into_bytes().into()]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(endpoint: &str) -> Result<Settings, Error> {
        Settings::new(endpoint, &DatabaseConfig::default())
    }

    #[test]
    fn the_database_is_part_of_the_endpoint() {
        let settings = parse("mysql://me@127.0.0.1:3307/plane_b").unwrap();
        assert_eq!(settings.database, "plane_b");
        assert_eq!(settings.host(), ("127.0.0.1".to_owned(), 3307));
        for database in ["", "A", "a-b", "1a"] {
            let refused = parse(&format!("mysql://me@localhost/{database}"));
            assert!(matches!(refused, Err(Error::Schema(_))), "{database}");
        }
        let refused = parse("mysql://me@localhost/db?require_ssl=false").unwrap_err();
        assert!(matches!(refused, Error::MySql(_)), "{refused}");
    }

    #[test]
    fn a_password_stays_out_of_the_endpoint_and_of_messages() {
        let refused = parse("mysql://me:hunter2@localhost/db").unwrap_err();
        assert!(matches!(refused, Error::PasswordInEndpoint));
        let broken = parse("mysql://me:hunter2@localhost:x/db").unwrap_err();
        assert!(!broken.to_string().contains("hunter2"), "{broken}");

        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"hunter2\n").unwrap();
        let config = DatabaseConfig {
            password_file: Some(file.path().to_owned()),
            ..DatabaseConfig::default()
        };
        let settings = Settings::new("mysql://me@localhost/db", &config).unwrap();
        assert_eq!(settings.opts.pass(), Some("hunter2"));
        assert!(!format!("{settings:?} {settings}").contains("hunter2"));
    }

    #[test]
    fn plaintext_is_for_this_machine_alone() {
        let refused = parse("mysql://me@db.example/db").unwrap_err();
        assert!(matches!(refused, Error::PlaintextDatabase), "{refused}");
        assert!(parse("mysql://me@[::1]/db").is_ok());
    }
}
