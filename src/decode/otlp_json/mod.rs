//! OpenTelemetry's protocol in JSON: export requests of metrics and of logs.
//!
//! Read as proto3 JSON with OTLP's own rules: 64-bit integers as strings or numbers, enums as
//! numbers (their names are accepted), unknown fields passed over. A value of a wrong type rejects
//! the point or record that it belongs to, and the reject tells its path; nothing becomes a silent
//! default. What the fields mean, and the keys of series, are the same as in [`otlp`].
//!
//! A request is walked as text, and one point or record after the other is read into values.

use super::{
    DecodeError, Fault, Refusal, Scratch, StreamLabels, batches, check, excerpt,
    json_text::{PART_BYTES_MAX, Part, document},
    otlp::{
        self, ResourcePiece, Scope,
        metrics::{Walk, When, refuse},
        part,
        points::{Attributes, Data, Metric, Record, severity, timestamp},
    },
};
use crate::event::{Batch, KeyHash, Raw, RawBatch, RawLog, SeriesMeta};

mod cursor;
mod parts;

use cursor::Cursor;

const METRICS: &str = "otlp/json metrics";
const LOGS: &str = "otlp/json logs";

const NO_METRICS: &str = "nothing was found: metrics are in a field \"resourceMetrics\"";
const NO_LOGS: &str = "nothing was found: log records are in a field \"resourceLogs\"";

/// Walks an `ExportMetricsServiceRequest` in JSON. What of it is read into values takes at most about
/// `part_bytes_max` bytes of memory at a time; what would take more is refused.
///
/// # Errors
/// The bytes are no JSON object; over a limit of `out`.
pub fn walk_metrics(
    bytes: &[u8],
    part_bytes_max: usize,
    out: &mut RawBatch,
) -> Result<(), DecodeError> {
    out.reuse(otlp::READ_LABELS);
    let [resources] = document(METRICS, bytes, ["resourceMetrics"])?;
    out.remark = remark(resources.as_ref(), bytes, NO_METRICS);
    let resource = Ok(ResourcePiece::of(&Vec::new(), out));
    let mut metrics = Metrics {
        resource,
        scope: Ok(Default::default()),
        part_bytes_max,
        out,
    };
    walk(resources, ["scopeMetrics", "metrics"], &mut metrics)?;
    check(out)
}

/// Walks an `ExportLogsServiceRequest` in JSON. `scratch` is memory that is used again; for
/// `part_bytes_max` see [`walk_metrics`].
///
/// # Errors
/// As [`walk_metrics`].
pub fn walk_logs(
    bytes: &[u8],
    stream_labels: StreamLabels<'_>,
    part_bytes_max: usize,
    scratch: &mut Scratch,
    out: &mut RawBatch,
) -> Result<(), DecodeError> {
    out.reuse(otlp::READ_LABELS);
    let [resources] = document(LOGS, bytes, ["resourceLogs"])?;
    out.remark = remark(resources.as_ref(), bytes, NO_LOGS);
    let mut logs = Logs {
        stream_labels,
        resource: Ok(()),
        part_bytes_max,
        scratch,
        out,
    };
    walk(resources, ["scopeLogs", "logRecords"], &mut logs)?;
    check(out)
}

/// Decodes an `ExportMetricsServiceRequest` in JSON; also one line of a `*.metrics.jsonl`.
///
/// # Errors
/// The bytes are no JSON object.
pub fn metrics(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut out = RawBatch::new(KeyHash::new(0), otlp::READ_LABELS);
    walk_metrics(bytes, PART_BYTES_MAX, &mut out)?;
    Ok(batches::owned(Raw::new(bytes, &out)))
}

/// Decodes an `ExportLogsServiceRequest` in JSON; also one line of a `*.logs.jsonl`.
///
/// # Errors
/// The bytes are no JSON object.
pub fn logs(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut out = RawBatch::new(KeyHash::new(0), otlp::READ_LABELS);
    let (all, scratch) = (StreamLabels::All, &mut Scratch::default());
    walk_logs(bytes, all, PART_BYTES_MAX, scratch, &mut out)?;
    Ok(batches::owned(Raw::new(bytes, &out)))
}

/// What to say where a document has fields, but not the one that is read: unknown fields are passed over.
fn remark(
    resources: Option<&Part<'_, '_>>,
    bytes: &[u8],
    remark: &'static str,
) -> Option<&'static str> {
    (resources.is_none() && bytes.contains(&b'"')).then_some(remark)
}

/// Takes what a request holds: metrics or log records.
trait Take {
    /// Takes the resource of the items that follow. It is no part of any if it cannot be used: then
    /// neither can they.
    fn resource(&mut self, resource: Option<&Part<'_, '_>>);

    /// Takes the scope of the items that follow.
    fn scope(&mut self, scope: Option<&Part<'_, '_>>);

