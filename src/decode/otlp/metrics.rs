//! Metrics of an OTLP request → series and points that borrow from it.

use super::{
    super::{
        Fault, Refusal, check, excerpt,
        protobuf::{Field, Reader},
    },
    DecodeError, ResourcePiece, Run, Scope,
    data_run::DataRun,
    key::{self, Head},
    part,
    points::{
        Attributes, BUCKETS_MAX, Buckets, Data, ExplicitPoint, ExponentialPoint, Metric,
        NO_RECORDED_VALUE, PointData, SummaryPoint, timestamp,
    },
    write_fields,
};
use crate::event::{
    Histogram, Kind, Piece, RawBatch, RejectReason, SeriesMeta, Timestamp, Unit, Value,
};

/// A metric whose points are walked.
pub(in crate::decode) struct Walk<'a, 'b> {
    bytes: &'a [u8],
    name: &'a str,
    scope: Scope<'a>,
    meta: SeriesMeta,
    resource: &'b ResourcePiece,
    /// What the metric says of its series, and what that and the resource give to their hashes.
    head: (Piece, u64),
    out: &'b mut RawBatch,
}

/// What a point has whatever it holds.
#[derive(Clone, Copy, Default)]
struct PointHead {
    attributes: Run,
    start_nanos: u64,
    at_nanos: u64,
    flags: u64,
}

/// Where a point stands in time.
#[derive(Clone, Copy)]
pub(in crate::decode) struct When {
    at: Timestamp,
    start: Timestamp,
    is_stale: bool,
}

/// Walks one metric.
pub(super) fn walk(
    bytes: &[u8],
    message: Reader<'_>,
    scope: &Result<Scope<'_>, Refusal>,
    resource: &ResourcePiece,
    out: &mut RawBatch,
) -> Result<(), DecodeError> {
    let (mut name, mut unit, mut data) = (Ok(""), Ok(""), None::<DataRun>);
    let mut rest = message;
    loop {
        let from = rest.offset();
        let Some(field) = rest.next()? else { break };
        match field.number {
            1 => name = part(field.text())?,
            3 => unit = part(field.text())?,
            number @ (5 | 7 | 9 | 10 | 11) if data.is_none_or(|data| data.number != number) => {
                data = Some(DataRun {
                    number,
                    first: from,
                    message,
                });
            }
            _ => {}
        }
    }
    let Some(run) = data else { return Ok(()) };
    let data = run.read()?;
    // A unit that is not UTF-8 is a unit that is not known.
    let unit = unit.unwrap_or("");
    let told = name.clone().unwrap_or("\u{fffd}");
    let meta = name.and_then(|name| Metric { name, unit, data }.meta());
    let (meta, scope) = match meta.and_then(|meta| Ok((meta, scope.clone()?))) {
        Ok(told) => told,
        Err(refusal) => {
            return run.each_field(|field| {
                if field.number == 1 {
                    refuse(out, told, &refusal);
                }
                Ok(())
            });
        }
    };
    let mut walk = Walk::new(bytes, (told, scope), meta, resource, out);
    run.each_field(|field| match field.number {
        1 => walk.point(data, &field),
        _ => Ok(()),
    })
}

fn write_head(head: Head<'_>, resource: &ResourcePiece, out: &mut RawBatch) -> (Piece, u64) {
    let (piece, ()) = out.write(|out| head.write(resource.len, out));
    let hash = out.keys().last(resource.hash, out.bytes(&[], piece));
    (piece, hash)
}

/// Counts a point of a metric as a reject.
pub(in crate::decode) fn refuse(out: &mut RawBatch, name: &str, refusal: &Refusal) {
    out.rejects.sample(refusal.reason, || {
        format!("metric {:?}: {}", excerpt(name), excerpt(&refusal.detail))
    });
}

impl<'a, 'b> Walk<'a, 'b> {
    /// Starts with what a metric says of its points. `bytes` are those that attributes stand in.
    pub(in crate::decode) fn new(
        bytes: &'a [u8],
        (name, scope): (&'a str, Scope<'a>),
        meta: SeriesMeta,
        resource: &'b ResourcePiece,
        out: &'b mut RawBatch,
    ) -> Self {
        let head = Head {
            name,
            suffix: "",
            scope,
            quantile: None,
            meta,
        };
        let head = write_head(head, resource, out);
        Self {
            bytes,
            name,
            scope,
            meta,
            resource,
            head,
            out,
        }
    }

    /// Takes a point by `take`; if it is refused that is counted.
    #[inline]
    pub(in crate::decode) fn take(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), DecodeError> {
        check(self.out)?;
        match take(self) {
            Ok(()) => Ok(()),
            Err(Fault::Whole(error)) => Err(error),
            Err(Fault::Part(refusal)) => {
                refuse(self.out, self.name, &refusal);
                Ok(())
            }
        }
    }

