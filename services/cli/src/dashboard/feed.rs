//! The answers that a view is made of, asked again and again.
use crate::Error;
use crate::session::Session;
use sextant_proto::supervisor::{
    ListCertificatesRequest, ListCertificatesResponse, ListNodesRequest, ListNodesResponse,
    OverviewRequest, OverviewResponse,
};
use std::time::Duration;
use tokio::time::Instant;

/// A session is made anew after so long: it follows neither its certificate nor the anchors.
const SESSION_LIFE: Duration = Duration::from_secs(300);
/// Certificates change slowly, and asking for them reads cert-authority's log.
const CERTIFICATES_AGE: Duration = Duration::from_secs(30);
const CERTIFICATES: u32 = 50;
const EVENTS: u32 = 50;
/// After this, the supervisor looks at its parts anew.
const NEXT_LOOK: Duration = Duration::from_millis(1_100);

/// What the Admin service said.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The replicas, and the last events.
    pub overview: OverviewResponse,
    /// The nodes.
    pub nodes: ListNodesResponse,
    /// The certificates, the next to expire first.
    pub certificates: ListCertificatesResponse,
}

/// Asks, with a session that `connect` makes whenever one is needed.
pub struct Feed<C> {
    connect: C,
    session: Option<(Session, Instant)>,
    certificates: Option<(ListCertificatesResponse, Instant)>,
}

impl<C: AsyncFnMut() -> Result<Session, Error>> Feed<C> {
    /// Nothing is asked yet.
    pub fn new(connect: C) -> Self {
        Self {
            connect,
            session: None,
            certificates: None,
        }
    }

    /// What there is now.
    ///
    /// # Errors
    /// When the supervisor can't be reached or refuses.
    pub async fn look(&mut self) -> Result<Answers, Error> {
        let (mut session, since) = match self.session.take() {
            Some((session, since)) if since.elapsed() < SESSION_LIFE => (session, since),
            _ => ((self.connect)().await?, Instant::now()),
        };
        let answers = self.ask(&mut session).await?;
        self.session = Some((session, since));
        Ok(answers)
    }

    /// The same with rates, for which the supervisor has to have looked twice.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub async fn look_twice(&mut self) -> Result<Answers, Error> {
        self.look().await?;
        tokio::time::sleep(NEXT_LOOK).await;
        self.look().await
    }

    async fn ask(&mut self, session: &mut Session) -> Result<Answers, Error> {
        let wanted = OverviewRequest { events: EVENTS };
        let overview = session.ask(async |c| c.overview(wanted).await).await?;
        let nodes = session
            .ask(async |c| c.list_nodes(ListNodesRequest {}).await)
            .await?;
        let certificates = match &self.certificates {
            Some((kept, since)) if since.elapsed() < CERTIFICATES_AGE => kept.clone(),
            _ => {
                let wanted = ListCertificatesRequest {
                    limit: CERTIFICATES,
                    current_only: true,
                };
                let found = session
                    .ask(async |c| c.list_certificates(wanted).await)
                    .await?;
                self.certificates = Some((found.clone(), Instant::now()));
                found
            }
        };
        Ok(Answers {
            overview,
            nodes,
            certificates,
        })
    }
}
