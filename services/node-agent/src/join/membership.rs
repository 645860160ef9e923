//! Join, Rejoin, or neither: what a start needs.

use crate::error::Error;
use crate::store::{Last, State, read_optional};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sextant_identity::pin::{CaHash, PinnedClient};
use sextant_identity::{Credentials, Error as IdentityError, NodeName, TrustBundle};
use sextant_proto::join::{JoinRequest, JoinResponse, RejoinNonce, RejoinRequest, rejoin_message};
use sextant_proto::supervisor::NodeConfig;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Longest time for one exchange with a supervisor.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where the join token comes from.
#[derive(Clone)]
pub enum Token {
    /// A file, read anew at each attempt: the supervisor replaces it.
    File(PathBuf),
    /// Standard input, read at start.
    Given(zeroize::Zeroizing<String>),
}

/// What the first contact with a supervisor needs.
#[derive(Clone)]
pub struct Joiner {
    /// The node's name.
    pub name: NodeName,
    /// Supervisors from the agent's configuration.
    pub supervisors: Vec<String>,
    /// The join token.
    pub token: Token,
    /// The state folder.
    pub state: State,
}

/// A member of the cluster.
pub struct Joined {
    /// Mesh certificate and key.
    pub credentials: Credentials,
    /// Anchors.
    pub trust: TrustBundle,
    /// The last or first configuration.
    pub config: NodeConfig,
}

/// What a start needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the certificate is valid.
    Continue,
    /// The node never joined.
    Join,
    /// The certificate expired: prove the key.
    Rejoin,
}

impl Step {
    /// The decision.
    pub fn of(credentials: Option<&Credentials>, now: SystemTime) -> Self {
        match credentials {
            None => Self::Join,
            Some(credentials) if credentials.not_after <= now => Self::Rejoin,
            Some(_) => Self::Continue,
        }
    }
}

impl Joiner {
    /// One attempt to be a member. The error says what was tried and what to do.
    pub async fn attempt(&self, addresses: &[IpAddr]) -> Result<Joined, Error> {
        let kept = self
            .state
            .credentials()?
            .zip(self.state.trust()?)
            .zip(Last::read(&self.state)?);
        match (
            Step::of(kept.as_ref().map(|((c, _), _)| c), SystemTime::now()),
            kept,
        ) {
            (Step::Continue, Some(((credentials, trust), config))) => Ok(Joined {
                credentials,
                trust,
                config,
            }),
            (Step::Rejoin, Some(((_, trust), config))) => {
                self.rejoin(&trust, config, addresses).await
            }
            _ => self.join(addresses).await,
        }
    }

    /// New certificates for the key that the node joined with; if that is refused, a join with the token.
    pub async fn rejoin(
        &self,
        trust: &TrustBundle,
        last: NodeConfig,
        addresses: &[IpAddr],
    ) -> Result<Joined, Error> {
        match self.prove(trust, last, addresses).await {
            Err(Error::Identity(refused @ IdentityError::Refused { .. })) => {
                if self.token().is_err() {
                    return Err(Error::Join(format!(
                        "the node's certificate expired and {refused}; to join anew, put a join token into {}",
                        self.token_place()
                    )));
                }
                tracing::warn!(%refused, "rejoin refused: joining with the token");
                self.join(addresses).await
            }
            result => result,
        }
    }

    async fn prove(
        &self,
        trust: &TrustBundle,
        last: NodeConfig,
        addresses: &[IpAddr],
    ) -> Result<Joined, Error> {
        let anchors = &trust.mesh_pem();
        let known = last
            .settings
            .iter()
            .flat_map(|settings| settings.supervisors.iter());
        let supervisors: Vec<&String> = known.chain(&self.supervisors).collect();
        let (mut client, _) = first(&supervisors, |address| async move {
            bounded(&address, PinnedClient::connect_trusting(&address, anchors)).await
        })
        .await?;
        let keys = self.state.keys()?;
        let nonce: RejoinNonce = client.get("/v1/rejoin/nonce").await?;
        let bytes = STANDARD
            .decode(&nonce.nonce)
            .map_err(|e| Error::Join(format!("the supervisor's nonce is no base64: {e}")))?;
        let message = rejoin_message(&bytes, client.exporter(), self.name.as_str());
        let request = RejoinRequest {
            node_name: self.name.to_string(),
            public_key: STANDARD.encode(keys.mesh.public_key_spki_der()),
            nonce: nonce.nonce,
            signature: STANDARD.encode(keys.mesh.sign(&message)?),
            requests: keys.requests(texts(addresses))?,
        };
        let response: JoinResponse = client.post("/v1/rejoin", None, &request).await?;
        tracing::info!("rejoined with the key of the first join");
        self.keep(&keys, response, addresses, last)
    }

