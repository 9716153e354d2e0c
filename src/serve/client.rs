//! Connects to a running engine, as the command line does.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::pb::gates_client::GatesClient;

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Connects to the gates at `host:port`, or at a URL. A connection whose other end has gone silent
/// is noticed within half a minute.
///
/// # Errors
/// The address makes no sense, or nobody answers there.
pub async fn connect(server: &str) -> Result<GatesClient<Channel>, tonic::transport::Error> {
    let url = if server.contains("://") {
        server.to_owned()
    } else {
        format!("http://{server}")
    };
    let channel = Endpoint::from_shared(url)?
        .connect_timeout(CONNECT_PATIENCE)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect()
        .await?;
    Ok(GatesClient::new(channel).max_decoding_message_size(64 << 20))
}
