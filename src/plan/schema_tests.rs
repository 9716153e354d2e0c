//! The schema and the loader are held against each other: neither knows a key that the other does not.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use crate::plan::{Plan, tree::Node, walk, wording};

const EXAMPLE: &str = include_str!("../../fixtures/config/example.yaml");

/// What the example leaves out.
const REST: &str = r#"
listen: {grpc: "127.0.0.1:0", http: "[::1]:0", otlp_grpc: "0.0.0.0:4317", otlp_http: "127.0.0.1:4318"}
tls: {cert_file: /c, key_file: /k, client_ca_file: /r}
access:
  tokens: [{role: ingest, file: /t}]
  certificates: [{role: admin, name: ana.example}]
resolution: 10s
lateness: 0
labels: {host: [h], service: [s], region: [], version: [v], ignore: [path, {label: id, metric: x}], keep: [revision]}
checks:
  a: {metric: x, kind: gauge, unit: percent, bounds: {min: 1%, max: 90%, for: 5m}}
  b: {metric: x, kind: counter, bounds: {max: 5MB/s}}
  c: {metric: x, derivative: {max: 1%/h, min: -5MB/d, over: 2h}}
  d: {metric: x, quantile: 0.9, sigma: {k: 3.5, direction: up}}
  e: {metric: x, per: y, compare: {tolerance: 150%, direction: both}}
  f: {metric: x, load: {factor: 120%, of: one}}
  g: {logs: {severity: warn, body: "x", attributes: {k: v}}, bounds: {max: 5/m}}
  h: {logs: {new: true}}
  i: {metric: up, absent: 1h30m}
services:
  s:
    match: {}
    alpha: 50%
    stages:
      - name: one
        match: {a: b}
        regions: [r]
        steps: [t]
        checks: [a, b, c, d, e, f, g, {check: h, mode: advisory, weight: 3}, i]
        bake: {min: 1h, max: 2h}
        grace: 5m
        policies:
          one_region_at_a_time: true
          off_peak: {zone: UTC, windows: ["22:00-06:00"]}
          hotfix_skips: [bake]
          start_blockers: false
          open_on_new_version: true
      - {name: two, steps: [t], policies: {off_peak: learned}}
log_patterns: [{pattern: "(?<time>x)", time_format: "%Y-%m-%d %H:%M:%S", zone: Europe/Warsaw}]
sources:
  - kafka:
      brokers: ["k:9092"]
      topics: {t: {format: remote-write, compression: none}, d: {format: json-deployments, overrides: true}}
      start: earliest
      group: g
      blind_after: 30s
      tls: {ca_file: /r, cert_file: /c, key_file: /k, key_password_file: /p}
      sasl: {mechanism: PLAIN, user: u, password_file: /p}
      properties: {fetch.wait.max.ms: 100, client.id: x, log.connection.close: false}
sinks:
  - {alertmanager: {url: "http://a", name: n, ca_file: /r, timeout: 3s, queue: 7, bearer_file: /t, no_data: false, resolve_after: 0s, resend: 30s}}
  - {grafana_webhook: {url: "https://b/x", max_alerts: 0}}
  - {grafana_annotations: {url: "http://c", token_file: /t, tags: [x]}}
  - {kafka: {brokers: ["k:9092"], topic: v, name: m, tls: {ca_file: /r}, sasl: {mechanism: PLAIN, user: u, password_file: /p}, properties: {linger.ms: 1}}}
limits: {request_bytes: 1MiB, decompressed_bytes: 7, samples_per_request: 7, labels: 7, label_bytes: 7kB, series_per_service: 7, series: 7, samples_per_bucket: 7, templates: 7, open_gates: 7, future: 0s, journal_bytes: 1GiB, open_requests: 7, connections: 7}
journal: {keep: 0s, snapshot_every: 5m, commit_delay: 2ms}
ledger: {keep: 90d}
external_url: "https://sluice.example"
"#;

