//! Who may do what: operations, the roles that may use them, and how callers prove theirs.

use std::{
    fmt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use super::tls::Peer;
use crate::{
    event::Begin,
    plan::{AccessPlan, Role, TokenPlan},
    source::files,
};

/// The shortest token that is taken, in bytes: what is shorter can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// What a request does, as far as access is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Asks whether the engine lives: everybody may.
    Probe,
    /// Reads the engine's own metrics.
    Scrape,
    /// Brings data.
    Push,
    /// Reads verdicts.
    Read,
    /// Begins, steps, ends a deployment.
    Drive,
    /// Overrides a gate, opens a hotfix, or changes the engine.
    Privileged,
}

/// The roles of a caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles(u8);

/// By what a caller proved who it is, in words: the history has it. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller(pub(super) String);

/// Tells callers apart.
pub(super) struct Guard {
    tokens: Vec<Token>,
    certificates: Vec<(String, Role)>,
    /// Requests without a token or certificate that is known.
    strangers: AtomicU64,
    /// Requests of a role that may not.
    forbidden: AtomicU64,
}

/// A token, of which only the digest is kept.
struct Token {
    role: Role,
    /// Where the token is kept: what it is called.
    file: String,
    digest: [u8; 32],
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// Nobody knows who it is.
    Stranger(Operation),
    /// It is somebody who may not.
    Forbidden(Operation),
}

/// A file of `access` or `tls` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessError {
    /// Key of the file in the configuration.
    pub key: String,
    /// What is wrong, and what would be right. Never what the file holds.
    pub problem: String,
}

impl Operation {
    /// The roles that may; `None`: everybody, also who says not who they are.
    pub(super) const fn roles(self) -> Option<&'static [Role]> {
        match self {
            Self::Probe => None,
            Self::Scrape => Some(&Role::ALL),
            Self::Push => Some(&[Role::Ingest]),
            Self::Read | Self::Drive => Some(&[Role::Deploy, Role::Admin]),
            Self::Privileged => Some(&[Role::Admin]),
        }
    }

    /// What an RPC does; `None`: nobody has decided that, so nobody may.
    pub(super) fn of_rpc(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.rsplit_once('/')?;
        match (service, method) {
            ("sluice.v1.Gates", "Begin" | "ReportStep" | "End") => Some(Self::Drive),
            (
                "sluice.v1.Gates",
                "GetVerdict" | "WatchVerdict" | "ListDeployments" | "ListVerdicts" | "MayPromote",
            )
            | (
                "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection",
                "ServerReflectionInfo",
            ) => Some(Self::Read),
            ("sluice.v1.Gates", "Bypass") => Some(Self::Privileged),
            // The names of gates are kept to readers by the service itself.
            ("grpc.health.v1.Health", "Check" | "Watch" | "List") => Some(Self::Probe),
            (
                "opentelemetry.proto.collector.metrics.v1.MetricsService"
                | "opentelemetry.proto.collector.logs.v1.LogsService",
                "Export",
            ) => Some(Self::Push),
            _ => None,
        }
    }
}

impl Operation {
    /// What beginning a deployment is: a hotfix skips what others have to prove.
    pub(super) fn of_begin(begin: &Begin) -> Self {
        match begin.hotfix {
            Some(_) => Self::Privileged,
            None => Self::Drive,
        }
    }

    /// Whether it changes anything: data do, too.
    pub(super) const fn is_act(self) -> bool {
        matches!(self, Self::Push | Self::Drive | Self::Privileged)
    }
}

impl Roles {
    /// Every role: of whoever comes where nobody has to say who they are.
    const ALL: Self = Self(u8::MAX);

    fn add(&mut self, role: Role) {
        self.0 |= 1 << role as u8;
    }

    fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// Whether a caller with these may.
    pub(super) fn may(self, operation: Operation) -> bool {
        let roles = operation.roles();
        roles.is_none_or(|roles| roles.iter().any(|role| self.has(*role)))
    }
}

impl Token {
    /// Reads the token that stands at an index of the configuration.
    fn read(index: usize, token: &TokenPlan) -> Result<Self, AccessError> {
        let error = |problem: String| AccessError {
            key: format!("access.tokens[{index}].file"),
            problem,
        };
        let text = files::text(Path::new(&token.file));
        let text = text.map_err(|fault| error(fault.to_string()))?;
        let secret = text.trim();
        let is_visible = secret.bytes().all(|byte| byte.is_ascii_graphic());
        if secret.len() < TOKEN_BYTES_MIN || !is_visible {
            return Err(error(format!(
                "{}: no token: write one line of at least {TOKEN_BYTES_MIN} visible ASCII characters, such \
                 as openssl rand -hex 32 gives",
                token.file
            )));
        }
        Ok(Self {
            role: token.role,
            file: token.file.clone(),
            digest: digest(secret),
        })
    }
}

