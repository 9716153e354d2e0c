//! How to reach a running engine, and as who: common to all commands that ask one.

use std::{convert::Infallible, path::Path};

use clap::{Args, ValueEnum};

use super::verdict::AskError;
use crate::{
    serve::client::{Bearer, Reach},
    source::files,
};

const DEFAULT: &str = "127.0.0.1:7070";

/// An address as it was given; a variable that is empty is as if it were not set.
#[expect(clippy::unnecessary_wraps, reason = "that is what clap asks for")]
fn address(given: &str) -> Result<String, Infallible> {
    let given = given.trim();
    Ok(if given.is_empty() { DEFAULT } else { given }.to_owned())
}

/// How to reach the engine.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// Address of the engine's gRPC API: HOST:PORT, or https://HOST:PORT
    #[arg(
        long,
        env = "SLUICE_SERVER",
        default_value = DEFAULT,
        value_parser = address,
        value_name = "ADDRESS"
    )]
    pub(super) server: String,
    #[command(flatten)]
    credentials: Credentials,
    /// How the verdict is printed: for a person, or as one JSON object
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(super) output: OutputFormat,
}

/// Files that say who asks, and whom to trust.
#[derive(Clone, Debug, Args)]
pub(super) struct Credentials {
    /// File that holds the token to be sent; the token itself never stands on a command line
    #[arg(long = "token-file", env = "SLUICE_TOKEN_FILE", value_name = "FILE")]
    pub(super) token: Option<String>,
    /// Roots that the engine's certificate is checked against (PEM); without it those of the system
    #[arg(long = "ca-file", env = "SLUICE_CA_FILE", value_name = "FILE")]
    pub(super) roots: Option<String>,
    /// Own certificate (PEM), where the engine asks for one
    #[arg(
        long = "cert-file",
        env = "SLUICE_CERT_FILE",
        value_name = "FILE",
        requires = "key"
    )]
    pub(super) certificate: Option<String>,
    /// Key of the certificate (PEM)
    #[arg(
        long = "key-file",
        env = "SLUICE_KEY_FILE",
        value_name = "FILE",
        requires = "certificate"
    )]
    pub(super) key: Option<String>,
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
        let text = |file: &String| {
            let text = files::text(Path::new(file));
            text.map_err(|error| AskError::Refused(error.to_string()))
        };
        let file = |file: &Option<String>| file.as_ref().map(text).transpose();
        let Credentials {
            token,
            roots,
            certificate,
            key,
        } = &self.credentials;
        let bearer = file(token)?.map(|text| {
            Bearer::new(&text).ok_or_else(|| {
                let file = token.as_deref().unwrap_or_default();
                let problem = "no token: it must be one line of visible ASCII characters";
                AskError::Refused(format!("{file}: {problem}"))
            })
        });
        Ok(Reach {
            server: self.server.clone(),
            token: bearer.transpose()?,
            roots: file(roots)?,
            identity: file(certificate)?.zip(file(key)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_address_is_as_if_none_were_given() {
        for (given, expected) in [("", DEFAULT), (" ", DEFAULT), ("h1:7", "h1:7")] {
            assert_eq!(address(given).as_deref(), Ok(expected));
        }
    }
}
