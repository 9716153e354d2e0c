//! `sluice export`: makes a recording of a stretch of the journal in formats that other programs read.

mod open_files;

use crate::{
    decode::Decoder,
    event::KeyHash,
    journal::{Entry, decode_limits},
};

use super::record::{self, Arguments, Failure, Recorded};
use open_files::OpenFiles;

pub(super) const EXAMPLE: &str = "\
The stretch is that of `sluice record`. What it holds is written as
  deployments.jsonl     deployment events
  told.metrics.jsonl    metrics of which the sender told the kind, as OTLP/JSON
  untold.prom           samples of which it did not, as Prometheus text with times
  all.logs.jsonl        log records, as OTLP/JSON
  counted.log.jsonl     log records that stand for several equal ones
In these data lie by their own times: when they arrived is left out, so that a replay takes in time what \
came late. For the same verdicts at the same times use `sluice record`.

Example:
  sluice export --data-dir /var/lib/sluice --config sluice.yaml --out incident \\
      --from 2026-03-01T10:00:00Z --until 2026-03-01T14:00:00Z
  sluice replay incident";

pub(super) fn run(arguments: &Arguments) -> u8 {
    record::finish(export(arguments), "exported", &arguments.out)
}

fn export(arguments: &Arguments) -> Result<Recorded, Failure> {
    let mut decoder = Decoder::of_all_attributes(KeyHash::new(0));
    let mut files = None;
    let mut unread = 0_u64;
    let mut recorded = record::copy(arguments, "exporting", |plan, entries| {
        let files = files.get_or_insert_with(|| OpenFiles::new(&arguments.out));
        let limits = decode_limits(&plan.limits);
        for entry in entries {
            match entry {
                Entry::Batch(body) => {
                    match decoder.read(body.format, body.encoding, &body.bytes, limits) {
                        Ok(()) => files.batch(&decoder.batch(&body.bytes))?,
                        Err(_) => unread += 1,
                    }
                }
                Entry::Deployment(event) => files.deployment(event)?,
                Entry::Tick(_) | Entry::Consumed(_) | Entry::Lost(_) | Entry::Plan(_) => {}
            }
        }
        Ok(files.bytes())
    })?;
    if let Some(files) = files {
        recorded.left_out.extend(files.finish()?);
    }
    if 0 < recorded.changes {
        recorded.left_out.push(format!(
            "the configuration was changed {} times: the recording has the one that was in force at \
             its begin, and a replay judges everything by that",
            recorded.changes
        ));
    }
    if 0 < unread {
        recorded.left_out.push(format!(
            "{unread} requests are left out: under the limits of this configuration they cannot be read"
        ));
    }
    Ok(recorded)
}
