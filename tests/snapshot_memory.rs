//! Reading a state takes no more than a small multiple of its bytes, whatever they claim.
//!
//! Alone in its file: what is allocated is counted for the whole process.

use std::sync::Arc;

use peak_alloc::PeakAlloc;
use sluice::{
    engine::{Engine, Input},
    gate::GateState,
    source::demo,
};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// What each byte may cost: empty entries of a list are a byte each, and not in memory.
const TIMES_MAX: usize = 64;
/// What reading may cost beside: room that is taken ahead, at each level of nesting.
const BESIDE_MAX: usize = 4 << 20;

#[test]
fn reading_takes_no_more_memory_than_the_bytes_allow() {
    let state = state();
    let mut largest = 0.0_f64;
    // From every place on the state goes on with what claims the most for the least.
    let step = (state.len() / 2_000).max(1);
    for at in (0..state.len()).step_by(step) {
        for tail in [
            vec![0xff; 40],
            vec![0x00; 200_000],
            vec![0x01; 200_000],
            [&[0xff, 0xff, 0xff, 0x7f][..], &vec![0x00; 200_000]].concat(),
            [&[0xff, 0xff, 0x03][..], &vec![0x00; 200_000]].concat(),
            [&[0xff, 0xff, 0x03][..], &vec![0x01; 200_000]].concat(),
        ] {
            let bytes = [&state[..at], &tail].concat();
            let before = ALLOCATED.current_usage();
            ALLOCATED.reset_peak_usage();
            let read = GateState::decode(&bytes);
            let taken = ALLOCATED.peak_usage().saturating_sub(before);
            drop(read);
            largest = largest.max(taken as f64 / bytes.len() as f64);
            assert!(
                taken <= TIMES_MAX * bytes.len() + BESIDE_MAX,
                "{taken} bytes for {} at {at}",
                bytes.len()
            );
        }
    }
    // Else nothing was read.
    assert!(1.0 < largest, "{largest}");
}

/// The state of the demonstration's gate, in its bake.
fn state() -> Vec<u8> {
    let (plan, timeline) = demo::recording().expect("the demonstration is built in");
    let mut engine = Engine::new(Arc::new(plan));
    let mut longest = Vec::new();
    let mut outputs = Vec::new();
    for step in timeline.into_steps() {
        for event in step.events {
            engine.step(Input::Deployment(event), &mut outputs);
        }
        engine.step(Input::Batch(&step.batch), &mut outputs);
        engine.step(Input::Tick(step.bucket.end), &mut outputs);
        for state in engine.save_gates() {
            let bytes = state.encode();
            if longest.len() < bytes.len() {
                longest = bytes;
            }
        }
    }
    assert!(1_000 < longest.len(), "the gate has learned");
    longest
}
