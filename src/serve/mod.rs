//! x
pub mod codec;
/// x
pub mod pb { tonic::include_proto!("sluice.v1"); }