impl Guard {
    /// Reads the tokens.
    ///
    /// # Errors
    /// A file cannot be read, or holds no token.
    pub(super) fn new(plan: &AccessPlan) -> Result<Self, AccessError> {
        let tokens = plan.tokens.iter().enumerate();
        let tokens = tokens.map(|(index, token)| Token::read(index, token));
        Ok(Self {
            tokens: tokens.collect::<Result<_, _>>()?,
            certificates: plan
                .certificates
                .iter()
                .map(|certificate| (certificate.name.clone(), certificate.role))
                .collect(),
            strangers: AtomicU64::new(0),
            forbidden: AtomicU64::new(0),
        })
    }

    /// Every file of tokens that cannot be used.
    pub(super) fn faults(plan: &AccessPlan) -> impl Iterator<Item = AccessError> {
        let tokens = plan.tokens.iter().enumerate();
        tokens.filter_map(|(index, token)| Token::read(index, token).err())
    }

    /// Counts on from where another stands.
    pub(super) fn counts_on(&self, other: &Self) {
        for (mine, theirs) in [
            (&self.strangers, &other.strangers),
            (&self.forbidden, &other.forbidden),
        ] {
            mine.fetch_add(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Whether somebody has to say who they are.
    pub(super) fn is_restricted(&self) -> bool {
        !self.tokens.is_empty() || !self.certificates.is_empty()
    }

    /// The roles of a caller: those of its token and those of its certificate.
    ///
    /// # Errors
    /// The caller may not do this.
    pub(super) fn admit(
        &self,
        operation: Operation,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Roles, Denied> {
        if !self.is_restricted() {
            return Ok(Roles::ALL);
        }
        let roles = self.roles(headers, peer);
        if operation == Operation::Probe {
            return Ok(roles.unwrap_or_default());
        }
        let roles = roles.unwrap_or_default();
        self.demand(operation, roles)?;
        Ok(roles)
    }

    /// Whether a caller with these roles may, and counts where not.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn demand(&self, operation: Operation, roles: Roles) -> Result<(), Denied> {
        if roles.may(operation) {
            return Ok(());
        }
        if roles == Roles::default() {
            self.strangers.fetch_add(1, Ordering::Relaxed);
            return Err(Denied::Stranger(operation));
        }
        self.forbidden.fetch_add(1, Ordering::Relaxed);
        Err(Denied::Forbidden(operation))
    }

    /// The roles of a caller; `None`: it sends a token that nobody knows.
    fn roles(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Option<Roles> {
        let mut roles = Roles::default();
        for (name, role) in &self.certificates {
            if peer.is_some_and(|peer| peer.is_named(name)) {
                roles.add(*role);
            }
        }
        if headers.contains_key(header::AUTHORIZATION) && !self.tokens.is_empty() {
            let given = digest(&secret(headers)?);
            let mut is_known = false;
            for token in &self.tokens {
                if is_equal(&token.digest, &given) {
                    roles.add(token.role);
                    is_known = true;
                }
            }
            if !is_known {
                return None;
            }
        }
        Some(roles)
    }

    /// Who a caller is that may do this: every token and certificate that says so.
    pub(super) fn caller(
        &self,
        operation: Operation,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Caller {
        let may = |role: Role| operation.roles().is_none_or(|roles| roles.contains(&role));
        let given = secret(headers).map(|secret| digest(&secret));
        let is_given = |token: &&Token| given.is_some_and(|given| is_equal(&token.digest, &given));
        let tokens = self.tokens.iter().filter(|token| may(token.role));
        let tokens = tokens
            .filter(is_given)
            .map(|token| format!("token {}", token.file));
        let certificates = self
            .certificates
            .iter()
            .filter(|(name, role)| may(*role) && peer.is_some_and(|peer| peer.is_named(name)));
        let certificates = certificates.map(|(name, _)| format!("certificate {name}"));
        let proofs: Vec<String> = tokens.chain(certificates).collect();
        if proofs.is_empty() {
            return Caller("anonymous".to_owned());
        }
        Caller(proofs.join(", "))
    }

    /// Requests that were refused, by their reason.
    pub(super) fn denials(&self) -> [(&'static str, u64); 2] {
        [
            ("forbidden", self.forbidden.load(Ordering::Relaxed)),
            ("unauthenticated", self.strangers.load(Ordering::Relaxed)),
        ]
    }
}

/// The token of a request: a bearer token, or the password of those who can send nothing else.
fn secret(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = text.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
        return decoded.split_once(':').map(|(_, secret)| secret.to_owned());
    }
    None
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Looks at every byte, so that the time tells nothing of where two digests differ.
fn is_equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Tokens are never shown, also not as digests.
impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("tokens", &self.tokens.len())
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

/// What is said to who is refused.
impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Stranger(operation) | Self::Forbidden(operation)) = self;
        let roles = operation.roles().unwrap_or_default();
        let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        let names = names.join(" or ");
        match self {
            Self::Stranger(_) => write!(
                f,
                "not known here: send \"Authorization: Bearer …\" with a token of role {names}"
            ),
            Self::Forbidden(_) => write!(f, "not with this role: it takes role {names}"),
        }
    }
}

/// `key: problem`.
impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for AccessError {}
