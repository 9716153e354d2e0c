//! Encrypted connections: the engine's certificate, and who a client's certificate says it is.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

use super::access::AccessError;
use crate::{plan::TlsPlan, source::files};

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// The DNS names and URIs of its certificate, which was verified; empty without one.
    names: Arc<[String]>,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocols {
    /// HTTP/2 only.
    Grpc,
    /// HTTP/2 or HTTP/1.1.
    Http,
}

impl Peer {
    /// Whether the certificate has this very name.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|given| given == name)
    }

    /// The peer whose verified certificate this is.
    pub(super) fn of(certificate: Option<&CertificateDer<'_>>) -> Self {
        let parsed = certificate.and_then(|der| webpki::EndEntityCert::try_from(der).ok());
        let names = parsed.map_or_else(Vec::new, |certificate| {
            let names = certificate.valid_dns_names();
            names
                .chain(certificate.valid_uri_names())
                .map(str::to_owned)
                .collect()
        });
        Self {
            names: names.into(),
        }
    }
}

/// How the connections of some ports are encrypted, which a change of the configuration replaces.
#[derive(Clone, Debug)]
pub(super) struct Encryption {
    pub(super) protocols: Protocols,
    pub(super) current: Arc<ArcSwap<ServerConfig>>,
}

impl Encryption {
    /// Reads certificates and key.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub(super) fn new(plan: &TlsPlan, protocols: Protocols) -> Result<Self, AccessError> {
        Ok(Self {
            protocols,
            current: Arc::new(ArcSwap::new(configuration(plan, protocols)?)),
        })
    }

    /// What agrees on encryption with a client that comes now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }
}

/// Reads certificates and key.
///
/// # Errors
/// A file cannot be read, or does not hold what it should.
pub(super) fn configuration(
    plan: &TlsPlan,
    protocols: Protocols,
) -> Result<Arc<ServerConfig>, AccessError> {
    let provider = Arc::new(default_provider());
    let chain = certificates("tls.cert_file", &plan.cert_file)?;
    let key = text("tls.key_file", &plan.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
        error(
            "tls.key_file",
            format!("{}: no private key in PEM", plan.key_file),
        )
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|fault| error("tls", fault.to_string()))?;
    let builder = match &plan.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let key = "tls.client_ca_file";
            let mut roots = RootCertStore::empty();
            for root in certificates(key, file)? {
                roots
                    .add(root)
                    .map_err(|fault| error(key, format!("{file}: {fault}")))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier = verifier.map_err(|fault| error(key, format!("{file}: {fault}")))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|fault| {
        let problem = format!(
            "{} does not go with {}: {fault}",
            plan.key_file, plan.cert_file
        );
        error("tls.key_file", problem)
    })?;
    config.alpn_protocols = match protocols {
        Protocols::Grpc => vec![b"h2".to_vec()],
        Protocols::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

fn certificates(key: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let pem = text(key, file)?;
    let certificates =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(error(key, format!("{file}: no certificate in PEM"))),
    }
}

fn text(key: &str, file: &str) -> Result<String, AccessError> {
    files::text(Path::new(file)).map_err(|fault| error(key, fault.to_string()))
}

fn error(key: &str, problem: String) -> AccessError {
    AccessError {
        key: key.to_owned(),
        problem,
    }
}
