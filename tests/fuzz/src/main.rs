//! Fuzzes what reads bytes from outside: one program, whose variable `FUZZ_TARGET` names the target.
//!
//! The rooms are included as they stand and not through the crate `sluice`, which would bring everything
//! that a server needs. Only this crate is instrumented, see `run`.

#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the rooms are for more than the targets"
)]

use std::{process::exit, sync::OnceLock};

use libfuzzer_sys::fuzz_target;

#[path = "../../../src/decode/mod.rs"]
pub mod decode;
#[path = "../../../src/event/mod.rs"]
pub mod event;
#[path = "../../../src/journal/mod.rs"]
pub mod journal;

/// What the journal knows of a plan.
pub mod plan {
    /// The two limits that bound a request.
    pub struct Limits {
        /// See the plan.
        pub decompressed_bytes: usize,
        /// See the plan.
        pub samples_per_request: usize,
    }

    /// What a change of the configuration tells of one. No target applies a change.
    #[derive(Debug)]
    pub struct Plan {
        /// See the plan.
        pub digest: String,
        /// See the plan.
        pub wording: String,
    }

    /// Faults of a configuration.
    #[derive(Debug)]
    pub struct Faults;

    impl Plan {
        /// Refuses every text.
        pub fn parse(_: &str) -> Result<Self, Faults> {
            Err(Faults)
        }
    }
}

mod common;
#[path = "../../../src/decode/otlp/reference.rs"]
mod reference;
mod targets;
#[path = "../../common/wire.rs"]
mod wire;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

fuzz_target!(
    init: choose(),
    |bytes: &[u8]| TARGET.get().expect("a target was chosen")(bytes)
);

/// Chooses the target that the environment names. Without one, the names are printed and that is all.
fn choose() {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    if let Some((_, target)) = targets::TARGETS.iter().find(|(name, _)| *name == wanted) {
        TARGET.get_or_init(|| *target);
        return;
    }
    for (name, _) in targets::TARGETS {
        println!("{name}");
    }
    if wanted.is_empty() {
        exit(0);
    }
    eprintln!("there is no target {wanted:?}: set FUZZ_TARGET to one of these");
    exit(2);
}
