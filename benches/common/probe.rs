//! The least that taking a sample can cost: what the whole path is measured against.
//!
//! Decompress a request, scan its bytes once to frame the labels and the sample of each series, find
//! the series by a hash of its label bytes (verified against the stored bytes), append slot, time
//! and value. One thread, its CPU time, nothing else.

use hashbrown::HashTable;

use super::{Failure, clock, payloads::Payloads, wire::read_varint};

/// The series that the probe knows, and the samples of the current round.
#[derive(Debug, Default)]
struct Probe {
    table: HashTable<u32>,
    hashes: Vec<u64>,
    /// Where the labels of each series stand in `regions`.
    places: Vec<(usize, usize)>,
    regions: Vec<u8>,
    samples: Vec<(u32, i64, f64)>,
    raw: Vec<u8>,
    decoder: snap::raw::Decoder,
}

/// CPU time of the probe per sample over all rounds but the first, in nanoseconds.
///
/// # Errors
/// The probe did not find the series and samples that were prepared.
pub(crate) fn measure(payloads: &Payloads) -> Result<f64, Failure> {
    let mut probe = Probe::default();
    let mut started_ns = clock::thread_cpu_ns()?;
    let mut samples = 0;
    for round in 0..payloads.rounds {
        if round == 1 {
            started_ns = clock::thread_cpu_ns()?;
            samples = 0;
        }
        let mut expected = 0;
        for payload in payloads
            .connections
            .iter()
            .flat_map(|rounds| &rounds[round])
        {
            probe.take(&payload.request[payload.body..])?;
            expected += payload.samples;
        }
        let found = std::hint::black_box(&probe.samples).len() as u64;
        if found != expected {
            return Err(Failure::new(format!(
                "the probe found {found} samples of {expected}"
            )));
        }
        samples += found;
        // A bucket that is full is used again, so that no round pays for fresh memory.
        probe.samples.clear();
    }
    let spent_ns = clock::thread_cpu_ns()? - started_ns;
    if probe.places.len() as u64 != payloads.series {
        return Err(Failure::new(format!(
            "the probe found {} series of {}",
            probe.places.len(),
            payloads.series
        )));
    }
    Ok(spent_ns as f64 / samples as f64)
}

impl Probe {
    fn take(&mut self, body: &[u8]) -> Result<(), Failure> {
        let bad = |_| Failure::new("the probe was given a body that is no snappy block");
        let len = snap::raw::decompress_len(body).map_err(bad)?;
        if self.raw.len() < len {
            self.raw.resize(len, 0);
        }
        let mut raw = std::mem::take(&mut self.raw);
        self.decoder.decompress(body, &mut raw).map_err(bad)?;
        let whole = self.walk(&raw[..len]);
        self.raw = raw;
        whole.ok_or_else(|| Failure::new("the probe was given a message that it cannot frame"))
    }

    /// Walks a message as the loader writes it: labels before samples.
    fn walk(&mut self, mut message: &[u8]) -> Option<()> {
        while let Some((0x0a, rest)) = message.split_first() {
            let (len, rest) = read_varint(rest)?;
            let (series, rest) = rest.split_at_checked(len as usize)?;
            message = rest;
            let mut behind = series;
            while let Some((0x0a, rest)) = behind.split_first() {
                let (len, rest) = read_varint(rest)?;
                behind = rest.get(len as usize..)?;
            }
            let region = &series[..series.len() - behind.len()];
            let (0x12, rest) = behind.split_first()? else {
                return None;
            };
            let (len, rest) = read_varint(rest)?;
            let (at, value) = sample(rest.get(..len as usize)?)?;
            let slot = self.slot(region);
            self.samples.push((slot, at, value));
        }
        message.is_empty().then_some(())
    }

    fn slot(&mut self, region: &[u8]) -> u32 {
        let hash = hash(region);
        let (places, regions) = (&self.places, &self.regions);
        let found = self.table.find(hash, |&slot| {
            let (start, end) = places[slot as usize];
            &regions[start..end] == region
        });
        if let Some(&slot) = found {
            return slot;
        }
        let slot = self.places.len() as u32;
        let start = self.regions.len();
        self.regions.extend_from_slice(region);
        self.places.push((start, self.regions.len()));
        self.hashes.push(hash);
        let hashes = &self.hashes;
        self.table
            .insert_unique(hash, slot, |&slot| hashes[slot as usize]);
        slot
    }
}

fn hash(region: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = foldhash::fast::FixedState::with_seed(7).build_hasher();
    hasher.write(region);
    hasher.finish()
}

fn sample(mut message: &[u8]) -> Option<(i64, f64)> {
    let mut value = 0.0;
    if let Some((0x09, rest)) = message.split_first() {
        let (bytes, rest) = rest.split_first_chunk()?;
        value = f64::from_le_bytes(*bytes);
        message = rest;
    }
    let (0x10, rest) = message.split_first()? else {
        return None;
    };
    let (at, _) = read_varint(rest)?;
    Some((at as i64, value))
}
