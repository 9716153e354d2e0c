//! Puts every gate of a core back from the bytes of its own state.

use sluice::{engine::Engine, gate::GateState};

/// What the gates are, to the last field and bit.
pub(crate) fn gates(engine: &Engine) -> Vec<String> {
    engine.gates().map(|gate| format!("{gate:?}")).collect()
}

/// The states of all gates as bytes.
pub(crate) fn encode(engine: &Engine) -> Vec<Vec<u8>> {
    engine.save_gates().iter().map(GateState::encode).collect()
}

/// Replaces every gate by what its own state makes of it, and holds that nothing is lost.
pub(crate) fn resume(engine: &mut Engine) {
    let before = gates(engine);
    let bytes = encode(engine);
    let states = bytes.iter().map(|bytes| GateState::decode(bytes));
    let states: Result<Vec<GateState>, _> = states.collect();
    let states = states.unwrap_or_else(|error| panic!("what was encoded is decoded: {error:?}"));
    if let Err(error) = engine.restore_gates(states) {
        panic!("what was saved is restored: {error:?}");
    }
    let after = gates(engine);
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after, "{}", difference(before, after));
    }
    assert_eq!(before.len(), after.len());
    assert!(bytes == encode(engine), "a restored gate saves other bytes");
}

/// Where two texts part.
fn difference(before: &str, after: &str) -> String {
    let same = before.chars().zip(after.chars());
    let at = same.take_while(|(before, after)| before == after).count();
    let part = |text: &str| -> String {
        text.chars()
            .skip(at.saturating_sub(200))
            .take(300)
            .collect()
    };
    format!("saved:    {}\nrestored: {}", part(before), part(after))
}
