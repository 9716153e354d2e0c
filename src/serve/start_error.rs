//! Why an engine does not start.

use std::{fmt, io, net::SocketAddr};

use super::{access::AccessError, recovery_error::RecoveryError};

/// Why an engine does not start.
#[derive(Debug)]
pub enum StartError {
    /// It cannot listen.
    Listen {
        /// Key of the address in the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Others reach it, nobody has to say who they are, and nothing says that this is meant.
    Exposed {
        /// Key of the address in the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// A token, certificate or key cannot be used.
    Access(AccessError),
    /// A source of the configuration cannot be read, for this reason.
    Sources(String),
    /// The data directory cannot be gone on with.
    Recovery(RecoveryError),
    /// The system gives no thread.
    Core(io::Error),
    /// The core ended before it took anything, and told why in the log.
    Stopped,
    /// The descriptors of the protocol cannot be read.
    Reflection(tonic_reflection::server::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { key, address, .. } => {
                write!(
                    f,
                    "cannot listen at {address}: change {key}, or stop what listens there"
                )
            }
            Self::Exposed { key, address } => write!(
                f,
                "{key} is {address}, where others reach the engine, and nothing says who may do what: \
                 add access: {{tokens: [{{role: …, file: …}}]}}, listen on 127.0.0.1, or write \
                 access: {{anonymous: true}} if whoever reaches it may do everything"
            ),
            Self::Access(error) => error.fmt(f),
            Self::Sources(problem) => f.write_str(problem),
            Self::Recovery(error) => error.fmt(f),
            Self::Core(_) => f.write_str("the engine's thread cannot be started"),
            Self::Stopped => f.write_str(
                "the engine does not start: what is wrong is told in the log before this",
            ),
            Self::Reflection(_) => f.write_str("the protocol's descriptors cannot be read"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { error, .. } | Self::Core(error) => Some(error),
            Self::Exposed { .. } | Self::Access(_) | Self::Sources(_) | Self::Stopped => None,
            Self::Recovery(error) => error.source(),
            Self::Reflection(error) => Some(error),
        }
    }
}
