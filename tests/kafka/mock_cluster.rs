//! A mock Kafka cluster as a program, for tests that are not written in Rust.

mod mock;

use std::io::{stdin, stdout};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let brokers = std::env::args()
        .nth(1)
        .map_or(Ok(1), |brokers| brokers.parse())?;
    mock::run(brokers, stdin().lock(), stdout())
}