fn schema() -> Value {
    serde_json::from_str(Plan::SCHEMA).unwrap()
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn document(text: &str) -> Value {
    wording::json(&Node::read(text).unwrap())
}

fn check(name: &str, text: &str) {
    let document = document(text);
    let faults: Vec<String> = validator()
        .iter_errors(&document)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{name}: {faults:#?}");
    if let Err(faults) = Plan::parse_in(text, &|_| Some("1m".to_owned())) {
        panic!("{name}: {faults}");
    }
}

#[expect(clippy::disallowed_methods, reason = "a test that reads its fixtures")]
#[test]
fn every_configuration_that_loads_fits_the_schema() {
    jsonschema::meta::validate(&schema()).unwrap();
    check("example", EXAMPLE);
    check("rest", REST);
    check("embedded", include_str!("embedded.yaml"));
    check(
        "reference",
        &REST.replace("snapshot_every: 5m", "snapshot_every: '${EVERY}'"),
    );
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings");
    let mut checked = 0;
    for entry in fs::read_dir(recordings).unwrap() {
        let file = entry.unwrap().path().join("sluice.yaml");
        if let Ok(text) = fs::read_to_string(&file) {
            check(&file.display().to_string(), &text);
            checked += 1;
        }
    }
    assert!(25 < checked, "{checked}");
}

/// A place in the schema: what stands there, and its pointer.
type At<'s> = (String, &'s Value);

/// The schemas that stand for one: through references and alternatives.
fn alternatives<'s>(root: &'s Value, (pointer, schema): At<'s>) -> Vec<At<'s>> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#').to_owned();
        let target = root.pointer(&pointer).unwrap();
        return alternatives(root, (pointer, target));
    }
    match schema["anyOf"].as_array() {
        // Of an object, alternatives only say which keys go together.
        Some(all) if schema["properties"].is_null() => (0..)
            .zip(all)
            .flat_map(|(index, one)| alternatives(root, (format!("{pointer}/anyOf/{index}"), one)))
            .collect(),
        _ => vec![(pointer, schema)],
    }
}

/// The schemas of what stands under a key, or in a list.
fn below<'s>(root: &'s Value, (pointer, schema): &At<'s>, step: &str) -> Vec<At<'s>> {
    let child = |key: &str| {
        let pointer = format!("{pointer}/{key}");
        root.pointer(&pointer).map(|schema| (pointer, schema))
    };
    let found = if step == "[]" {
        child("items")
    } else if schema["properties"].is_object() {
        child(&format!("properties/{step}"))
    } else {
        child("additionalProperties").filter(|(_, schema)| schema.is_object())
    };
    found.map_or_else(Vec::new, |found| alternatives(root, found))
}

/// The objects that stand at a path of keys; those on the way are added to `passed`.
fn objects<'s>(root: &'s Value, path: &[String], passed: &mut BTreeSet<String>) -> Vec<At<'s>> {
    let mut here = vec![(String::new(), root)];
    for step in path {
        here = here
            .iter()
            .flat_map(|at| {
                let below = below(root, at, step);
                if !below.is_empty() {
                    passed.insert(at.0.clone());
                }
                below
            })
            .collect();
    }
    here.retain(|(_, schema)| schema["properties"].is_object());
    here
}

