//! From the parsed command line to the answer.
mod observe;

use crate::Error;
use crate::args::{
    Certificate, Cli, Command, Dashboard, Global, HostedPlane, Kubeconfig, Node, Token, TokenCreate,
};
use crate::commands::certificate::CertificatesView;
use crate::commands::credential;
use crate::commands::kubeconfig::{KubeconfigView, User};
use crate::commands::node::{NodesView, RemovedNode};
use crate::commands::status::StatusView;
use crate::commands::token::{self, NewToken, RevokedToken, TokensView};
use crate::commands::version::VersionView;
use crate::dashboard::draw::Palette;
use crate::dashboard::view::DashboardView;
use crate::dashboard::{Feed, live};
use crate::enrol::Source;
use crate::hosted;
use crate::output::{Format, View, render};
use crate::pair::{Pair, new_key, request};
use crate::session::Session;
use crate::state::{State, write_private};
use clap::CommandFactory;
use sextant_proto::supervisor::{
    IssueKubeCredentialRequest, KubeAccessRequest, ListCertificatesRequest, ListNodesRequest,
    ListTokensRequest, RemoveNodeRequest, RevokeTokenRequest, StatusRequest,
};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;

/// Where the dev cluster's supervisor is.
pub const SERVER: &str = "127.0.0.1:9443";
/// Exit code when something isn't ready.
const NOT_READY: u8 = 1;

/// The machine around one run.
pub struct Host<'a> {
    /// The `docker` program.
    pub docker: PathBuf,
    /// Folder above all clusters' folders, if there is a home.
    pub state_home: Option<PathBuf>,
    /// This program, absolute.
    pub program: PathBuf,
    /// The time when the run began.
    pub now: OffsetDateTime,
    /// How to draw on the terminal that answers go to; `None` where they go elsewhere.
    pub screen: Option<Palette>,
    /// Answers.
    pub out: &'a mut dyn Write,
    /// Hints and warnings.
    pub err: &'a mut dyn Write,
}

/// Does what the command line says; the exit code is 0 or, when something isn't ready, 1.
///
/// # Errors
/// See [`Error`], which knows the other exit codes.
pub fn run(cli: Cli, host: Host<'_>) -> Result<u8, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::output)?;
    let Cli { global, command } = cli;
    runtime.block_on(Run { global, host }.command(command))
}

struct Run<'a> {
    global: Global,
    host: Host<'a>,
}

