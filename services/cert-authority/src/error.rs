//! What can go wrong, with a stable code each.

use crate::domain::account::AccountError;
use crate::domain::csr::CsrError;
use crate::domain::denied::Denied;
use crate::domain::enrolment::TokenError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An error of cert-authority.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ServiceAccount token is no good.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// An authority's ten years are over.
    #[error(
        "the {authority} authority expired at {not_after} (seconds since 1970): the cluster's authorities must be replaced"
    )]
    AuthorityExpired {
        /// Which one.
        authority: &'static str,
        /// When.
        not_after: i64,
    },
    /// The clock shows a time before the authorities were made.
    #[error(
        "the system clock shows {now}, {} s before the cluster's authorities are valid ({valid_from}, seconds since 1970): set the clock",
        valid_from - now
    )]
    ClockBehind {
        /// What the clock shows.
        now: i64,
        /// Since when the authorities are valid.
        valid_from: i64,
    },
    /// A setting that can't be.
    #[error("configuration: {0}")]
    Config(String),
    /// A primitive failed that never should.
    #[error("cryptography failed while {0}")]
    Crypto(&'static str),
    /// The certificate request is no good.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The issuing table says no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The enrolment token is no good.
    #[error(transparent)]
    EnrolmentToken(#[from] TokenError),
    /// An identity's private volume isn't there.
    #[error("{} is not there: mount the identity's private volume, or take the identity out of enrolment.identities", .0.display())]
    EnrolmentVolume(PathBuf),
    /// A file or folder could not be used.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried, e.g. "reading".
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The hosting cluster can't be asked, or says no.
    #[error(transparent)]
    Hosting(#[from] sextant_hosting::Error),
    /// Names, certificates or the mesh listener.
    #[error(transparent)]
    Identity(#[from] sextant_identity::Error),
    /// The keyring can't be opened.
    #[error("the keyring can't be opened: {0}")]
    Keyring(#[from] KeyringProblem),
    /// The shell: the listener.
    #[error(transparent)]
    Kit(#[from] sextant_kit::Error),
    /// The ciphertext isn't what Encrypt returned.
    #[error(
        "the ciphertext was changed or was not made by this key: restore the object or the keyring from the same snapshot"
    )]
    KmsCiphertext,
    /// Another keyring's key is asked for.
    #[error(
        "key {asked:?} is asked for, this keyring has key {held:?}: restore the keyring that the datastore was written with"
    )]
    KmsKey {
        /// The key id of the request.
        asked: String,
        /// The id of our key.
        held: String,
    },
    /// Another process has the state folder.
    #[error("another cert-authority uses {}: stop it, one process at a time can keep the issuance log", .0.display())]
    Locked(PathBuf),
    /// A row in the middle of the issuance log is damaged.
    #[error("the issuance log {} is damaged at line {line} ({reason}), and later rows are whole: restore it from a snapshot, or move it away to begin a new one", path.display())]
    LogCorrupt {
        /// The log.
        path: PathBuf,
        /// First damaged line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A row could not be made durable; nothing was issued.
    #[error("nothing was issued, since the issuance log {} can't be written: {source}", path.display())]
    LogWrite {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The caller has no identity that the call needs.
    #[error("this call needs a mesh certificate: enrol first")]
    NoIdentity,
    /// Not sealed by this caller for this purpose with this keyring.
    #[error(
        "this was not sealed by {caller} for purpose {purpose:?} with this keyring, or was changed since"
    )]
    NotSealedHere {
        /// Who asks.
        caller: String,
        /// For what.
        purpose: String,
    },
    /// A sealed secret without a purpose.
    #[error(
        "the purpose is empty: name what the secret is for, the same when sealing and unsealing"
    )]
    PurposeMissing,
    /// The hosting cluster can't be asked whose token it is.
    #[error(
        "whose ServiceAccount token this is can't be asked now: {0}; try again, certificates that were issued stay good meanwhile"
    )]
    Review(sextant_hosting::Error),
    /// The hosting cluster is being asked already as often as it may be at once.
    #[error("too many ServiceAccount tokens are being checked at once: try again")]
    ReviewsBusy,
    /// A certificate could not be written.
    #[error("signing: {0}")]
    Signing(rcgen::Error),
    /// The process is stopping.
    #[error("cert-authority is stopping: ask again")]
    Stopping,
    /// More bytes than the bound.
    #[error("{what} is longer than {limit} bytes")]
    TooLong {
        /// What is.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Too many enrolments from one address.
    #[error("too many enrolments from this address: wait {} s", wait.as_secs_f64().ceil())]
    TooManyAttempts {
        /// Until the next is admitted.
        wait: Duration,
    },
}

