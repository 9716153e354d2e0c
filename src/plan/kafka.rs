//! How a cluster of Kafka is reached: what its sources and sinks have in common.

use std::collections::BTreeMap;

use super::{
    tree::{Tree, quoted},
    walk::{Entries, Place},
};

/// Encrypted connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaTls {
    /// Certificates that brokers are checked against; `None`: those of the system.
    pub ca_file: Option<String>,
    /// The engine's own certificate; together with the key.
    pub cert_file: Option<String>,
    /// The key of the certificate.
    pub key_file: Option<String>,
    /// File that holds the password of the key.
    pub key_password_file: Option<String>,
}

/// How the engine proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    /// Name of the user.
    pub user: String,
    /// File that holds the password.
    pub password_file: String,
}

const MECHANISMS: [(&str, &str); 3] = [
    ("PLAIN", "PLAIN"),
    ("SCRAM-SHA-256", "SCRAM-SHA-256"),
    ("SCRAM-SHA-512", "SCRAM-SHA-512"),
];

/// Properties that are not the user's to set: a name, or the beginning of one, and what to do.
const DECIDED: [(&str, &str); 10] = [
    ("bootstrap.servers", "write the key brokers instead"),
    ("metadata.broker.list", "write the key brokers instead"),
    ("security.protocol", "write the keys tls and sasl instead"),
    (
        "sasl.",
        "write the key sasl: {mechanism: …, user: …, password_file: …} instead",
    ),
    ("ssl.ca.location", TLS),
    ("ssl.certificate.", TLS),
    ("ssl.key.", TLS),
    ("ssl.keystore.", TLS),
    (
        "plugin.library.paths",
        "no code is loaded into the engine: remove it",
    ),
    (
        "test.mock.",
        "the engine works with real brokers: remove it",
    ),
];
const TLS: &str =
    "write the key tls: {ca_file: …, cert_file: …, key_file: …, key_password_file: …} instead";

/// Reads `brokers`.
pub(super) fn brokers(place: &Place<'_>) -> Vec<String> {
    if matches!(&place.node.value, Tree::List(items) if items.is_empty()) {
        place.fault("no broker is named", "write at least one as \"host:9092\"");
    }
    let mut brokers = Vec::new();
    for item in place.list() {
        let Some(text) = item.text() else { continue };
        if is_broker(text) {
            brokers.push(text.to_owned());
        } else {
            item.fault(
                format!("{} is no address of a broker", quoted(text)),
                "write a host and a port, such as \"kafka-1:9092\"",
            );
        }
    }
    brokers
}

/// `host:port`, where the host may be an IPv6 address in brackets. A protocol in front is left to
/// `tls` and `sasl`.
fn is_broker(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let name = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_name = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !name.is_empty() && name.chars().all(plain)
    };
    let is_host = match name {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// As brokers have it.
pub(super) fn is_topic(name: &str) -> bool {
    const BYTES_MAX: usize = 249;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_length = (1..=BYTES_MAX).contains(&name.len());
    is_length && name != "." && name != ".." && name.chars().all(plain)
}

fn file(keys: &Entries<'_>, key: &str) -> Option<String> {
    keys.get(key).and_then(Place::text).map(str::to_owned)
}

/// Reads `tls`.
pub(super) fn tls(place: &Place<'_>) -> Option<KafkaTls> {
    let keys = place.map(&["ca_file", "cert_file", "key_file", "key_password_file"])?;
    for (key, needed) in [
        ("cert_file", "key_file"),
        ("key_file", "cert_file"),
        ("key_password_file", "key_file"),
    ] {
        if keys.has(key) && !keys.has(needed) {
            place.fault(format!("{key} without {needed}"), format!("add {needed}"));
        }
    }
    Some(KafkaTls {
        ca_file: file(&keys, "ca_file"),
        cert_file: file(&keys, "cert_file"),
        key_file: file(&keys, "key_file"),
        key_password_file: file(&keys, "key_password_file"),
    })
}

/// Reads `sasl`.
pub(super) fn sasl(place: &Place<'_>) -> Option<KafkaSasl> {
    if let Tree::Map(pairs) = &place.node.value
        && pairs.iter().any(|pair| pair.key == "password")
    {
        place.fault(
            "a password does not belong into the configuration",
            "write password_file, the name of a file that holds it",
        );
        return None;
    }
    let keys = place.map(&["mechanism", "user", "password_file"])?;
    let mechanism = keys
        .require("mechanism", "add mechanism: SCRAM-SHA-512")
        .and_then(|place| place.word(&MECHANISMS));
    let user = keys.require("user", "add user: …").and_then(Place::text);
    let password_file = keys
        .require("password_file", "add password_file: /path/to/the/file")
        .and_then(Place::text);
    Some(KafkaSasl {
        mechanism: mechanism?,
        user: user?.to_owned(),
        password_file: password_file?.to_owned(),
    })
}

/// Properties of a client of librdkafka. `known`: those that are decided for this kind of client, and what
/// to do instead.
pub(super) fn properties(
    place: &Place<'_>,
    known: &[(&str, &'static str)],
) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for (name, place) in place.free_map() {
        if let Some(remedy) = decided(name, known) {
            place.fault("not a property to set here", remedy);
            continue;
        }
        let value = match &place.node.value {
            Tree::Text(text) => text.clone(),
            Tree::Integer(number) => number.to_string(),
            Tree::Number(number) => number.to_string(),
            Tree::Flag(flag) => flag.to_string(),
            Tree::Nothing | Tree::List(_) | Tree::Map(_) => {
                place.fault(
                    format!("{} is no value of a property", place.node.value),
                    "write a text, a number, true or false",
                );
                continue;
            }
        };
        properties.insert(name.to_owned(), value);
    }
    properties
}

/// What to do instead of setting this property, if it is not the user's to set.
fn decided(name: &str, known: &[(&str, &'static str)]) -> Option<&'static str> {
    if name.contains("password") || name.contains("secret") {
        return Some("secrets come from files: write the keys tls and sasl instead");
    }
    DECIDED
        .iter()
        .chain(known)
        .find(|(known, _)| *known == name || known.ends_with('.') && name.starts_with(known))
        .map(|(_, remedy)| *remedy)
}
