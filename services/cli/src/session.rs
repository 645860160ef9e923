//! A conversation with the supervisor as administrator: the certificate is had, kept and renewed on the way.
use crate::enrol::{self, Source};
use crate::pair::{Pair, new_key, request};
use crate::reach::{explain, reach};
use crate::state::State;
use crate::{Error, commands};
use serde::{Deserialize, Serialize};
use sextant_identity::{Channel, Identity, Mesh, Peer, ServiceName, TrustBundle};
use sextant_proto::supervisor::admin_client::AdminClient;
use sextant_proto::supervisor::{RenewAdminRequest, Trust};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;
use tonic::{Response, Status};

const ADMIN: &str = "admin.json";
const ADMIN_LOCK: &str = "admin.lock";
/// A list of twenty thousand certificates fits.
const MAX_ANSWER: usize = 32 << 20;
const RPC_DEADLINE: Duration = Duration::from_secs(20);

/// The administrator of one cluster on this machine.
pub struct Session {
    server: String,
    source: Source,
    state: State,
    now: OffsetDateTime,
    connected: Option<Connected>,
}

struct Connected {
    admin: Admin,
    /// Whether a call went well: then a later failure isn't the certificate's, and mustn't be called twice.
    proven: bool,
    /// Whether a renewal was tried: once in a run is enough.
    renewed: bool,
    client: AdminClient<Channel>,
}

/// The administrator's mesh certificate and whom it trusts, as they are kept.
#[derive(Deserialize, Serialize)]
struct Admin {
    trust: Trust,
    pair: Pair,
}

impl Session {
    /// Of the supervisor at `server` (host:port), enrolling from `source` when `state` holds no certificate.
    #[must_use]
    pub fn new(server: String, source: Source, state: State, now: OffsetDateTime) -> Self {
        Self {
            server,
            source,
            state,
            now,
            connected: None,
        }
    }

    /// Makes one call of the Admin service, enrolling and renewing as needed.
    ///
    /// # Errors
    /// When the supervisor can't be reached or proven, takes neither certificate nor token, or refuses the call.
    pub async fn ask<T>(
        &mut self,
        call: impl AsyncFn(&mut AdminClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Error> {
        let mut connected = match self.connected.take() {
            Some(connected) => connected,
            None => self.connect().await?,
        };
        let mut answer = self.answer(call(&mut connected.client)).await;
        if !connected.proven
            && let Err(first @ Error::Strange { .. }) = answer
        {
            // The cluster behind this address was made anew, or its authority was replaced while we were away.
            connected = self.connect_anew(&connected.admin, first).await?;
            answer = self.answer(call(&mut connected.client)).await;
        }
        let answer = answer?;
        connected.proven = true;
        if connected.admin.pair.is_due(self.now) && !connected.renewed {
            connected.renewed = true;
            // The call went well, so the certificate still serves: the next run tries again.
            let _ = self.renew(&mut connected).await;
        }
        self.connected = Some(connected);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Connected, Error> {
        let admin = match self.saved()? {
            Some(admin) => admin,
            None => self.enrol(None).await?,
        };
        connect(&self.server, admin)
    }

    /// Enrols again after a connection with `refused` failed; if that fails too, both reasons are told.
    async fn connect_anew(&self, refused: &Admin, first: Error) -> Result<Connected, Error> {
        match self.enrol(Some(refused)).await {
            Ok(admin) => connect(&self.server, admin),
            Err(strange @ Error::Strange { .. }) => Err(strange),
            Err(second) => Err(Error::NotAgain {
                first: first.into(),
                second: second.into(),
            }),
        }
    }

    fn saved(&self) -> Result<Option<Admin>, Error> {
        let saved = self.state.read::<Admin>(ADMIN)?;
        Ok(saved.filter(|admin| admin.pair.is_valid(self.now)))
    }

    /// Enrols, unless another process did so since `refused` was read.
    async fn enrol(&self, refused: Option<&Admin>) -> Result<Admin, Error> {
        let _lock = self.state.lock(ADMIN_LOCK)?;
        let differs = |admin: &Admin| {
            refused.is_none_or(|refused| refused.pair.certificate != admin.pair.certificate)
        };
        if let Some(admin) = self.saved()?.filter(differs) {
            return Ok(admin);
        }
        // A cluster that doesn't run is likelier than a Docker that isn't there, and a better message.
        let advice = self.source.advice();
        reach(&self.server, &advice).await?;
        let voucher = self.source.read().await?;
        let key = new_key()?;
        let answer = enrol::enrol(&self.server, &voucher, request(&key)?, &advice).await?;
        let admin = Admin {
            trust: answer.trust,
            pair: Pair::new(answer.certificate, &key)?,
        };
        let before = self.state.read::<Admin>(ADMIN)?;
        if before.is_some_and(|b| b.trust.cluster_client_pem != admin.trust.cluster_client_pem) {
            // Made by an authority that may be gone.
            self.state.remove(commands::credential::FILE)?;
        }
        self.state.write(ADMIN, &admin)?;
        Ok(admin)
    }

    async fn renew(&self, connected: &mut Connected) -> Result<(), Error> {
        let _lock = self.state.lock(ADMIN_LOCK)?;
        if self
            .saved()?
            .is_some_and(|saved| !saved.pair.is_due(self.now))
        {
            return Ok(());
        }
        let key = new_key()?;
        let request = RenewAdminRequest {
            csr: request(&key)?,
        };
        let answer = self.answer(connected.client.renew_admin(request)).await?;
        connected.admin.pair = Pair::new(answer.certificate, &key)?;
        self.state.write(ADMIN, &connected.admin)
    }

    /// The answer of a call, or its status in our words.
    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(RPC_DEADLINE, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(match self.made_here(&status) {
                Some(found) => explain(&self.server, found, &self.source.advice()).await,
                None => Error::Cluster {
                    code: format!("{:?}", status.code()),
                    message: status.message().to_owned(),
                },
            }),
            Err(_) => {
                let found = format!("no answer within {} s", RPC_DEADLINE.as_secs());
                Err(explain(&self.server, found, &self.source.advice()).await)
            }
        }
    }

    /// What a channel says of a broken connection: it names the address first, which the supervisor never does.
    fn made_here(&self, status: &Status) -> Option<String> {
        let told = status
            .message()
            .strip_prefix(&self.server)?
            .strip_prefix(": ")?;
        Some(told.to_owned())
    }
}

/// A client over one connection. A run is short, so neither certificate nor anchors are followed.
fn connect(server: &str, admin: Admin) -> Result<Connected, Error> {
    let trust = TrustBundle::try_from(admin.trust.clone())
        .map_err(|e| Error::credential("the saved anchors can't be read", e))?;
    let credentials = admin.pair.credentials()?;
    let (_, credentials) = watch::channel(Arc::new(credentials));
    let (_, trust) = watch::channel(Arc::new(trust));
    let mesh = Mesh::from_parts(Identity::Admin, credentials, trust);
    let channel = mesh.channel(server, Peer::Service(ServiceName::Supervisor));
    let client = AdminClient::new(channel).max_decoding_message_size(MAX_ANSWER);
    Ok(Connected {
        admin,
        proven: false,
        renewed: false,
        client,
    })
}
