//! The issuing table: who may ask for which profile, and what the certificate then is. Total and pure; a request
//! brings nothing into a certificate but a node's name and addresses, after they were checked.

use super::denied::{DenialReason, Denied};
use super::node::AdmittedNode;
use super::policy::{FILES_FLOOR, MESH_FLOOR, Policy};
use super::profile::{Profile, Request, Subject};
use super::san::{COMPONENT_SERVERS, LOOPBACK_V4, San, apiserver_sans, datastore_sans, dns};
use sextant_identity::{Authority, Identity, ServiceName, TrustDomain};

/// Certificates are valid from a little before now, for machines whose clock is behind.
pub const BACKDATE_SECONDS: i64 = 30;

/// What a certificate will say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Who signs.
    pub authority: Authority,
    /// CN of the subject.
    pub common_name: String,
    /// O of the subject: the group, to Kubernetes.
    pub organization: Option<&'static str>,
    /// Subject alternative names.
    pub sans: Vec<San>,
    /// Extended key usage.
    pub usage: Usage,
    /// Start of validity, seconds since 1970.
    pub not_before: i64,
    /// End of validity, seconds since 1970.
    pub not_after: i64,
}

/// Extended key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// clientAuth.
    Client,
    /// clientAuth and serverAuth.
    ClientAndServer,
    /// serverAuth.
    Server,
}

/// The table.
pub fn template(
    policy: &Policy,
    trust_domain: &TrustDomain,
    request: &Request,
    now: i64,
) -> Result<Template, Denied> {
    let row = row(policy, trust_domain, request)?;
    let life = life(policy, request)?;
    Ok(Template {
        authority: row.authority,
        common_name: row.common_name,
        organization: row.organization,
        sans: row.sans,
        usage: row.usage,
        not_before: now - BACKDATE_SECONDS,
        not_after: now + life,
    })
}

struct Row {
    authority: Authority,
    common_name: String,
    organization: Option<&'static str>,
    sans: Vec<San>,
    usage: Usage,
}

fn row(policy: &Policy, trust_domain: &TrustDomain, request: &Request) -> Result<Row, Denied> {
    use ServiceName::{
        DatastoreProxy, KubeApiserver, KubeControllerManager, KubeScheduler, Supervisor,
        TokenService,
    };
    Ok(match request.profile {
        Profile::AdminClient => {
            own(request, &[Supervisor])?;
            cluster_client("sextant:admin", Some("sextant:admins"))
        }
        Profile::ApiserverKubeletClient => {
            own(request, &[KubeApiserver])?;
            cluster_client("sextant:kube-apiserver", Some("sextant:kubelet-clients"))
        }
        Profile::ApiserverServing => {
            own(request, &[KubeApiserver])?;
            server(
                Authority::ClusterServer,
                "kube-apiserver",
                apiserver_sans(policy),
            )
        }
        Profile::ComponentServing => {
            let service = own(request, &COMPONENT_SERVERS)?.as_str();
            let sans = vec![dns(service), dns("localhost"), LOOPBACK_V4];
            server(Authority::ClusterServer, service, sans)
        }
        Profile::ControllerManagerClient => {
            own(request, &[KubeControllerManager])?;
            cluster_client("system:kube-controller-manager", None)
        }
        Profile::DatastoreClient => {
            let service = own(request, &[KubeApiserver, Supervisor, TokenService])?;
            Row {
                authority: Authority::Datastore,
                common_name: service.as_str().to_owned(),
                organization: None,
                sans: vec![uri(trust_domain, &Identity::Service(service))],
                usage: Usage::Client,
            }
        }
        Profile::DatastoreServer => {
            let service = own(request, &[DatastoreProxy])?;
            let mut sans = datastore_sans(policy);
            sans.push(uri(trust_domain, &Identity::Service(service)));
            server(Authority::Datastore, service.as_str(), sans)
        }
        Profile::KubeProxyClient => {
            let node = node(policy, request)?;
            let name = format!("sextant:kube-proxy:{}", node.name);
            cluster_client(&name, Some("sextant:kube-proxies"))
        }
        Profile::KubeletClient => {
            let node = node(policy, request)?;
            cluster_client(&format!("system:node:{}", node.name), Some("system:nodes"))
        }
        Profile::KubeletServing => {
            let node = node(policy, request)?;
            let mut sans = vec![dns(node.name.as_str())];
            sans.extend(node.addresses.into_iter().map(San::Ip));
            let name = format!("system:node:{}", node.name);
            let row = server(Authority::ClusterServer, &name, sans);
            Row {
                organization: Some("system:nodes"),
                ..row
            }
        }
        Profile::Mesh => mesh(trust_domain, &mesh_holder(policy, request)?),
        Profile::MetricsServerServing => {
            own(request, &[Supervisor])?;
            let sans = vec![dns("metrics-server.kube-system.svc")];
            server(Authority::ClusterServer, "metrics-server", sans)
        }
        Profile::ProbeClient => {
            let service = own(
                request,
                &[KubeApiserver, KubeControllerManager, KubeScheduler],
            )?;
            cluster_client(&format!("sextant:probe:{}", service.as_str()), None)
        }
        Profile::RequestHeaderClient => {
            own(request, &[KubeApiserver])?;
            let row = cluster_client("front-proxy-client", None);
            Row {
                authority: Authority::RequestHeader,
                ..row
            }
        }
        Profile::SchedulerClient => {
            own(request, &[KubeScheduler])?;
            cluster_client("system:kube-scheduler", None)
        }
        Profile::SupervisorBootstrap => {
            own(request, &[Supervisor])?;
            if !request.bootstrap_open {
                return Err(Denied::new(
                    DenialReason::BootstrapComplete,
                    "the bootstrap of this cluster is complete, system:masters is closed for good: \
                     use PROFILE_SUPERVISOR_CLIENT"
                        .to_owned(),
                ));
            }
            cluster_client("sextant:bootstrap", Some("system:masters"))
        }
        Profile::SupervisorClient => {
            own(request, &[Supervisor])?;
            cluster_client("sextant:supervisor", Some("sextant:supervisors"))
        }
    })
}

