//! Why datastore-proxy does not start, or stops.

use crate::store::StoreError;
use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;

/// A failure of the process, not of a request (that is [`crate::domain::fault::Fault`]).
#[derive(Debug, Error)]
pub enum Error {
    /// The authorities of the database can't be used.
    #[error("database.ca_file: {0}; it must hold certificates in PEM form")]
    DatabaseAuthority(String),
    /// Stopped before it served.
    #[error("told to stop before the datastore could be reached")]
    Drained,
    /// The endpoint isn't one that is known.
    #[error(
        "endpoint {0:?} isn't known: write sqlite:///path/to/state.db, with an absolute path, \
         postgres://user@host:5432/database?schema=name, mysql://user@host:3306/database, or etcd://host:2379,host2:2379 with an optional /prefix"
    )]
    Endpoint(String),
    /// The keys of two planes would mix.
    #[error(
        "prefix {prefix:?} and prefix {other:?}, which this etcd knows already, lie within each other: take one \
         beside it, or, if {other:?} is not used any more, remove its record as docs/datastore-etcd.md says"
    )]
    EtcdEntangled {
        /// The prefix of this plane.
        prefix: String,
        /// The other one.
        other: String,
    },
    /// A file for TLS can't be used.
    #[error("TLS to the etcd: {file}: {found}", file = file.display())]
    EtcdFile {
        /// Which.
        file: PathBuf,
        /// Why.
        found: String,
    },
    /// A certificate without its key, or the other way round.
    #[error(
        "TLS to the etcd: etcd.certificate_file and etcd.key_file go together: set both or none"
    )]
    EtcdHalfPair,
    /// Plaintext would leave the machine.
    #[error(
        "etcd member {0} is not on a loopback address, so it is reached by TLS only: set etcd.ca_file, and \
         etcd.certificate_file and etcd.key_file if it wants a client certificate"
    )]
    EtcdPlaintext(String),
    /// A plane that takes the whole etcd finds others there.
    #[error(
        "this etcd is shared by planes, one of them under {0:?}: give this one a prefix of its own, too, as in \
         etcd://host:2379/planes/name"
    )]
    EtcdShared(String),
    /// A file can't be read.
    #[error("reading {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// No certificate, or no TLS with it.
    #[error(transparent)]
    Identity(#[from] sextant_identity::Error),
    /// A snapshot isn't whole, or the store in it isn't.
    #[error("{} is not a whole snapshot: nothing was restored from it; take another one", .0.display())]
    Damaged(PathBuf),
    /// Something would be overwritten.
    #[error("{} exists: move it away first, nothing is overwritten", .0.display())]
    Exists(PathBuf),
    /// A file can't be read or written.
    #[error("{doing} {}: {found}", path.display())]
    FileAccess {
        /// What was tried.
        doing: String,
        /// With which file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// What was imported is not what is there.
    #[error(
        "the imported store differs from {from}: {found}; nothing was kept, and the original was only read"
    )]
    Import {
        /// The original.
        from: String,
        /// What was found.
        found: String,
    },
    /// What was copied is not what is there.
    #[error(
        "what was written to {0} differs from the original: it is not used; the original was only read. Please report this"
    )]
    MigrationDiffers(String),
    /// Somebody writes to a store that is migrated.
    #[error("{0}: a replica of datastore-proxy writes there; stop all of them and begin again")]
    MigrationDisturbed(String),
    /// An etcd gives its revisions to nobody and takes none.
    #[error(
        "an etcd can't be migrated with its revisions: it numbers what it is given itself, and the past of a key can't \
         be read from it as a whole; from and to are sqlite:///…, postgres://… or mysql://…"
    )]
    MigrationOfEtcd,
    /// There is nothing to copy.
    #[error("there is nothing in {0}: check the endpoint")]
    MigrationOfNothing(String),
    /// The target isn't empty.
    #[error("{0} holds something already: nothing is overwritten, name an empty one")]
    MigrationOverSomething(String),
    /// The endpoint is no file that could be worked on.
    #[error(
        "this works on a SQLite file: write --endpoint sqlite:///path/to/state.db; other databases have tools of their own"
    )]
    NotAFile,
    /// Plaintext is asked for on an address that others can reach.
    #[error(
        "insecure_loopback serves without TLS, so it needs a loopback address: listen is {0}, write 127.0.0.1:2379"
    )]
    NotLoopback(SocketAddr),
    /// A password where arguments and logs would show it.
    #[error(
        "the endpoint holds a password: put it into a file and name that in database.password_file"
    )]
    PasswordInEndpoint,
    /// The address of this replica isn't known.
    #[error("finding out how other replicas reach this one: {0}; write peer.address: host:port")]
    PeerAddress(String),
    /// A database on another machine without TLS.
    #[error(
        "the database is on another machine, and database.ca_file is empty: name the authorities of its certificate"
    )]
    PlaintextDatabase,
    /// The endpoint of a PostgreSQL server is not in the right form.
    #[error("the endpoint is not of the form postgres://user@host:5432/database?schema=name: {0}")]
    Postgres(String),
    /// The endpoint of a MySQL server is not in the right form.
    #[error("the endpoint is not of the form mysql://user@host:3306/database: {0}")]
    MySql(String),
    /// The name of the schema isn't one that is allowed.
    #[error(
        "schema or database {0:?} isn't a name: use up to 63 of a-z, 0-9 and _, beginning with a letter"
    )]
    Schema(String),
    /// The listener failed.
    #[error("serving etcd clients: {0}")]
    Serve(String),
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file with a certificate or key can't be used.
    #[error(
        "{} can't be used for TLS: {reason}; tls.cert, tls.key and tls.client_ca are PEM files, all three of them",
        path.display()
    )]
    TlsFile {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A thread can't be started.
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
    /// A setting would be without effect.
    #[error(
        "tls names files, but replicas on PostgreSQL have their certificates from cert-authority, for each other too: \
         take tls out, or serve with insecure_loopback on this machine alone"
    )]
    TlsFilesOfReplicas,
}