    /// A join with the token, whatever the node was before.
    pub async fn join(&self, addresses: &[IpAddr]) -> Result<Joined, Error> {
        let token = self.token()?;
        let hash: CaHash = token.parse()?;
        let supervisors: Vec<&String> = self.supervisors.iter().collect();
        let (mut client, address) = first(&supervisors, |address| async move {
            bounded(&address, PinnedClient::connect(&address, hash)).await
        })
        .await?;
        let keys = self.state.keys()?;
        let request = JoinRequest {
            node_name: self.name.to_string(),
            requests: keys.requests(texts(addresses))?,
        };
        let joining = client.post("/v1/join", Some(&token), &request);
        let response: JoinResponse = bounded(&address, joining).await?;
        tracing::info!(supervisor = address, "joined");
        self.keep(&keys, response, addresses, NodeConfig::default())
    }

    fn keep(
        &self,
        keys: &crate::store::Keys,
        response: JoinResponse,
        addresses: &[IpAddr],
        last: NodeConfig,
    ) -> Result<Joined, Error> {
        let trust = self.state.install_trust(&response.trust)?;
        let config = NodeConfig {
            settings: Some(response.settings),
            ..last
        };
        // Before the certificate: its presence means that the rest is there.
        Last::new(&self.state, config.clone())?;
        self.state.set_addresses(addresses)?;
        let credentials = self.state.install(keys, &response.certificates)?;
        warn_of_skew(&credentials);
        Ok(Joined {
            credentials,
            trust,
            config,
        })
    }

    fn token(&self) -> Result<zeroize::Zeroizing<String>, Error> {
        let token = match &self.token {
            Token::Given(token) => token.clone(),
            Token::File(path) => {
                let content = read_optional(path)?.map(zeroize::Zeroizing::new);
                let text = content
                    .as_deref()
                    .map(|c| String::from_utf8_lossy(c).trim().to_owned());
                zeroize::Zeroizing::new(text.unwrap_or_default())
            }
        };
        if token.is_empty() {
            return Err(Error::Join(format!(
                "this node isn't a member and there is no join token in {}; make one with \
                 `sextant token create` and put it there",
                self.token_place()
            )));
        }
        Ok(token)
    }

    fn token_place(&self) -> String {
        match &self.token {
            Token::File(path) => path.display().to_string(),
            Token::Given(_) => "standard input".to_owned(),
        }
    }
}

/// The first supervisor that answers, and its address; the last error if none does.
async fn first<T, F, Fut>(supervisors: &[&String], connect: F) -> Result<(T, String), Error>
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let mut last = Error::Join("no supervisor is configured".into());
    for address in supervisors {
        match connect((*address).clone()).await {
            Ok(client) => return Ok((client, (*address).clone())),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn bounded<T>(
    address: &str,
    work: impl Future<Output = Result<T, IdentityError>>,
) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Supervisor {
            address: address.to_owned(),
            reason: format!("no answer within {} s", DEADLINE.as_secs()),
        }),
    }
}

fn warn_of_skew(credentials: &Credentials) {
    if let Ok(ahead) = credentials.not_before.duration_since(SystemTime::now())
        && ahead > Duration::from_secs(5)
    {
        tracing::warn!(
            seconds = ahead.as_secs(),
            "this node's clock is behind the cluster's: set it, or certificates will be refused"
        );
    }
}

fn texts(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(IpAddr::to_string).collect()
}
