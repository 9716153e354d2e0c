//! Kind and unit of a sample in six bits, so that each of them carries what its sender told at no cost in memory.

use crate::event::{Kind, SeriesMeta, Unit};

/// The largest.
pub(super) const MAX: u32 = 0b11_1111;
/// Three bits for the kind, and above them three for the unit.
const UNIT_SHIFT: u32 = 3;
const THREE_BITS: u32 = 0b111;

/// By their numbers.
pub(super) const KINDS: [Kind; 5] = [
    Kind::Unknown,
    Kind::Gauge,
    Kind::Counter,
    Kind::Histogram,
    Kind::Summary,
];

/// The same. A count contradicts no unit, and is as good as unknown.
pub(super) const UNITS: [Unit; 8] = [
    Unit::Unknown,
    Unit::Percent,
    Unit::Ratio,
    Unit::Seconds,
    Unit::Milliseconds,
    Unit::Microseconds,
    Unit::Nanoseconds,
    Unit::Bytes,
];

/// Of what was told.
#[inline]
pub(super) fn of(meta: SeriesMeta) -> u32 {
    let unit = match meta.unit {
        Unit::Count => Unit::Unknown,
        unit => unit,
    };
    (unit as u32) << UNIT_SHIFT | meta.kind as u32
}

/// The kind of a shape, whatever stands above its bits.
pub(super) fn kind(shape: u32) -> Kind {
    KINDS[(shape & THREE_BITS) as usize]
}

/// The unit of a shape, whatever stands above its bits.
pub(super) fn unit(shape: u32) -> Unit {
    UNITS[(shape >> UNIT_SHIFT & THREE_BITS) as usize]
}
