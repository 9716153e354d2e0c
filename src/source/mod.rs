//! Where inputs come from when they are not sent: recordings, and Kafka.

pub mod demo;
pub mod files;
pub mod journal;
pub mod kafka;
pub mod recording;
pub mod timeline;
