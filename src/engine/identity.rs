//! Which labels tell the metrics of a service's hosts apart.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::{
    event::{Labels, METRIC_NAME, SCOPE_LABELS},
    plan::{LabelRoles, SeriesSelector, ServicePlan, renamed},
};

/// Finds what makes series of different hosts comparable: all labels but the roles, but those that tell the
/// stages of the service apart, since a one-box that is marked as such is still compared, and but those that
/// the configuration has ignored.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// Labels that are no part of it, whatever the series.
    left_out: HashSet<String, FixedState>,
    /// The same of the series that one of the selectors takes.
    left_out_of: HashMap<String, Vec<SeriesSelector>, FixedState>,
    /// Of these series no label is part of it but the name.
    bare: Vec<SeriesSelector>,
    /// That found last: series come in the order of their labels, host after host.
    latest: Labels,
}

/// Labels that tell hosts apart whatever the configuration takes for the host: left in the identity
/// of a series, each host would have metrics of its own, and nothing could be compared.
const PLACE_LABELS: [&str; 8] = [
    "container.id",
    "host",
    "host.id",
    "host.name",
    "instance",
    "k8s.pod.uid",
    "pod",
    "service.instance.id",
];

impl Identity {
    /// Knows which labels are no part of it in a service.
    pub(super) fn new(roles: &LabelRoles, service: &ServicePlan) -> Self {
        let LabelRoles {
            host,
            service: name,
            region,
            version,
            ignore,
        } = roles;
        let roles = [host, name, region, version].into_iter().flatten();
        let stages = service.stages.iter().flat_map(|stage| &stage.matchers);
        let staged = stages
            .map(|matcher| &matcher.label)
            .filter(|name| *name != METRIC_NAME);
        let staged = staged.flat_map(|name| [Some(name.as_str()), renamed(name)]);
        let staged = staged.flatten().map(str::to_owned);
        let places = PLACE_LABELS.into_iter().map(str::to_owned);
        // Nor by what its series were measured: two scopes count for one metric of a host, and another version
        // of an instrumentation on the one-box is still compared.
        let scopes = SCOPE_LABELS.into_iter().map(str::to_owned);
        let known = places.chain(scopes);
        let mut identity = Self {
            left_out: known.chain(roles.cloned()).chain(staged).collect(),
            left_out_of: HashMap::default(),
            bare: Vec::new(),
            latest: Labels::default(),
        };
        for ignored in ignore {
            match &ignored.label {
                None => identity.bare.push(ignored.of.clone()),
                Some(label) if ignored.of.is_everything() => {
                    identity.left_out.insert(label.clone());
                }
                Some(label) => {
                    let selectors = identity.left_out_of.entry(label.clone()).or_default();
                    selectors.push(ignored.of.clone());
                }
            }
        }
        identity
    }

    /// The labels of a series that tell its metric.
    pub(super) fn of(&mut self, labels: &Labels) -> Labels {
        let is_any = |selectors: &[SeriesSelector]| {
            selectors.iter().any(|selector| selector.matches(labels))
        };
        let is_bare = is_any(&self.bare);
        let keep = |name: &str| {
            let is_left_out = is_bare
                || self.left_out.contains(name)
                || self.left_out_of.get(name).is_some_and(|of| is_any(of));
            name == METRIC_NAME || !is_left_out
        };
        if !self
            .latest
            .iter()
            .eq(labels.iter().filter(|(name, _)| keep(name)))
        {
            self.latest = labels.retain(keep);
        }
        self.latest.clone()
    }

    /// Whether both leave the same labels out of all series.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.left_out_of, &other.left_out_of);
        self.left_out == other.left_out && ours == theirs && self.bare == other.bare
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    const PLAN: &str = r#"
labels: {host: [pod, instance], ignore: [path, {label: color, metric: '{__name__=~"http_.+"}'}], keep: [revision, node]}
checks: {a: {metric: '*', compare: {}}}
services: {web: {stages: [{name: all, checks: [a], bake: 1h}]}}
"#;

