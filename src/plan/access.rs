//! The keys `tls` and `access` of a configuration: who reaches the engine, and what they may do.

use std::net::SocketAddr;

use super::{
    Plan,
    fault::Warning,
    tree::Tree,
    walk::{Entries, Place},
};

/// Encrypted connections, on every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPlan {
    /// The engine's certificate, PEM, with those that lead to its root.
    pub cert_file: String,
    /// The key of the certificate, PEM.
    pub key_file: String,
    /// Roots of the certificates that clients must show, PEM. `None`: they show none.
    pub client_ca_file: Option<String>,
}

/// Who may do what. With neither tokens nor certificates whoever reaches the engine may do
/// everything, so that it listens on loopback only, unless told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPlan {
    /// Bearer tokens and their roles. One file may stand under several roles.
    pub tokens: Vec<TokenPlan>,
    /// Names of client certificates and their roles; only with [`TlsPlan::client_ca_file`].
    pub certificates: Vec<CertificatePlan>,
    /// Lets the engine listen beyond loopback although nobody has to say who they are. Default
    /// false; for a network that is closed otherwise.
    pub anonymous: bool,
}

/// A bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPlan {
    /// What its bearer may do.
    pub role: Role,
    /// File that holds the token. The token itself is never in a configuration.
    pub file: String,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePlan {
    /// What its owner may do.
    pub role: Role,
    /// A DNS name or URI among its subject alternative names, as written there.
    pub name: String,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Brings data, and reads the engine's own metrics. For hosts and collectors.
    Ingest,
    /// Begins, steps and ends deployments and reads verdicts. For whatever drives deployments.
    Deploy,
    /// The same, and overrides gates and changes the engine. For people.
    Admin,
}

const ROLES: [(&str, Role); 3] = [
    ("ingest", Role::Ingest),
    ("deploy", Role::Deploy),
    ("admin", Role::Admin),
];

/// Reads `tls`.
pub(super) fn tls(place: &Place<'_>) -> Option<TlsPlan> {
    let keys = place.map(&["cert_file", "key_file", "client_ca_file"])?;
    let cert_file = keys
        .require("cert_file", "add cert_file: /etc/sluice/cert.pem")
        .and_then(Place::text);
    let key_file = keys
        .require("key_file", "add key_file: /etc/sluice/key.pem")
        .and_then(Place::text);
    let client_ca_file = keys.get("client_ca_file").and_then(Place::text);
    Some(TlsPlan {
        cert_file: cert_file?.to_owned(),
        key_file: key_file?.to_owned(),
        client_ca_file: client_ca_file.map(str::to_owned),
    })
}

/// Reads `access`.
pub(super) fn access(place: &Place<'_>, tls: Option<&TlsPlan>) -> AccessPlan {
    let mut access = AccessPlan::default();
    let Some(keys) = place.map(&["tokens", "certificates", "anonymous"]) else {
        return access;
    };
    if let Some(list) = keys.get("tokens") {
        access.tokens = items(list, "tokens")
            .filter_map(|place| token(&place))
            .collect();
    }
    if let Some(list) = keys.get("certificates") {
        access.certificates = items(list, "certificates")
            .filter_map(|place| certificate(&place))
            .collect();
        if tls.is_none_or(|tls| tls.client_ca_file.is_none()) {
            list.fault(
                "no client is asked for a certificate",
                "add tls: {cert_file: …, key_file: …, client_ca_file: …}",
            );
        }
    }
    if let Some(place) = keys.get("anonymous") {
        access.anonymous = place.flag().unwrap_or_default();
        if access.anonymous && (keys.has("tokens") || keys.has("certificates")) {
            place.fault(
                "anonymous lets everybody do everything, beside tokens or certificates that say who may",
                "remove one of them",
            );
        }
    }
    access
}

/// The items of a list that says nothing when it is empty.
fn items<'t>(list: &Place<'t>, key: &str) -> impl Iterator<Item = Place<'t>> {
    if matches!(&list.node.value, Tree::List(items) if items.is_empty()) {
        list.fault(
            format!("{key} names nobody"),
            format!("name at least one, or remove {key}"),
        );
    }
    list.list().into_iter()
}

fn token(place: &Place<'_>) -> Option<TokenPlan> {
    let keys = place.map(&["role", "file"])?;
    let role = role(&keys);
    let file = keys
        .require("file", "add file: /etc/sluice/token")?
        .text()?;
    Some(TokenPlan {
        role: role?,
        file: file.to_owned(),
    })
}

fn certificate(place: &Place<'_>) -> Option<CertificatePlan> {
    let keys = place.map(&["role", "name"])?;
    let role = role(&keys);
    let name = keys.require("name", "add name: deployer.example")?.text()?;
    Some(CertificatePlan {
        role: role?,
        name: name.to_owned(),
    })
}

fn role(keys: &Entries<'_>) -> Option<Role> {
    keys.require("role", "add role: ingest, deploy or admin")?
        .word(&ROLES)
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Deploy, Self::Admin];

    /// The word that the configuration has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }
}

impl AccessPlan {
    /// Whether somebody has to say who they are.
    pub fn is_restricted(&self) -> bool {
        !self.tokens.is_empty() || !self.certificates.is_empty()
    }
}

impl Plan {
    /// An address that others reach although nobody has to say who they are, and nothing says that
    /// this is meant; with its key.
    pub fn exposed(&self) -> Option<(&'static str, SocketAddr)> {
        if self.access.is_restricted() || self.access.anonymous {
            return None;
        }
        self.beyond_loopback()
    }

    fn beyond_loopback(&self) -> Option<(&'static str, SocketAddr)> {
        let listen = &self.listen;
        let all = [
            ("listen.grpc", listen.grpc),
            ("listen.http", listen.http),
            ("listen.otlp_grpc", listen.otlp_grpc),
            ("listen.otlp_http", listen.otlp_http),
        ];
        all.into_iter()
            .find(|(_, address)| !address.ip().to_canonical().is_loopback())
    }

    /// What is odd about who may reach the engine.
    pub(super) fn lint_access(&self) -> Option<Warning> {
        let (key, address) = self.beyond_loopback()?;
        let is_read = !self.access.tokens.is_empty() && self.tls.is_none();
        is_read.then(|| Warning {
            path: key.to_owned(),
            problem: format!(
                "{address} is not loopback: tokens are read by whoever reads the network"
            ),
            remedy: "add tls: {cert_file: …, key_file: …}, unless something in front encrypts"
                .to_owned(),
        })
    }
}