    /// Takes a metric or a log record.
    fn item(&mut self, item: &Part<'_, '_>) -> Result<(), Fault>;

    /// Counts a refusal.
    fn refuse(&mut self, refusal: &Refusal);
}

/// Walks the items of all resources. A container of a wrong type is one refusal, in place of what it
/// would hold.
fn walk(
    resources: Option<Part<'_, '_>>,
    names: [&'static str; 2],
    take: &mut dyn Take,
) -> Result<(), DecodeError> {
    let Some(resources) = resources else {
        return Ok(());
    };
    let walked = resources.each(|of_resource| {
        let walked = walk_resource(of_resource, names, take);
        settle(walked, take)
    });
    settle(walked, take)
}

fn walk_resource(
    of_resource: &Part<'_, '_>,
    [scopes, items]: [&'static str; 2],
    take: &mut dyn Take,
) -> Result<(), Fault> {
    let [resource, scopes] = of_resource.fields(["resource", scopes])?;
    let Some(scopes) = scopes else { return Ok(()) };
    take.resource(resource.as_ref());
    scopes.each(|of_scope| {
        let walked = walk_scope(of_scope, items, take);
        settle(walked, take)
    })
}

fn walk_scope(
    of_scope: &Part<'_, '_>,
    items: &'static str,
    take: &mut dyn Take,
) -> Result<(), Fault> {
    let [scope, items] = of_scope.fields(["scope", items])?;
    let Some(items) = items else { return Ok(()) };
    take.scope(scope.as_ref());
    items.each(|item| {
        let taken = take.item(item);
        settle(taken, take)
    })
}

/// Lets damage of the whole through; the refusal of a part is counted.
fn settle(result: Result<(), Fault>, take: &mut dyn Take) -> Result<(), DecodeError> {
    if let Err(refusal) = part(result)? {
        take.refuse(&refusal);
    }
    Ok(())
}

struct Metrics<'o> {
    resource: Result<ResourcePiece, Refusal>,
    /// Name and version of the scope.
    scope: Result<[String; 2], Refusal>,
    part_bytes_max: usize,
    out: &'o mut RawBatch,
}

/// What a metric says of its points.
struct Head {
    name: String,
    data: Data,
    meta: SeriesMeta,
}

fn scope_of([name, version]: &[String; 2]) -> Scope<'_> {
    Scope { name, version }
}

const DATA: [&str; 5] = [
    "gauge",
    "sum",
    "histogram",
    "exponentialHistogram",
    "summary",
];

impl Take for Metrics<'_> {
    fn resource(&mut self, resource: Option<&Part<'_, '_>>) {
        self.resource = match resource {
            Some(resource) => self.piece(resource),
            None => Ok(ResourcePiece::of(&Vec::new(), self.out)),
        };
    }

    fn scope(&mut self, scope: Option<&Part<'_, '_>>) {
        let read = |scope: &Part<'_, '_>| {
            let [name, version] = scope.fields(["name", "version"])?;
            let texts = [self.text(name.as_ref())?, self.text(version.as_ref())?];
            scope_of(&texts).check()?;
            Ok(texts)
        };
        self.scope = scope.map_or(Ok(Default::default()), read);
    }

    fn item(&mut self, item: &Part<'_, '_>) -> Result<(), Fault> {
        let [name, unit] = item.fields(["name", "unit"])?;
        let data = item.fields(DATA)?;
        let mut data = DATA.into_iter().zip(data);
        let Some((key, data)) = data.find_map(|(key, data)| Some((key, data?))) else {
            return Ok(());
        };
        let [points, temporality, monotonic] =
            data.fields(["dataPoints", "aggregationTemporality", "isMonotonic"])?;
        let Some(points) = points else { return Ok(()) };
        let name = self.text(name.as_ref());
        let told = name.clone().unwrap_or_else(|_| "\u{fffd}".to_owned());
        let head = name.and_then(|name| self.head(name, unit, key, temporality, monotonic));
        let Self {
            resource,
            scope,
            part_bytes_max,
            out,
        } = self;
        let told_all = head.and_then(|head| {
            let scope = scope.as_ref().map_err(Refusal::clone)?;
            Ok((
                head,
                scope_of(scope),
                resource.as_ref().map_err(Refusal::clone)?,
            ))
        });
        let (head, scope, resource) = match told_all {
            Ok(told) => told,
            Err(refusal) => {
                return points.each(|_| {
                    refuse(out, &told, &refusal);
                    Ok(())
                });
            }
        };
        let mut walk = Walk::new(&[], (&head.name, scope), head.meta, resource, out);
        points.each(|item| {
            walk.take(|walk| {
                let value = item.value(*part_bytes_max)?;
                let (point, data) = parts::point(head.data, &Cursor::new(&value, item.path))?;
                let when = When::new(point.at_nanos, point.start_nanos, point.flags)?;
                walk.add(&point.attributes, when, data)
            })
        })
    }

    fn refuse(&mut self, refusal: &Refusal) {
        let detail = || excerpt(&refusal.detail).to_owned();
        self.out.rejects.sample(refusal.reason, detail);
    }
}

