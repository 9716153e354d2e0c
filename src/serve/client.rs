//! Connects to a running engine, as the command line does.

use std::{fmt, time::Duration};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::pb::gates_client::GatesClient;

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The gates of an engine.
pub type Gates = GatesClient<InterceptedService<Channel, Bearer>>;

/// How to reach an engine, and as who.
#[derive(Clone, Default)]
pub struct Reach {
    /// `host:port`, or a URL. Without a scheme, `https` if there are roots or an identity, else `http`.
    pub server: String,
    /// What is sent with each request.
    pub token: Option<Bearer>,
    /// Roots that the engine's certificate is checked against, PEM. `None`: those of the system.
    pub roots: Option<String>,
    /// The client's own certificate and its key, PEM.
    pub identity: Option<(String, String)>,
}

/// A token that is sent with each request, or none.
#[derive(Clone, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Reach {
    /// An engine that asks nobody who they are.
    pub fn at(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            ..Self::default()
        }
    }

    fn url(&self) -> String {
        let server = &self.server;
        if server.contains("://") {
            return server.clone();
        }
        let is_encrypted = self.roots.is_some() || self.identity.is_some();
        let scheme = if is_encrypted { "https" } else { "http" };
        format!("{scheme}://{server}")
    }

    fn tls(&self) -> ClientTlsConfig {
        let tls = ClientTlsConfig::new();
        let tls = match &self.roots {
            Some(roots) => tls.ca_certificate(Certificate::from_pem(roots)),
            None => tls.with_native_roots(),
        };
        match &self.identity {
            Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
            None => tls,
        }
    }
}

impl Bearer {
    /// The token, as it stands in its file; `None` if it is empty or no visible ASCII.
    pub fn new(token: &str) -> Option<Self> {
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().ok()?;
        value.set_sensitive(true);
        Some(Self(Some(value)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Connects to the gates. A connection whose other end has gone silent is noticed within half a
/// minute.
///
/// # Errors
/// The address makes no sense, nobody answers there, or it is not who it should be.
pub async fn connect(reach: &Reach) -> Result<Gates, tonic::transport::Error> {
    let url = reach.url();
    let is_encrypted = url.starts_with("https://");
    let mut endpoint = Endpoint::from_shared(url)?;
    if is_encrypted {
        endpoint = endpoint.tls_config(reach.tls())?;
    }
    let channel = endpoint
        .connect_timeout(CONNECT_PATIENCE)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect()
        .await?;
    let token = reach.token.clone().unwrap_or_default();
    Ok(GatesClient::with_interceptor(channel, token).max_decoding_message_size(64 << 20))
}

/// Secrets are never shown.
impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach")
            .field("server", &self.server)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// Secrets are never shown.
impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Bearer(…)"
        } else {
            "Bearer(none)"
        })
    }
}
