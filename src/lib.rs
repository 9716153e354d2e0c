//! Sluice watches metric and log streams while a change is rolled out, and answers one question:
//! may this change go on?

pub mod cli;
pub mod decode;
pub mod detect;
pub mod engine;
pub mod event;
pub mod gate;
pub mod journal;
pub mod plan;
pub mod reduce;
pub mod serve;
pub mod source;