    /// Takes a point that was not read from protobuf.
    pub(in crate::decode) fn add(
        &mut self,
        attributes: &Attributes<'_>,
        when: When,
        data: PointData,
    ) -> Result<(), Fault> {
        let mut write = || {
            self.out
                .write(|out| key::write_attributes(attributes, out))
                .0
        };
        match data {
            PointData::Number(value) => {
                let value = when.value(value)?;
                let attributes = write();
                self.emit(self.head, attributes, self.meta, when, value);
                Ok(())
            }
            PointData::Explicit(point) => {
                let attributes = write();
                self.histogram(when, attributes, || point.check())
            }
            PointData::Exponential(point) => {
                let attributes = write();
                self.histogram(when, attributes, || point.check())
            }
            PointData::Summary(point) => {
                let attributes = write();
                self.quantiles(when, attributes, point)
            }
        }
    }

    fn point(&mut self, data: Data, field: &Field<'_>) -> Result<(), DecodeError> {
        self.take(|walk| {
            let message = field.message()?;
            match data {
                Data::Gauge | Data::Sum { .. } => walk.number(message),
                Data::Histogram { .. } => walk.explicit(message),
                Data::Exponential { .. } => walk.exponential(message),
                Data::Summary => walk.summary(message),
            }
        })
    }

    fn number(&mut self, mut message: Reader<'_>) -> Result<(), Fault> {
        let mut head = PointHead::default();
        let mut value = None;
        let whole = message;
        loop {
            let from = message.offset();
            let Some(field) = message.next()? else { break };
            match field.number {
                2 => head.start_nanos = field.fixed64()?,
                3 => head.at_nanos = field.fixed64()?,
                4 => value = Some(field.double()?),
                6 => value = Some(field.fixed64()?.cast_signed() as f64),
                7 => head.attributes.add(from, message.offset()),
                8 => head.flags = field.varint()?,
                _ => {}
            }
        }
        let when = head.when()?;
        let value = when.value(value)?;
        let attributes = self.attributes(head, whole, 7)?;
        self.emit(self.head, attributes, self.meta, when, value);
        Ok(())
    }

    fn explicit(&mut self, mut message: Reader<'_>) -> Result<(), Fault> {
        let mut head = PointHead::default();
        let mut point = ExplicitPoint::default();
        let whole = message;
        loop {
            let from = message.offset();
            let Some(field) = message.next()? else { break };
            match field.number {
                2 => head.start_nanos = field.fixed64()?,
                3 => head.at_nanos = field.fixed64()?,
                4 => point.count = field.fixed64()?,
                5 => point.sum = Some(field.double()?),
                6 => field.each_fixed64(|count| keep(&mut point.counts, count))?,
                7 => field.each_fixed64(|bits| keep(&mut point.bounds, f64::from_bits(bits)))?,
                9 => head.attributes.add(from, message.offset()),
                10 => head.flags = field.varint()?,
                _ => {}
            }
        }
        let when = head.when()?;
        let attributes = self.attributes(head, whole, 9)?;
        self.histogram(when, attributes, || point.check())
    }

    fn exponential(&mut self, mut message: Reader<'_>) -> Result<(), Fault> {
        let mut head = PointHead::default();
        let mut point = ExponentialPoint::default();
        let whole = message;
        loop {
            let from = message.offset();
            let Some(field) = message.next()? else { break };
            match field.number {
                1 => head.attributes.add(from, message.offset()),
                2 => head.start_nanos = field.fixed64()?,
                3 => head.at_nanos = field.fixed64()?,
                4 => point.count = field.fixed64()?,
                5 => point.sum = Some(field.double()?),
                6 => point.scale = field.sint32()?,
                7 => point.zero_count = field.fixed64()?,
                8 => buckets(field.message()?, &mut point.positive)?,
                9 => buckets(field.message()?, &mut point.negative)?,
                10 => head.flags = field.varint()?,
                14 => point.zero_threshold = field.double()?,
                _ => {}
            }
        }
        let when = head.when()?;
        let attributes = self.attributes(head, whole, 1)?;
        self.histogram(when, attributes, || point.check())
    }

    /// Takes a histogram, which is built only when it is not stale.
    fn histogram(
        &mut self,
        when: When,
        attributes: Piece,
        build: impl FnOnce() -> Result<Histogram, Refusal>,
    ) -> Result<(), Fault> {
        if when.is_stale {
            self.emit(self.head, attributes, self.meta, when, 0.0);
            return Ok(());
        }
        let histogram = build()?;
        self.start(self.head, attributes, self.meta);
        let start = (when.start != Timestamp::MIN).then_some(when.start);
        self.out
            .value(when.at, start, Value::Histogram(Box::new(histogram)));
        Ok(())
    }

    fn summary(&mut self, mut message: Reader<'_>) -> Result<(), Fault> {
        let mut head = PointHead::default();
        let mut point = SummaryPoint::default();
        let whole = message;
        loop {
            let from = message.offset();
            let Some(field) = message.next()? else { break };
            match field.number {
                2 => head.start_nanos = field.fixed64()?,
                3 => head.at_nanos = field.fixed64()?,
                4 => point.count = field.fixed64()?,
                5 => point.sum = field.double()?,
                6 => keep(&mut point.quantiles, quantile(field.message()?)?),
                7 => head.attributes.add(from, message.offset()),
                8 => head.flags = field.varint()?,
                _ => {}
            }
        }
        let when = head.when()?;
        let attributes = self.attributes(head, whole, 7)?;
        self.quantiles(when, attributes, point)
    }

