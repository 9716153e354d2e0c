//! Versions that stand only on series about hosts, to be joined to the hosts by their name.
//!
//! Prometheus keeps the attributes of an OpenTelemetry resource on `target_info`, and Kubernetes' state
//! metrics the labels of a pod on `kube_pod_labels`; the other series have neither.

use crate::{event::Labels, plan::LabelRoles};

/// The version of a host, as a series about it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// What the host may be called.
    pub(super) hosts: Vec<String>,
    /// Its version.
    pub(super) version: String,
    /// Whether it is about one service of the host, not about the host as a whole.
    pub(super) is_of_service: bool,
}

/// The label that Kubernetes recommends for versions.
const KUBERNETES_VERSION: &str = "label_app_kubernetes_io_version";

impl Told {
    /// What the series tells, if it is one about a host with a version.
    pub(super) fn of(labels: &Labels, roles: &LabelRoles) -> Option<Self> {
        let of_names = |names: &[String], prefix: &str| {
            let found = names.iter().find_map(|name| {
                let plain = format!("{prefix}{}", normal(name));
                let raw = prefix.is_empty().then(|| labels.get(name)).flatten();
                raw.or_else(|| labels.get(&plain))
            });
            found
                .filter(|version| !version.is_empty())
                .map(str::to_owned)
        };
        let (hosts, version) = match labels.metric() {
            "target_info" => {
                let named = roles.host.iter().flat_map(|name| {
                    [labels.get(name), labels.get(&normal(name))]
                        .into_iter()
                        .flatten()
                });
                (
                    named.map(str::to_owned).collect(),
                    of_names(&roles.version, "")?,
                )
            }
            "kube_pod_labels" => {
                // Its instance is whoever tells of the pod.
                let pod = labels.get("pod")?.to_owned();
                let recommended = || labels.get(KUBERNETES_VERSION).map(str::to_owned);
                let version = of_names(&roles.version, "label_").or_else(recommended)?;
                (vec![pod], version)
            }
            _ => return None,
        };
        let mut hosts: Vec<String> = hosts;
        hosts.sort_unstable();
        hosts.dedup();
        let service = roles
            .service
            .iter()
            .flat_map(|name| [labels.get(name), labels.get(&normal(name))]);
        let is_of_service = labels.metric() == "target_info" && service.flatten().next().is_some();
        (!hosts.is_empty()).then_some(Self {
            hosts,
            version,
            is_of_service,
        })
    }
}

/// The name of an attribute as a label of Prometheus.
fn normal(name: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '_'
        }
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles() -> LabelRoles {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        LabelRoles {
            host: names(&["host.name", "instance", "host", "pod"]),
            service: names(&["service"]),
            region: names(&["region"]),
            version: names(&["service.version", "version"]),
            ignore: Vec::new(),
        }
    }

    fn told(labels: &[(&str, &str)]) -> Option<(String, String)> {
        let labels = Labels::new(labels.iter().copied());
        let told = Told::of(&labels, &roles())?;
        Some((told.hosts.join(" "), told.version))
    }

    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    #[test]
    fn a_series_about_a_host_tells_its_version() {
        for (labels, expected) in [
            (
                &[
                    ("__name__", "target_info"),
                    ("instance", "h1:80"),
                    ("service_version", "v2"),
                ][..],
                Some(("h1:80", "v2")),
            ),
            (
                &[
                    ("__name__", "target_info"),
                    ("host_name", "h1"),
                    ("instance", "h1:80"),
                    ("version", "v3"),
                ],
                Some(("h1 h1:80", "v3")),
            ),
            (
                &[
                    ("__name__", "kube_pod_labels"),
                    ("instance", "ksm:8080"),
                    ("pod", "web-1"),
                    ("label_version", "v2"),
                ],
                Some(("web-1", "v2")),
            ),
            (
                &[
                    ("__name__", "kube_pod_labels"),
                    ("pod", "web-1"),
                    (KUBERNETES_VERSION, "2.1"),
                ],
                Some(("web-1", "2.1")),
            ),
            (
                &[
                    ("__name__", "kube_pod_labels"),
                    ("pod", "web-1"),
                    ("label_app", "web"),
                ],
                None,
            ),
            (
                &[
                    ("__name__", "kube_pod_labels"),
                    ("instance", "ksm"),
                    ("label_version", "v2"),
                ],
                None,
            ),
            (
                &[("__name__", "target_info"), ("service_version", "v2")],
                None,
            ),
            (
                &[
                    ("__name__", "target_info"),
                    ("instance", "h1"),
                    ("version", ""),
                ],
                None,
            ),
            (
                &[("__name__", "up"), ("instance", "h1"), ("version", "v2")],
                None,
            ),
        ] {
            let expected = expected.map(|(host, version)| (host.to_owned(), version.to_owned()));
            assert_eq!(told(labels), expected, "{labels:?}");
        }
    }
}
