//! Writes the journal of `a_late_partition`: what a live run took in while a rack was cut off.

use sluice::{
    event::{Begin, DeploymentEvent, Span, Timestamp},
    journal::{self, Body, Encoding, Entry, Format},
};

use crate::noise::Noise;

const BEGAN: i64 = 1_772_532_000;
const HOSTS: [&str; 6] = ["h1", "h2", "h3", "h4", "h5", "h6"];
/// The host that is cut off, and the minutes from which on it is and is no more.
const CUT_OFF: (&str, i64, i64) = ("h2", 10, 20);

/// The bytes of the journal.
pub(crate) fn journal() -> Vec<u8> {
    journal::one_file(&entries()).expect("the journal can be written")
}

fn entries() -> Vec<Entry> {
    let mut noise = Noise::new(7);
    let mut entries = Vec::new();
    let mut kept = Vec::new();
    for minute in -20..35 {
        let at = Timestamp::from_seconds(BEGAN) + Span::from_minutes(minute);
        if minute == 0 {
            entries.push(Entry::Deployment(DeploymentEvent::Begin(begin(at))));
        }
        let (cut_off, from, to) = CUT_OFF;
        let (mut there, mut away) = (Vec::new(), Vec::new());
        for host in HOSTS {
            let value = 0.3 + 0.02 * noise.normal();
            let is_away = host == cut_off && from <= minute && minute < to;
            let resource = resource(host, at + Span::from_seconds(20), value);
            if is_away { &mut away } else { &mut there }.push(resource);
        }
        kept.append(&mut away);
        if minute == to {
            entries.push(request(&std::mem::take(&mut kept)));
        }
        entries.push(request(&there));
        entries.push(Entry::Tick(at + Span::from_seconds(30)));
        entries.push(Entry::Tick(at + Span::from_seconds(60)));
    }
    entries
}

fn begin(at: Timestamp) -> Begin {
    Begin {
        at,
        deployment: "d1".to_owned(),
        service: "shop".to_owned(),
        stage: "onebox".to_owned(),
        region: None,
        version: "v2".to_owned(),
        one_box: vec!["h1".to_owned(), "h2".to_owned()],
        fleet: Vec::new(),
        weight: 1.0,
        hotfix: None,
    }
}

/// One export of a collector, as OTLP/JSON.
fn request(resources: &[String]) -> Entry {
    let body = format!("{{\"resourceMetrics\":[{}]}}", resources.join(","));
    Entry::Batch(Body {
        format: Format::OtlpMetricsJson,
        encoding: Encoding::Identity,
        bytes: body.into(),
    })
}

fn resource(host: &str, at: Timestamp, value: f64) -> String {
    let attribute = |key: &str, value: &str| {
        format!("{{\"key\":\"{key}\",\"value\":{{\"stringValue\":\"{value}\"}}}}")
    };
    format!(
        "{{\"resource\":{{\"attributes\":[{},{}]}},\"scopeMetrics\":[{{\"metrics\":[{{\"name\":\
         \"cpu_busy_ratio\",\"gauge\":{{\"dataPoints\":[{{\"timeUnixNano\":\"{}\",\"asDouble\":{value:.4}}}\
         ]}}}}]}}]}}",
        attribute("host.name", host),
        attribute("service.name", "shop"),
        at.nanos(),
    )
}