/// Why a keyring can't be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringProblem {
    /// The ciphertext doesn't authenticate, or its content doesn't parse.
    #[error(
        "keyring.sealed is damaged: restore it from a snapshot; it is never made anew by itself, since every certificate and Secret of the cluster depends on it"
    )]
    Damaged,
    /// A format of another version.
    #[error(
        "keyring.sealed has format {found}, this version knows format {known}: use the version that wrote it"
    )]
    Format {
        /// In the file.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// There is a log of issued certificates but no keyring.
    #[error("keyring.sealed is missing from {}, though certificates were issued from it (issued.log): restore keyring.sealed from a snapshot, or empty both volumes to begin a new cluster", .0.display())]
    Lost(PathBuf),
    /// An entry isn't there.
    #[error("keyring.sealed has no entry {tag}: restore it from a snapshot")]
    MissingEntry {
        /// Its tag.
        tag: u8,
    },
    /// Something else is in the file.
    #[error("keyring.sealed doesn't begin as a keyring does: restore it from a snapshot")]
    NotAKeyring,
    /// `<name>-state` says that there was a keyring.
    #[error(
        "Secret {keyring} is missing, though there was a keyring once (Secret {state}, or issued.log): restore {keyring} from a backup, or delete {state} and the issuance logs to begin a new cluster"
    )]
    SecretLost {
        /// The Secret of the state.
        state: String,
        /// The Secret of the keyring.
        keyring: String,
    },
    /// The seal key is another one.
    #[error(
        "keyring.sealed was sealed under another key than seal.key: restore the seal.key that belongs to it"
    )]
    OtherSealKey,
    /// The seal key has the wrong length.
    #[error("{place} is {length} bytes long, a seal key has 32: restore seal.key from its backup")]
    SealKeyLength {
        /// The file, or the Secret.
        place: String,
        /// What it has.
        length: usize,
    },
    /// The seal key is gone.
    #[error(
        "keyring.sealed is there, but its seal key {0} is not: restore seal.key from its backup (mount the volume that holds it)"
    )]
    SealKeyLost(String),
    /// Replicas share a seal key that nobody has given them.
    #[error(
        "there is no seal key {0}: with hosting.seal=folder and the state in Secrets each replica would make a key of its own, so give it (32 random bytes) before the first start"
    )]
    SealKeyWanted(String),
    /// The file ends within the header.
    #[error("keyring.sealed is cut short: restore it from a snapshot")]
    Short,
    /// `<name>-state` is gone, and with it whether the bootstrap is over.
    #[error(
        "Secret {state} is missing, though Secret {keyring} is there: restore both from the same backup; else whether the bootstrap is over isn't known"
    )]
    StateLost {
        /// The Secret of the state.
        state: String,
        /// The Secret of the keyring.
        keyring: String,
    },
    /// An entry of a newer version.
    #[error(
        "keyring.sealed has an entry {tag} that this version doesn't know: use the version that wrote it"
    )]
    UnknownEntry {
        /// Its tag.
        tag: u8,
    },
}

impl Error {
    /// Stable name, for metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Account(AccountError::Audience { .. }) => "account_audience",
            Self::Account(AccountError::NotAuthenticated(_)) => "account_not_authenticated",
            Self::Account(AccountError::Stranger { .. }) => "account_stranger",
            Self::AuthorityExpired { .. } => "authority_expired",
            Self::ClockBehind { .. } => "clock_behind",
            Self::Config(_) => "config",
            Self::Crypto(_) => "crypto",
            Self::Csr(CsrError::Malformed) => "csr_malformed",
            Self::Csr(CsrError::NotP256) => "csr_not_p256",
            Self::Csr(CsrError::Signature) => "csr_signature",
            Self::Csr(CsrError::TooLong) => "csr_too_long",
            Self::Denied(denied) => denied.reason.code(),
            Self::EnrolmentToken(TokenError::Expired) => "enrolment_token_expired",
            Self::EnrolmentToken(TokenError::Forged) => "enrolment_token_forged",
            Self::EnrolmentToken(TokenError::Malformed) => "enrolment_token_malformed",
            Self::EnrolmentVolume(_) => "enrolment_volume",
            Self::File { .. } => "file",
            Self::Hosting(_) => "hosting",
            Self::Identity(_) => "identity",
            Self::Keyring(_) => "keyring",
            Self::Kit(_) => "kit",
            Self::KmsCiphertext => "kms_ciphertext",
            Self::KmsKey { .. } => "kms_key",
            Self::Locked(_) => "locked",
            Self::LogCorrupt { .. } => "log_corrupt",
            Self::LogWrite { .. } => "log_write",
            Self::NoIdentity => "no_identity",
            Self::NotSealedHere { .. } => "not_sealed_here",
            Self::PurposeMissing => "purpose_missing",
            Self::Review(_) => "review",
            Self::ReviewsBusy => "reviews_busy",
            Self::Signing(_) => "signing",
            Self::Stopping => "stopping",
            Self::TooLong { .. } => "too_long",
            Self::TooManyAttempts { .. } => "too_many_attempts",
        }
    }
}
