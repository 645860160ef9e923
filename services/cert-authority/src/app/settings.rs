//! Settings, checked and turned into what the parts take.

use crate::config::Config;
use crate::domain::enrolment::ENROLLING;
use crate::domain::rate::Rate;
use crate::error::Error;
use sextant_identity::Identity;
use std::time::Duration;

/// Who has an enrolment volume, by the volume's name.
pub(super) fn identities(config: &Config) -> Result<Vec<(String, Identity)>, Error> {
    if !(60..=24 * 3600).contains(&config.enrolment.life_seconds) {
        return Err(Error::Config(format!(
            "enrolment.life_seconds is {}: choose from 60 to 86400",
            config.enrolment.life_seconds
        )));
    }
    let named = |identity: &Identity| (identity.label().to_owned(), identity.clone());
    match &config.enrolment.identities {
        Some(names) => names.iter().map(|name| identity(name)).collect(),
        None if config.hosting.name.is_empty() => Ok(ENROLLING.iter().map(named).collect()),
        None => Ok(Vec::new()),
    }
}

fn identity(name: &str) -> Result<(String, Identity), Error> {
    match name {
        "admin" => Ok((name.to_owned(), Identity::Admin)),
        service => match service.parse() {
            Ok(service) => Ok((name.to_owned(), Identity::Service(service))),
            Err(_) => Err(Error::Config(format!(
                "enrolment.identities has {name:?}: give `admin` or the name of a service"
            ))),
        },
    }
}

/// How often one address may try to enrol.
pub(super) fn rate(config: &Config) -> Rate {
    Rate {
        burst: config.enrolment.attempts_burst.max(1),
        every: Duration::from_secs(60) / config.enrolment.attempts_per_minute.max(1),
    }
}