/// Every object of the schema whose keys are fixed.
fn fixed(schema: &Value, pointer: &str, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if map.get("additionalProperties") == Some(&Value::Bool(false)) {
                found.insert(pointer.to_owned());
            }
            for (key, value) in map {
                fixed(value, &format!("{pointer}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                fixed(item, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_schema_has_every_key_of_the_loader_and_no_other() {
    let schema = schema();
    let mut passed = BTreeSet::new();
    let mut compared = BTreeSet::new();
    for text in [EXAMPLE, REST] {
        for (path, known) in walk::maps_read(|| drop(Plan::parse(text))) {
            let objects = objects(&schema, &path, &mut passed);
            let [(pointer, object)] = objects.as_slice() else {
                panic!("{path:?} is {} objects in the schema", objects.len());
            };
            let properties = object["properties"].as_object().unwrap();
            let given: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            let mut known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
            // It is known only to say where it belongs.
            if path.first().is_some_and(|key| key == "checks") && path.len() == 2 {
                assert!(known.remove("new"));
            }
            assert_eq!(given, known, "{path:?}");
            compared.insert(pointer.clone());
        }
    }
    let mut all = BTreeSet::new();
    fixed(&schema, "", &mut all);
    let unseen: Vec<&String> = all
        .iter()
        .filter(|pointer| !compared.contains(*pointer) && !passed.contains(*pointer))
        .collect();
    assert!(unseen.is_empty(), "nothing reads {unseen:?}");
    assert!(30 < compared.len(), "{}", compared.len());
}

/// Every document that differs from one in one place: a key that nobody knows in a map, something else
/// in the place of a value.
fn spoilt(document: &Value) -> Vec<(String, Value)> {
    let mut pointers = Vec::new();
    collect(document, "", &mut pointers);
    let mut all = Vec::new();
    for pointer in pointers {
        let at = |change: &dyn Fn(&mut Value)| {
            let mut spoilt = document.clone();
            change(spoilt.pointer_mut(&pointer).unwrap());
            (pointer.clone(), spoilt)
        };
        if document.pointer(&pointer).unwrap().is_object() {
            all.push(at(&|value| value["zzz"] = json!({"zzz": []})));
        }
        all.push(at(&|value| *value = json!([[{"zzz": 1}]])));
        all.push(at(&|value| *value = json!({"zzz": [1]})));
    }
    all
}

fn collect(value: &Value, pointer: &str, pointers: &mut Vec<String>) {
    pointers.push(pointer.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                collect(
                    value,
                    &format!("{pointer}/{}", key.replace('/', "~1")),
                    pointers,
                );
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{pointer}/{index}"), pointers);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn what_the_loader_refuses_of_keys_and_types_the_schema_refuses() {
    let validator = validator();
    let mut refused = 0;
    for text in [EXAMPLE, REST] {
        for (pointer, spoilt) in spoilt(&document(text)) {
            let loads = Plan::parse(&spoilt.to_string()).is_ok();
            assert!(!loads, "the loader takes what is wrong at {pointer}");
            assert!(
                !validator.is_valid(&spoilt),
                "the schema takes what is wrong at {pointer}"
            );
            refused += 1;
        }
    }
    assert!(400 < refused, "{refused}");
}

#[test]
fn the_schema_refuses_units_and_words_that_the_loader_refuses() {
    for (from, to) in [
        ("for: 5m", "for: 5"),
        ("for: 5m", "for: 5 minutes"),
        ("over: 2h", "over: 2m1h"),
        ("alpha: 50%", "alpha: 50"),
        ("max: 1%/h", "max: 1%"),
        ("quantile: 0.9", "quantile: 1.9"),
        ("direction: up", "direction: upwards"),
        ("kind: gauge", "kind: gouge"),
        ("mode: advisory", "mode: advise"),
        ("weight: 3", "weight: 300"),
        ("22:00-06:00", "22-06"),
        ("series: 7", "series: 0"),
        ("7kB", "7 bites"),
        ("http://a", "ftp://a"),
        ("\"k:9092\"", "k"),
        ("role: ingest", "role: guest"),
        ("format: remote-write", "format: remote_write"),
        ("start_blockers: false", "start_blockers: no way"),
        ("otlp_http: \"127.0.0.1:4318\"", "otlp_http: localhost"),
    ] {
        let text = REST.replacen(from, to, 1);
        assert_ne!(text, REST, "{from}");
        assert!(Plan::parse(&text).is_err(), "the loader takes {to}");
        assert!(
            !validator().is_valid(&document(&text)),
            "the schema takes {to}"
        );
    }
}