impl Run<'_> {
    async fn command(mut self, command: Command) -> Result<u8, Error> {
        match command {
            Command::Status => self.status().await,
            Command::Dashboard(wanted) => self.dashboard(wanted).await,
            Command::Token(command) => self.token(command).await,
            Command::Kubeconfig(wanted) => self.kubeconfig(wanted).await,
            Command::Credential => self.credential().await,
            Command::Certificate(Certificate::Check { all }) => self.check_certificates(all).await,
            Command::Node(command) => self.node(command).await,
            Command::LogLevel(wanted) => self.log_level(wanted).await,
            Command::Sampling(wanted) => self.sampling(wanted).await,
            Command::Trace(command) => self.trace(command).await,
            Command::Hosted(command) => self.hosted(command).await,
            Command::Version { cluster } => self.version(cluster).await,
            Command::Completion { shell } => {
                // Into memory first: the generator doesn't bear a reader that goes away.
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "sextant", &mut script);
                self.host.out.write_all(&script).map_err(Error::output)?;
                Ok(0)
            }
        }
    }

    async fn token(&mut self, command: Token) -> Result<u8, Error> {
        match command {
            Token::Create(wanted) => self.create_token(wanted).await,
            Token::List => {
                let asked = ListTokensRequest {};
                let found = self
                    .session()
                    .await?
                    .ask(async |c| c.list_tokens(asked).await)
                    .await?;
                self.show(&TokensView::from(found))
            }
            Token::Revoke { id } => {
                let asked = RevokeTokenRequest { id: id.clone() };
                let mut session = self.session().await?;
                session
                    .ask(async |c| c.revoke_token(asked.clone()).await)
                    .await?;
                self.show(&RevokedToken { revoked: id })
            }
        }
    }

    async fn node(&mut self, command: Node) -> Result<u8, Error> {
        let mut session = self.session().await?;
        match command {
            Node::List => {
                let found = session
                    .ask(async |c| c.list_nodes(ListNodesRequest {}).await)
                    .await?;
                self.show(&NodesView::from(found))
            }
            Node::Remove { name } => {
                let asked = RemoveNodeRequest { name: name.clone() };
                session
                    .ask(async |c| c.remove_node(asked.clone()).await)
                    .await?;
                self.show(&RemovedNode { removed: name })
            }
        }
    }

    async fn hosted(&mut self, command: HostedPlane) -> Result<u8, Error> {
        match command {
            HostedPlane::Purge {
                plane,
                yes,
                keep_data,
            } => {
                let hosted = self.global.hosted_at(plane);
                let left = hosted::purge(&hosted, !keep_data, yes).await?;
                self.show(&left)?;
                if !left.remain() {
                    return Ok(0);
                }
                self.hint("Nothing was removed: say --yes to remove this for good.\n")?;
                Ok(NOT_READY)
            }
            HostedPlane::CheckUpgrade {
                plane,
                wanted,
                supervisor,
            } => {
                let hosted = self.global.hosted_at(plane);
                let verdict = hosted::check(&hosted, &wanted, &supervisor).await?;
                self.show(&verdict)?;
                Ok(if verdict.is_fine() { 0 } else { NOT_READY })
            }
        }
    }

    async fn version(&mut self, cluster: bool) -> Result<u8, Error> {
        let status = match cluster {
            true => Some(
                self.session()
                    .await?
                    .ask(async |c| c.status(StatusRequest {}).await)
                    .await?,
            ),
            false => None,
        };
        self.show(&VersionView::new(status))
    }

    async fn status(&mut self) -> Result<u8, Error> {
        let mut session = self.session().await?;
        let status = session
            .ask(async |c| c.status(StatusRequest {}).await)
            .await?;
        let nodes = session
            .ask(async |c| c.list_nodes(ListNodesRequest {}).await)
            .await?;
        let view = StatusView::new(status, nodes);
        self.show(&view)?;
        Ok(if view.is_ready() { 0 } else { NOT_READY })
    }

    async fn dashboard(&mut self, wanted: Dashboard) -> Result<u8, Error> {
        let palette = self.host.screen;
        let palette = palette.filter(|_| !wanted.once && self.global.output == Format::Table);
        if let Some(palette) = palette {
            let feed = Feed::new(async || self.session_at(OffsetDateTime::now_utc()).await);
            return live(feed, wanted.interval, palette).await;
        }
        let mut feed = Feed::new(async || self.session().await);
        let answers = feed.look_twice().await?;
        drop(feed);
        let view = DashboardView::new(&answers, self.host.now);
        self.show(&view)?;
        Ok(if view.is_ready() { 0 } else { NOT_READY })
    }

    async fn create_token(&mut self, wanted: TokenCreate) -> Result<u8, Error> {
        let mut session = self.session().await?;
        let asked = token::request(&wanted);
        let made = session
            .ask(async |c| c.create_token(asked.clone()).await)
            .await?;
        if let Some(path) = &wanted.output_file {
            write_private(path, format!("{}\n", made.token).as_bytes())?;
        }
        let compose = self.global.hosted.is_none() && self.global.enrol_dir.is_none();
        let network = compose.then(|| format!("{}_nodes", self.global.project));
        let view = NewToken::new(made, &wanted, network);
        self.hint(&view.hint(&wanted))?;
        self.show(&view)
    }

    async fn check_certificates(&mut self, all: bool) -> Result<u8, Error> {
        let mut session = self.session().await?;
        let asked = ListCertificatesRequest::default();
        let found = session
            .ask(async |c| c.list_certificates(asked).await)
            .await?;
        let view = CertificatesView::new(found, all, self.host.now);
        self.show(&view)?;
        match view.overdue() {
            0 => Ok(0),
            count => {
                self.hint(&format!(
                    "warning: {count} certificate(s) should have been renewed by now: look at the \
                     logs of their requesters and of cert-authority\n"
                ))?;
                Ok(NOT_READY)
            }
        }
    }

    async fn kubeconfig(&mut self, wanted: Kubeconfig) -> Result<u8, Error> {
        let mut session = self.session().await?;
        let asked = KubeAccessRequest {};
        let access = session.ask(async |c| c.kube_access(asked).await).await?;
        let user = if wanted.fixed {
            User::Static(issue(&mut session, wanted.ttl).await?)
        } else {
            let hosted = self.global.hosted().map(|hosted| hosted.pinned());
            User::exec(
                &self.host.program,
                &self.global,
                hosted.transpose()?.as_ref(),
            )
        };
        let view = KubeconfigView::new(access, wanted.api_server, user);
        let Some(path) = wanted.output_file else {
            return self.show(&view);
        };
        write_private(
            &path,
            render(self.global.output, &view, self.host.now)?.as_bytes(),
        )?;
        let shown = std::path::absolute(&path).unwrap_or(path);
        self.hint(&format!(
            "Wrote {0}. Use it with: export KUBECONFIG={0}\n",
            shown.display()
        ))?;
        Ok(0)
    }

    /// Answers kubectl from the cache, and asks the cluster only when half of the certificate's life is over.
    async fn credential(&mut self) -> Result<u8, Error> {
        let state = self.state()?;
        let pair = match fresh(&state, self.host.now)? {
            Some(pair) => pair,
            None => self.renewed(&state).await?,
        };
        let answer = credential::exec_credential(&pair)?;
        self.host
            .out
            .write_all(answer.as_bytes())
            .map_err(Error::output)?;
        Ok(0)
    }

    async fn renewed(&self, state: &State) -> Result<Pair, Error> {
        let _lock = state.lock(credential::LOCK)?;
        if let Some(pair) = fresh(state, self.host.now)? {
            return Ok(pair);
        }
        let mut session = self.session().await?;
        // The cluster knows best how long its administrators' certificates live.
        match issue(&mut session, Duration::ZERO).await {
            Ok(pair) => {
                state.write(credential::FILE, &pair)?;
                Ok(pair)
            }
            Err(error) => {
                let cached = state.read::<Pair>(credential::FILE)?;
                let usable = cached
                    .filter(|pair| pair.is_valid(self.host.now))
                    .ok_or(error)?;
                Ok(usable)
            }
        }
    }

    async fn session(&self) -> Result<Session, Error> {
        self.session_at(self.host.now).await
    }

    async fn session_at(&self, now: OffsetDateTime) -> Result<Session, Error> {
        let Global {
            server,
            enrol_dir,
            project,
            ..
        } = &self.global;
        let hosted = self.global.hosted();
        let server = match (server, &hosted) {
            (Some(server), _) => server.clone(),
            (None, Some(hosted)) => hosted.server().await?,
            (None, None) => SERVER.to_owned(),
        };
        let source = match (hosted, enrol_dir) {
            (Some(hosted), _) => Source::Hosted(hosted),
            (None, Some(folder)) => Source::Folder(folder.clone()),
            (None, None) => Source::Compose {
                project: project.clone(),
                docker: self.host.docker.clone(),
            },
        };
        Ok(Session::new(server, source, self.state()?, now))
    }

    fn state(&self) -> Result<State, Error> {
        let folder = match (&self.global.state_dir, &self.host.state_home) {
            (Some(folder), _) => folder.clone(),
            (None, Some(home)) => home.join(self.global.context()),
            (None, None) => return Err(Error::Homeless),
        };
        State::open(&folder)
    }

    fn show<V: View>(&mut self, view: &V) -> Result<u8, Error> {
        let text = render(self.global.output, view, self.host.now)?;
        self.host
            .out
            .write_all(text.as_bytes())
            .map_err(Error::output)?;
        Ok(0)
    }

    fn hint(&mut self, text: &str) -> Result<(), Error> {
        self.host
            .err
            .write_all(text.as_bytes())
            .map_err(Error::output)
    }
}

/// The cached certificate while nothing needs to be done about it.
fn fresh(state: &State, now: OffsetDateTime) -> Result<Option<Pair>, Error> {
    let cached = state.read::<Pair>(credential::FILE)?;
    Ok(cached.filter(|pair| pair.is_valid(now) && !pair.is_due(now)))
}

/// A client certificate for kube-apiserver; a life of zero is the cluster's default.
async fn issue(session: &mut Session, life: Duration) -> Result<Pair, Error> {
    let key = new_key()?;
    let wanted = IssueKubeCredentialRequest {
        csr: request(&key)?,
        ttl_seconds: i64::try_from(life.as_secs()).unwrap_or(i64::MAX),
    };
    let made = session
        .ask(async |c| c.issue_kube_credential(wanted.clone()).await)
        .await?;
    Pair::new(made.certificate, &key)
}
