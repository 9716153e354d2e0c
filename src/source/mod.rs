//! Where inputs come from when they are not sent: recordings with their back-tests, and Kafka (feature
//! `kafka`, a default).

pub mod backtest;
pub mod demo;
pub mod files;
pub mod journal;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod recording;
pub mod timeline;