    fn quantiles(
        &mut self,
        when: When,
        attributes: Piece,
        point: SummaryPoint,
    ) -> Result<(), Fault> {
        if BUCKETS_MAX < point.quantiles.len() {
            let detail = format!("over {BUCKETS_MAX} quantiles: send fewer");
            return Err(Refusal::new(RejectReason::OverLimit, detail).into());
        }
        // One point becomes several series; if its labels cannot be used it is refused once.
        let read = |pieces: [Piece; 3]| {
            key::read_unnamed(pieces.map(|piece| self.out.bytes(self.bytes, piece)))
                .map(drop)
                .map_err(|bad| Refusal::new(bad.reason, bad.detail))
        };
        read([self.head.0, Piece::default(), attributes])?;
        let of_resource = || read([self.head.0, self.resource.piece, Piece::default()]);
        self.resource.check.get_or_init(of_resource).clone()?;
        let counter = SeriesMeta {
            kind: Kind::Counter,
            ..self.meta
        };
        let count = SeriesMeta {
            unit: Unit::Count,
            ..counter
        };
        self.out.parts += 1 + point.quantiles.len() as u64;
        self.part_of_summary("_count", None, count, attributes, when, point.count as f64);
        self.part_of_summary("_sum", None, counter, attributes, when, point.sum);
        for (quantile, value) in point.quantiles {
            self.part_of_summary("", Some(quantile), self.meta, attributes, when, value);
        }
        Ok(())
    }

    fn part_of_summary(
        &mut self,
        suffix: &'static str,
        quantile: Option<f64>,
        meta: SeriesMeta,
        attributes: Piece,
        when: When,
        value: f64,
    ) {
        let head = Head {
            name: self.name,
            suffix,
            scope: self.scope,
            quantile,
            meta,
        };
        let head = write_head(head, self.resource, self.out);
        self.emit(head, attributes, meta, when, value);
    }

    fn attributes(
        &mut self,
        head: PointHead,
        whole: Reader<'_>,
        number: u32,
    ) -> Result<Piece, DecodeError> {
        head.attributes
            .piece(self.out, |out| write_fields(self.bytes, whole, number, out))
    }

    #[inline]
    fn start(&mut self, (head, context): (Piece, u64), attributes: Piece, meta: SeriesMeta) {
        let hash = self
            .out
            .keys()
            .last(context, self.out.bytes(self.bytes, attributes));
        self.out
            .start_series(hash, [head, self.resource.piece, attributes], meta);
    }

    #[inline]
    fn emit(
        &mut self,
        head: (Piece, u64),
        attributes: Piece,
        meta: SeriesMeta,
        when: When,
        value: f64,
    ) {
        self.start(head, attributes, meta);
        let value = if when.is_stale {
            f64::from_bits(Value::STALE_BITS)
        } else {
            value
        };
        self.out.point(when.at, when.start, value);
    }
}

impl PointHead {
    fn when(&self) -> Result<When, Refusal> {
        When::new(self.at_nanos, self.start_nanos, self.flags)
    }
}

impl When {
    pub(in crate::decode) fn new(
        at_nanos: u64,
        start_nanos: u64,
        flags: u64,
    ) -> Result<Self, Refusal> {
        let start = match start_nanos {
            0 => None,
            nanos => timestamp(nanos).ok(),
        };
        Ok(Self {
            at: timestamp(at_nanos)?,
            start: start.unwrap_or(Timestamp::MIN),
            is_stale: flags & NO_RECORDED_VALUE != 0,
        })
    }

    /// The value of a point, which only a stale one may lack.
    fn value(self, value: Option<f64>) -> Result<f64, Refusal> {
        value.or(self.is_stale.then_some(0.0)).ok_or_else(|| {
            let detail = format!("the point at {} has no value", self.at);
            Refusal::new(RejectReason::NoValue, detail)
        })
    }
}

/// Keeps an item of a list, but no more than show that there are too many.
fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() <= BUCKETS_MAX {
        list.push(item);
    }
}

fn buckets(message: Reader<'_>, buckets: &mut Buckets) -> Result<(), DecodeError> {
    message.for_each(|field| match field.number {
        1 => {
            buckets.offset = field.sint32()?;
            Ok(())
        }
        2 => field.each_varint(|count| keep(&mut buckets.counts, count)),
        _ => Ok(()),
    })
}

/// A quantile and its value.
fn quantile(message: Reader<'_>) -> Result<(f64, f64), DecodeError> {
    let mut quantile = (0.0, 0.0);
    message.for_each(|field| {
        match field.number {
            1 => quantile.0 = field.double()?,
            2 => quantile.1 = field.double()?,
            _ => {}
        }
        Ok::<_, DecodeError>(())
    })?;
    Ok(quantile)
}
