//! Sends one request to a sink, within limits.

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::time::timeout;
use tracing::warn;

use super::conversation::Letter;
use crate::plan::SinkPlan;

/// Most bytes of an answer that are read.
const REPLY_BYTES_MAX: usize = 64 << 10;
/// Most bytes of a file with a token.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Most bytes that are fetched, and how long that may take.
const FETCHED_BYTES_MAX: usize = 256 << 20;
const FETCH_PATIENCE: Duration = Duration::from_mins(1);
const USER_AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// Files that a client needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Holds a token, read anew for every request.
    pub token: Option<String>,
    /// Roots that the server's certificate is checked against, PEM. `None`: those of the system.
    pub roots: Option<String>,
    /// The own certificate and its key, PEM.
    pub identity: Option<(String, String)>,
}

/// Sends requests to one sink.
pub(super) struct Client {
    http: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
    token_file: Option<String>,
    patience: Duration,
    reply_bytes_max: usize,
}

/// What a sink answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub status: u16,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

/// Why there is no answer. It never holds the URL or a token.
#[derive(Debug)]
pub(super) enum SendError {
    /// The file with the token cannot be read, or holds none.
    Token { file: String, problem: String },
    /// The request cannot be made of this URL.
    Url,
    /// The sink is not reached.
    Connection(String),
    /// The answer does not come.
    Late,
    /// The answer is too long, or breaks off.
    Answer(&'static str),
}

/// Why a client cannot be made.
#[derive(Debug)]
pub enum ClientError {
    /// The certificates cannot be read.
    Certificates {
        /// The file of the key `ca_file`.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The own certificate or its key cannot be used.
    Identity {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
}

impl Client {
    /// A client of a sink.
    ///
    /// # Errors
    /// The certificates that an https server is to be checked against cannot be read.
    pub(super) fn new(plan: &SinkPlan) -> Result<Self, ClientError> {
        let files = Files {
            token: plan.token_file.clone(),
            roots: plan.ca_file.clone(),
            identity: None,
        };
        Self::to(
            &plan.url.0,
            files,
            Duration::from_nanos(plan.timeout.nanos().max(0) as u64),
            REPLY_BYTES_MAX,
        )
    }

    fn to(
        url: &str,
        files: Files,
        patience: Duration,
        reply_bytes_max: usize,
    ) -> Result<Self, ClientError> {
        let tls = tls(&files, url.starts_with("https://"))?;
        // A redirect is an answer like any other: it is not followed, to nowhere.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let http = Http::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self {
            http,
            token_file: files.token,
            patience,
            reply_bytes_max,
        })
    }