    /// What tells the metric of a series with these labels, as a selector of Prometheus.
    fn identity(plan: &str, labels: &[(&str, &str)]) -> String {
        let plan = Plan::parse(plan).unwrap_or_else(|faults| panic!("{faults}"));
        let labels = Labels::new(labels.iter().copied());
        let mut identity = Identity::new(&plan.labels, &plan.services["web"]);
        identity.of(&labels).to_string()
    }

    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    #[test]
    fn what_a_version_pod_or_container_changes_is_no_part_of_a_metric() {
        let uid = "3e1f9c5a-6a5e-4a0c-9d2b-0a8c1b7e4f21";
        let pod = ("pod", "web-1");
        for (labels, expected) in [
            (
                &[
                    ("__name__", "container_cpu_usage_seconds_total"),
                    pod,
                    ("container", "app"),
                    ("id", "/kubepods/a"),
                    ("image", "app:v2"),
                    ("name", "k8s_app_web-1"),
                ][..],
                "container_cpu_usage_seconds_total{container=\"app\"}",
            ),
            // A machine without Kubernetes: the name is that of a container among others.
            (
                &[
                    ("__name__", "container_cpu_usage_seconds_total"),
                    ("instance", "m1"),
                    ("id", "/docker/a"),
                    ("image", "app:v2"),
                    ("name", "redis"),
                ],
                "container_cpu_usage_seconds_total{name=\"redis\"}",
            ),
            // And what is no container is known by its cgroup.
            (
                &[
                    ("__name__", "container_cpu_usage_seconds_total"),
                    ("instance", "m1"),
                    ("id", "/system.slice"),
                ],
                "container_cpu_usage_seconds_total{id=\"/system.slice\"}",
            ),
            (
                &[
                    ("__name__", "jvm_memory_used_bytes"),
                    pod,
                    ("area", "heap"),
                    ("id", "G1 Eden Space"),
                ],
                "jvm_memory_used_bytes{area=\"heap\",id=\"G1 Eden Space\"}",
            ),
            (
                &[
                    ("__name__", "cache_gets_total"),
                    pod,
                    ("name", "users"),
                    ("pod_template_hash", "6d4f"),
                ],
                "cache_gets_total{name=\"users\"}",
            ),
            (
                &[
                    ("__name__", "jobs"),
                    pod,
                    ("uid", uid),
                    ("k8s.replicaset.name", "web-6d4f"),
                    ("k8s_pod_start_time", "12:00"),
                    ("container.image.tags", "v2"),
                ],
                "jobs",
            ),
            (
                &[("__name__", "jobs"), pod, ("uid", "1000")],
                "jobs{uid=\"1000\"}",
            ),
            (
                &[
                    ("__name__", "kube_replicaset_status_replicas"),
                    ("instance", "ksm"),
                    ("replicaset", "web-6d4f"),
                ],
                "kube_replicaset_status_replicas{replicaset=\"web-6d4f\"}",
            ),
            (
                &[
                    ("__name__", "app_build_info"),
                    pod,
                    ("goversion", "go1.25"),
                    ("branch", "main"),
                ],
                "app_build_info",
            ),
            (
                &[
                    ("__name__", "kube_pod_container_resource_limits"),
                    pod,
                    ("uid", "static-web-1"),
                    ("node", "ip-10-0-167-24"),
                    ("resource", "memory"),
                ],
                "kube_pod_container_resource_limits{resource=\"memory\"}",
            ),
            (
                &[
                    ("__name__", "kube_pod_ips"),
                    pod,
                    ("ip", "10.0.3.4"),
                    ("host_ip", "10.0.0.1"),
                    ("created_by_name", "web-6d4f"),
                    ("owner_name", "web-6d4f"),
                    ("ip_family", "4"),
                ],
                "kube_pod_ips{ip_family=\"4\"}",
            ),
            // Elsewhere they tell what is measured.
            (
                &[
                    ("__name__", "kube_node_status_capacity"),
                    ("instance", "ksm"),
                    ("node", "ip-10-0-167-24"),
                ],
                "kube_node_status_capacity{node=\"ip-10-0-167-24\"}",
            ),
            (
                &[
                    ("__name__", "kube_pod_labels"),
                    pod,
                    ("label_pod_template_hash", "6d4f"),
                ],
                "kube_pod_labels",
            ),
            (
                &[
                    ("__name__", "kube_pod_owner"),
                    pod,
                    ("owner_kind", "ReplicaSet"),
                    ("owner_name", "web-6d4f"),
                ],
                "kube_pod_owner",
            ),
            (
                &[
                    ("__name__", "kube_replicaset_annotations"),
                    ("instance", "ksm"),
                    ("replicaset", "web-6d4f"),
                    ("annotation_deployment_kubernetes_io_revision", "7"),
                ],
                "kube_replicaset_annotations",
            ),
        ] {
            let usual = PLAN.replacen("ignore:", "region: []} #", 1);
            assert_eq!(identity(&usual, labels), expected, "{labels:?}");
        }
    }

    #[test]
    fn a_configuration_says_what_else_is_ignored_and_what_is_not() {
        let (path, color) = (("path", "/v2"), ("color", "blue"));
        for (labels, expected) in [
            (
                &[
                    ("__name__", "http_requests_total"),
                    path,
                    color,
                    ("code", "500"),
                ][..],
                "http_requests_total{code=\"500\"}",
            ),
            (
                &[("__name__", "lamps"), path, color],
                "lamps{color=\"blue\"}",
            ),
            (
                &[("__name__", "lamps"), ("revision", "a1")],
                "lamps{revision=\"a1\"}",
            ),
            (&[("__name__", "lamps"), ("image_id", "a1")], "lamps"),
            (
                &[
                    ("__name__", "kube_pod_ips"),
                    ("node", "n1"),
                    ("ip", "10.0.3.4"),
                ],
                "kube_pod_ips{node=\"n1\"}",
            ),
        ] {
            assert_eq!(identity(PLAN, labels), expected, "{labels:?}");
        }
    }
}
