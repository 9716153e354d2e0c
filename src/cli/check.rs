//! `sluice check`: lints a configuration, every fault at once.

use std::{
    io::{Write, stdout},
    path::PathBuf,
};

use clap::Args;

use super::{exit, print};
use crate::{plan::Plan, source::files};

/// Arguments of `sluice check`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let text = match files::text(&arguments.file) {
        Ok(text) => text,
        Err(error) => {
            print::error(&error);
            return exit::ERROR;
        }
    };
    match Plan::parse(&text) {
        Ok(plan) => {
            for warning in plan.warnings() {
                print::warning(&warning);
            }
            let (checks, services) = (plan.checks.len(), plan.services.len());
            // Who closed the pipe has seen enough.
            drop(writeln!(
                stdout(),
                "{}: ok, {services} services, {checks} checks, digest {}",
                arguments.file.display(),
                plan.digest
            ));
            exit::PASS
        }
        Err(faults) => {
            print::error(&faults);
            exit::ERROR
        }
    }
}
