//! How to reach a running engine, and as who: common to all commands that ask one.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::verdict::AskError;
use crate::{
    serve::client::{Bearer, Reach},
    source::files,
};

/// How to reach the engine.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// Address of the engine's gRPC API: HOST:PORT, or https://HOST:PORT
    #[arg(
        long,
        env = "SLUICE_SERVER",
        default_value = "127.0.0.1:7070",
        value_name = "ADDRESS"
    )]
    pub(super) server: String,
    /// File that holds the token to be sent; the token itself never stands on a command line
    #[arg(long, env = "SLUICE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Roots that the engine's certificate is checked against (PEM); without it those of the system
    #[arg(long, env = "SLUICE_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Own certificate (PEM), where the engine asks for one
    #[arg(
        long,
        env = "SLUICE_CERT_FILE",
        value_name = "FILE",
        requires = "key_file"
    )]
    cert_file: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(
        long,
        env = "SLUICE_KEY_FILE",
        value_name = "FILE",
        requires = "cert_file"
    )]
    key_file: Option<PathBuf>,
    /// How the verdict is printed: for a person, or as one JSON object
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(super) output: OutputFormat,
}

/// How a verdict is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For a person.
    Text,
    /// One JSON object.
    Json,
}

impl ServerArguments {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or holds no token.
    pub(super) fn reach(&self) -> Result<Reach, AskError> {
        let text = |file: &Path| {
            let text = files::text(file);
            text.map_err(|error| AskError::Refused(error.to_string()))
        };
        let file = |file: &Option<PathBuf>| file.as_deref().map(text).transpose();
        let token = file(&self.token_file)?.map(|token| {
            Bearer::new(&token).ok_or_else(|| {
                let file = self.token_file.as_deref().unwrap_or(Path::new(""));
                let problem = "no token: it must be one line of visible ASCII characters";
                AskError::Refused(format!("{}: {problem}", file.display()))
            })
        });
        Ok(Reach {
            server: self.server.clone(),
            token: token.transpose()?,
            roots: file(&self.ca_file)?,
            identity: file(&self.cert_file)?.zip(file(&self.key_file)?),
        })
    }
}