impl Metrics<'_> {
    fn piece(&mut self, resource: &Part<'_, '_>) -> Result<ResourcePiece, Refusal> {
        let value = resource.value(self.part_bytes_max)?;
        let attributes = parts::attributes(&Cursor::new(&value, resource.path))?;
        Ok(ResourcePiece::of(&attributes, self.out))
    }

    fn text(&self, part: Option<&Part<'_, '_>>) -> Result<String, Refusal> {
        let Some(part) = part else {
            return Ok(String::new());
        };
        let value = part.value(self.part_bytes_max)?;
        let text = Cursor::new(&value, part.path).text()?;
        Ok(text.into_owned())
    }

    fn head(
        &self,
        name: String,
        unit: Option<Part<'_, '_>>,
        key: &str,
        temporality: Option<Part<'_, '_>>,
        monotonic: Option<Part<'_, '_>>,
    ) -> Result<Head, Refusal> {
        let value = |part: &Option<Part<'_, '_>>| {
            let value = part.as_ref().map(|part| part.value(self.part_bytes_max));
            value.transpose()
        };
        let unit = self.text(unit.as_ref())?;
        let values = [value(&temporality)?, value(&monotonic)?];
        let [temporality, monotonic] = [(&temporality, &values[0]), (&monotonic, &values[1])]
            .map(|(part, value)| Some(Cursor::new(value.as_ref()?, part.as_ref()?.path)));
        let data = parts::metric_data(key, temporality.as_ref(), monotonic.as_ref())?;
        let metric = Metric {
            name: &name,
            unit: &unit,
            data,
        };
        let meta = metric.meta()?;
        Ok(Head { name, data, meta })
    }
}

struct Logs<'l, 'o> {
    stream_labels: StreamLabels<'l>,
    /// Why the resource cannot be used, if so: then no record of it can.
    resource: Result<(), Refusal>,
    part_bytes_max: usize,
    scratch: &'o mut Scratch,
    out: &'o mut RawBatch,
}

impl Take for Logs<'_, '_> {
    fn resource(&mut self, resource: Option<&Part<'_, '_>>) {
        self.scratch.start_shared();
        self.resource = resource.map_or(Ok(()), |resource| {
            let value = resource.value(self.part_bytes_max)?;
            self.attributes(&parts::attributes(&Cursor::new(&value, resource.path))?)
        });
        self.scratch.share(&[], self.out);
    }

    /// A stream is told by the attributes that the configuration names, and the scope is none.
    fn scope(&mut self, _: Option<&Part<'_, '_>>) {}

    fn item(&mut self, item: &Part<'_, '_>) -> Result<(), Fault> {
        check(self.out)?;
        self.scratch.start_record();
        self.resource.clone()?;
        let value = item.value(self.part_bytes_max);
        let cursor = value.as_ref().map(|value| Cursor::new(value, item.path));
        let record = cursor.as_ref().map_err(|refusal| Refusal::clone(refusal));
        let added = record.and_then(|cursor| self.add(parts::record(cursor)?));
        if let Err(refusal) = added {
            self.refuse(&refusal);
            let severity = cursor.ok().and_then(|cursor| parts::severity_of(&cursor));
            self.scratch.unread(&[], severity, self.out);
        }
        Ok(())
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.out.rejects.log(refusal.reason, || {
            format!("log record: {}", excerpt(&refusal.detail))
        });
    }
}

impl Logs<'_, '_> {
    fn add(&mut self, record: Record<'_>) -> Result<(), Refusal> {
        let at = timestamp(match record.at_nanos {
            0 => record.observed_nanos,
            nanos => nanos,
        })?;
        let severity = severity(record.severity_number, &record.severity_text);
        self.attributes(&vec![("event.name".into(), record.event_name)])?;
        self.attributes(&record.attributes)?;
        let body = record.body.into_text();
        let (body, ()) = self.out.write(|out| out.extend(body.as_bytes()));
        let (stream, hash) = self.scratch.stream(&[], self.out)?;
        self.out.log(RawLog {
            at,
            severity,
            body,
            hash,
            stream,
            count: 1,
        });
        Ok(())
    }

    /// Keeps those that tell the stream.
    fn attributes(&mut self, attributes: &Attributes<'_>) -> Result<(), Refusal> {
        for (name, value) in attributes {
            if self.stream_labels.contains(name.as_bytes()) {
                let [name, value] = [name, value].map(|text| {
                    let (piece, ()) = self.out.write(|out| out.extend(text.as_bytes()));
                    piece
                });
                self.scratch.push(name, value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
