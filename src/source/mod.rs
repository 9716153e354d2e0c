//! Where inputs come from when they do not come over the wire: recordings.

pub mod demo;
pub mod files;
pub mod journal;
pub mod recording;
pub mod timeline;