/// Seconds that the certificate lives: the profile's, or less when less was wished.
fn life(policy: &Policy, request: &Request) -> Result<i64, Denied> {
    let lives = &policy.lives;
    let (most, least) = match request.profile {
        Profile::AdminClient | Profile::SupervisorClient => (lives.default_seconds, MESH_FLOOR),
        Profile::ApiserverKubeletClient => (lives.apiserver_kubelet_client_seconds, FILES_FLOOR),
        Profile::ApiserverServing
        | Profile::ComponentServing
        | Profile::ControllerManagerClient
        | Profile::DatastoreClient
        | Profile::DatastoreServer
        | Profile::KubeProxyClient
        | Profile::KubeletClient
        | Profile::KubeletServing
        | Profile::MetricsServerServing
        | Profile::ProbeClient
        | Profile::RequestHeaderClient
        | Profile::SchedulerClient => (lives.default_seconds, FILES_FLOOR),
        Profile::Mesh => (lives.mesh_seconds, MESH_FLOOR),
        Profile::SupervisorBootstrap => (lives.bootstrap_seconds, MESH_FLOOR),
    };
    match request.ttl {
        None => Ok(most),
        Some(wished) if wished < least => Err(Denied::new(
            DenialReason::Ttl,
            format!(
                "a life of {wished} s was asked for: {} lives at least {least} s, since its holder \
                 renews it at half life",
                request.profile.as_str()
            ),
        )),
        Some(wished) => Ok(wished.min(most)),
    }
}

/// The asker, if it is one of `allowed` and asks for itself.
fn own(request: &Request, allowed: &[ServiceName]) -> Result<ServiceName, Denied> {
    let service = match &request.requester {
        Identity::Service(service) if allowed.contains(service) => *service,
        Identity::Service(_) | Identity::Node(_) | Identity::Admin => {
            return Err(refuse_requester(request));
        }
    };
    match request.subject {
        Subject::Own => Ok(service),
        Subject::Admin | Subject::Node { .. } => Err(Denied::new(
            DenialReason::Subject,
            format!(
                "{} is never for a node or `admin`: leave both unset",
                request.profile.as_str()
            ),
        )),
    }
}

/// The node that the supervisor asks for.
fn node<'a>(policy: &Policy, request: &'a Request) -> Result<AdmittedNode<'a>, Denied> {
    if request.requester != Identity::Service(ServiceName::Supervisor) {
        return Err(refuse_requester(request));
    }
    match &request.subject {
        Subject::Node { name, addresses } => AdmittedNode::check(policy, name, addresses),
        Subject::Own | Subject::Admin => Err(Denied::new(
            DenialReason::Subject,
            format!("{} is for a node: set `node`", request.profile.as_str()),
        )),
    }
}

/// Services and the administrator renew their own; nodes and the administrator are also served by the supervisor.
fn mesh_holder(policy: &Policy, request: &Request) -> Result<Identity, Denied> {
    match (&request.subject, &request.requester) {
        (Subject::Own, Identity::Service(_) | Identity::Admin) => Ok(request.requester.clone()),
        (Subject::Admin, Identity::Service(ServiceName::Supervisor)) => Ok(Identity::Admin),
        (Subject::Node { .. }, Identity::Service(ServiceName::Supervisor)) => {
            Ok(Identity::Node(node(policy, request)?.name.clone()))
        }
        (Subject::Own, Identity::Node(_)) => Err(Denied::new(
            DenialReason::Requester,
            "a node renews its certificates through its supervisor session".to_owned(),
        )),
        (Subject::Admin | Subject::Node { .. }, _) => Err(refuse_requester(request)),
    }
}

fn refuse_requester(request: &Request) -> Denied {
    let (requester, profile) = (&request.requester, request.profile.as_str());
    Denied::new(
        DenialReason::Requester,
        format!(
            "the issuing table doesn't give {profile} to {requester}: ask for a profile of its row"
        ),
    )
}

fn mesh(trust_domain: &TrustDomain, holder: &Identity) -> Row {
    Row {
        authority: Authority::Mesh,
        common_name: holder.to_string(),
        organization: None,
        sans: vec![uri(trust_domain, holder)],
        usage: Usage::ClientAndServer,
    }
}

fn cluster_client(common_name: &str, organization: Option<&'static str>) -> Row {
    Row {
        authority: Authority::ClusterClient,
        common_name: common_name.to_owned(),
        organization,
        sans: Vec::new(),
        usage: Usage::Client,
    }
}

fn server(authority: Authority, common_name: &str, sans: Vec<San>) -> Row {
    Row {
        authority,
        common_name: common_name.to_owned(),
        organization: None,
        sans,
        usage: Usage::Server,
    }
}

fn uri(trust_domain: &TrustDomain, identity: &Identity) -> San {
    San::Uri(identity.to_uri(trust_domain))
}
