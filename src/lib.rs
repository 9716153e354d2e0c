//! Sluice watches metric and log streams while a change is rolled out, and answers one question:
//! may this change go on?

pub mod decode;
pub mod event;
pub mod plan;
pub mod serve;
