//! Memory of a decoder that is bounded and used again.

use std::fmt;

use super::{canonical, raw::BODY_BYTES_MAX};

/// What a request holds beyond what one request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Too many series, samples or log records.
    Items {
        /// How many there may be of each.
        limit: usize,
    },
    /// Labels written out, or buckets of histograms, take too much memory.
    Bytes {
        /// How many bytes they may take.
        limit: usize,
    },
}

/// Bytes that a decoder writes beside those of a request. What does not fit is left out, and that is
/// remembered: a few bytes can ask for many times as much (numbers into a table of long symbols).
#[derive(Clone, Debug)]
pub struct Written {
    bytes: Vec<u8>,
    /// Memory elsewhere that counts against the same bound.
    charged: usize,
    bytes_max: usize,
    is_over: bool,
    spare: Spare,
}

/// Decides how much memory a buffer keeps when it is emptied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spare {
    /// What was needed of late: the most, slowly forgotten.
    usual: usize,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            charged: 0,
            bytes_max: BODY_BYTES_MAX,
            is_over: false,
            spare: Spare::default(),
        }
    }
}

impl Written {
    /// Appends bytes.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.has_room(bytes.len()) {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Appends one pair of labels in the canonical form.
    #[inline]
    pub fn pair(&mut self, name: &[u8], value: &[u8]) {
        if self.has_room(canonical::pair_len(name, value)) {
            canonical::write_pair(name, value, &mut self.bytes);
        }
    }

    /// What was written.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes back what was written after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    pub(super) fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max.min(BODY_BYTES_MAX);
    }

    pub(super) fn overflow(&self) -> Option<Overflow> {
        let limit = self.bytes_max;
        self.is_over.then_some(Overflow::Bytes { limit })
    }

    pub(super) fn charge(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.left();
        if fits {
            self.charged += bytes;
        } else {
            self.is_over = true;
        }
        fits
    }

    pub(super) fn clear(&mut self) {
        self.spare.clear(&mut self.bytes);
        self.charged = 0;
        self.is_over = false;
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn left(&self) -> usize {
        let used = self.bytes.len() + self.charged;
        self.bytes_max.saturating_sub(used)
    }

    #[inline]
    fn has_room(&mut self, len: usize) -> bool {
        // Once over it stays over: a shorter pair in place of a longer one would be another series.
        let left = self.left();
        if self.is_over || left < len {
            self.is_over = true;
            return false;
        }
        if self.bytes.capacity() - self.bytes.len() < len {
            // Doubles, but never beyond the bound.
            let more = self.bytes.len().max(len).max(64).min(left);
            self.bytes.reserve_exact(more);
        }
        true
    }
}

impl fmt::Write for Written {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.extend(text.as_bytes());
        Ok(())
    }
}

impl Spare {
    /// What a buffer always keeps, in bytes.
    const KEPT_BYTES: usize = 1 << 20;
    /// How many times as much as usual a buffer keeps.
    const KEPT_FACTOR: usize = 4;

    /// Empties a buffer; gives its memory back if that is far more than was needed of late.
    pub fn clear<T>(&mut self, buffer: &mut Vec<T>) {
        let needed = buffer.len();
        buffer.clear();
        if let Some(capacity) = self.capacity(needed, buffer.capacity(), size_of::<T>()) {
            buffer.shrink_to(capacity);
        }
    }

    /// Takes in that `needed` items were needed; tells the capacity to shrink to, if one of
    /// `capacity` is too much. An item has `size` bytes.
    pub fn capacity(&mut self, needed: usize, capacity: usize, size: usize) -> Option<usize> {
        self.usual = needed.max(self.usual - self.usual / 8);
        let kept = self.usual.max(Self::KEPT_BYTES / size.max(1));
        (kept.saturating_mul(Self::KEPT_FACTOR) < capacity).then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_and_remembered() {
        let mut written = Written::default();
        written.limit(10);
        written.extend(b"12345");
        assert!(written.charge(3));
        assert_eq!(written.overflow(), None);
        written.extend(b"678");
        assert_eq!(written.overflow(), Some(Overflow::Bytes { limit: 10 }));
        written.extend(b"6");
        assert_eq!(written.bytes(), b"12345", "nothing follows a gap");
        written.clear();
        assert_eq!(written.overflow(), None);
        assert!(!written.charge(11));
        assert_eq!(written.overflow(), Some(Overflow::Bytes { limit: 10 }));
    }

    #[test]
    fn growth_stops_at_the_bound() {
        let mut written = Written::default();
        written.limit(100_000);
        for _ in 0..20_000 {
            written.pair(b"name", b"value");
        }
        assert!(written.overflow().is_some());
        assert!(written.memory_bytes() <= 100_000);
    }

    #[test]
    fn a_buffer_gives_back_what_one_large_request_took() {
        let mut spare = Spare::default();
        let mut buffer = vec![0u8; 100 << 20];
        spare.clear(&mut buffer);
        assert!(100 << 20 <= buffer.capacity(), "it may come again");
        for _ in 0..100 {
            buffer.extend([0; 1000]);
            spare.clear(&mut buffer);
        }
        assert!(buffer.capacity() <= Spare::KEPT_BYTES * Spare::KEPT_FACTOR);
        assert!(1000 <= buffer.capacity());
    }
}