    /// The token, as the file has it now.
    ///
    /// # Errors
    /// The file cannot be read, or holds none.
    pub(super) async fn token(&self) -> Result<Option<HeaderValue>, SendError> {
        let Some(file) = &self.token_file else {
            return Ok(None);
        };
        let error = |problem: String| SendError::Token {
            file: file.clone(),
            problem,
        };
        let read = tokio::fs::read(file);
        let bytes = read.await.map_err(|problem| error(problem.to_string()))?;
        if bytes.len() > TOKEN_BYTES_MAX {
            return Err(error("it is too long".to_owned()));
        }
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            return Err(error("it is empty".to_owned()));
        }
        let value = HeaderValue::from_bytes(&[b"Bearer ", bytes].concat());
        let mut value = value.map_err(|_| error("it holds no token".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// There is no token, the sink is not reached, does not answer in time or answers at too great a
    /// length.
    pub(super) async fn send(&self, letter: &Letter) -> Result<Reply, SendError> {
        let mut request = Request::builder()
            .method(letter.method.clone())
            .uri(&letter.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT);
        if let Some(token) = self.token().await? {
            request = request.header(header::AUTHORIZATION, token);
        }
        if let Some(key) = &letter.key {
            request = request.header("idempotency-key", key);
        }
        let body = Full::new(Bytes::from(letter.body.clone()));
        let request = request.body(body).map_err(|_| SendError::Url)?;
        timeout(self.patience, self.answer(request))
            .await
            .map_err(|_| SendError::Late)?
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Reply, SendError> {
        let answer = self.http.request(request).await;
        let answer = answer.map_err(|error| SendError::Connection(causes(&error)))?;
        let status = answer.status().as_u16();
        let retry_after = answer
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = Limited::new(answer.into_body(), self.reply_bytes_max);
        let body = body.collect().await.map_err(|error| {
            SendError::Answer(if error.is::<LengthLimitError>() {
                "the answer is too long"
            } else {
                "the answer breaks off"
            })
        })?;
        Ok(Reply {
            status,
            retry_after,
            body: body.to_bytes().to_vec(),
        })
    }
}

/// Asks an HTTP server, such as an engine, and gives the body of its answer.
///
/// # Errors
/// The server is not reached, does not answer in time, or says no; in words.
pub async fn fetch(url: &str, files: Files) -> Result<Vec<u8>, String> {
    let client = Client::to(url, files, FETCH_PATIENCE, FETCHED_BYTES_MAX)
        .map_err(|error| error.to_string())?;
    let letter = Letter {
        method: http::Method::GET,
        url: url.to_owned(),
        body: Vec::new(),
        key: None,
        news: Vec::new(),
    };
    let reply = client.send(&letter).await;
    let reply = reply.map_err(|error| error.to_string())?;
    if reply.status == 200 {
        return Ok(reply.body);
    }
    let said: Option<serde_json::Value> = serde_json::from_slice(&reply.body).ok();
    let said = said.as_ref().and_then(|said| said["error"].as_str());
    Err(format!(
        "it answers {}: {}",
        reply.status,
        said.unwrap_or("-")
    ))
}

/// The error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn tls(files: &Files, is_encrypted: bool) -> Result<ClientConfig, ClientError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks the default versions of TLS");
    let Some(file) = &files.roots else {
        if !is_encrypted {
            let roots = RootCertStore::empty();
            return Ok(builder.with_root_certificates(roots).with_no_client_auth());
        }
        let with_roots = builder.clone().with_native_roots();
        let builder = with_roots.unwrap_or_else(|error: io::Error| {
            // As with a token that is not there: an engine that judges is better than none.
            warn!(
                %error,
                "the system has no certificates to check https servers against: nothing can be \
                 delivered to those without ca_file, install some and start the engine again"
            );
            builder.with_root_certificates(RootCertStore::empty())
        });
        return identified(builder, files);
    };
    let failed = |problem: String| ClientError::Certificates {
        file: file.clone(),
        problem,
    };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    identified(builder.with_root_certificates(roots), files)
}

/// Shows the own certificate, where there is one.
fn identified(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    files: &Files,
) -> Result<ClientConfig, ClientError> {
    let Some((certificate_file, key_file)) = &files.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let failed = |file: &str, problem: String| ClientError::Identity {
        file: file.to_owned(),
        problem,
    };
    let chain = CertificateDer::pem_file_iter(certificate_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(certificate_file, error.to_string()))?;
    // What is wrong with a key may quote it.
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|_| failed(key_file, "no private key in PEM".to_owned()))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| failed(certificate_file, error.to_string()))
}

/// Without the token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("token_file", &self.token_file)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { file, problem } => {
                write!(f, "the token cannot be read from {file}: {problem}")
            }
            Self::Url => f.write_str("the URL cannot be asked"),
            Self::Connection(problem) => f.write_str(problem),
            Self::Late => f.write_str("no answer in time"),
            Self::Answer(problem) => f.write_str(problem),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificates { file, problem } => {
                write!(f, "ca_file {file} cannot be used: {problem}")
            }
            Self::Identity { file, problem } => write!(f, "{file} cannot be used: {problem}"),
        }
    }
}

impl std::error::Error for ClientError {}
