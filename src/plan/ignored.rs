//! Labels that tell metrics of one name not apart, whatever their values: what measured, not what is measured.

use std::collections::BTreeSet;

use super::{
    SeriesSelector,
    checks::selector,
    tree::{Tree, quoted},
    walk::Place,
};
use crate::event::METRIC_NAME;

/// A label that is left out of what tells the metrics of a host apart. Selectors still see it.
#[derive(Clone, Debug, PartialEq)]
pub struct IgnoredLabel {
    /// Its name; `None`: every label but the name of the metric.
    pub label: Option<String>,
    /// Of which series; without a condition, of all.
    pub of: SeriesSelector,
}

/// What stands for every label.
const EVERY_LABEL: &str = "*";

/// Without them buckets and quantiles of one distribution would be one value.
const NEVER_IGNORED: [&str; 3] = [METRIC_NAME, "le", "quantile"];

/// Labels that another version, pod, container or process changes, whatever they stand on; also with `_` for
/// what Prometheus allows in no name.
const ALWAYS: [&str; 35] = [
    // Kubernetes: what labels of pods, its state metrics and cAdvisor tell.
    "app_kubernetes_io_version",
    "container_id",
    "controller-revision-hash",
    "helm_sh_chart",
    "image_id",
    "image_spec",
    "pod-template-hash",
    "pod_ip",
    "pod_uid",
    "rollouts-pod-template-hash",
    // Attributes of OpenTelemetry's resources.
    "container.command",
    "container.command_args",
    "container.command_line",
    "container.image.id",
    "container.image.name",
    "container.image.repo_digests",
    "container.image.tag",
    "container.image.tags",
    "k8s.container.restart_count",
    "k8s.pod.ip",
    "k8s.pod.name",
    "k8s.pod.start_time",
    "process.command",
    "process.command_args",
    "process.command_line",
    "process.creation.time",
    "process.parent_pid",
    "process.pid",
    // Telegraf, and what builds are marked with.
    "container_image",
    "container_version",
    "commit_sha",
    "git_commit",
    "git_revision",
    "git_sha",
    "revision",
];

/// Labels that do so on certain series, and tell metrics apart on others: `id` and `name` are those of
/// memory pools and caches as well.
const SOMETIMES: [(&str, &str); 18] = [
    // cAdvisor's cgroup; beside the name of a container it says nothing more.
    ("id", r#"{__name__=~"container_.+",pod!=""}"#),
    ("id", r#"{__name__=~"container_.+",name!=""}"#),
    ("name", r#"{__name__=~"container_.+",pod!=""}"#),
    ("image", r#"{__name__=~"(container|docker|kube)_.+"}"#),
    (
        "uid",
        r#"{uid=~"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"}"#,
    ),
    ("replicaset", r#"{__name__!~"kube_replicaset_.+"}"#),
    (
        "k8s.replicaset.name",
        r#"{__name__!~"k8s[._]replicaset[._].+"}"#,
    ),
    (
        "k8s.replicaset.uid",
        r#"{__name__!~"k8s[._]replicaset[._].+"}"#,
    ),
    ("destination_version", r#"{__name__=~"istio_.+"}"#),
    (
        "destination_canonical_revision",
        r#"{__name__=~"istio_.+"}"#,
    ),
    // Where a pod is and who made it, as kube-state-metrics tell it. Those of a node have `node` as their host.
    ("node", r#"{__name__=~"kube_pod_.+"}"#),
    ("ip", r#"{__name__=~"kube_pod_.+"}"#),
    ("host_ip", r#"{__name__=~"kube_pod_.+"}"#),
    ("uid", r#"{__name__=~"kube_pod_.+"}"#),
    ("created_by_name", r#"{__name__=~"kube_pod_.+"}"#),
    ("owner_name", r#"{__name__=~"kube_pod_.+"}"#),
    // Their value is always 1: the labels are what they tell.
    (EVERY_LABEL, r#"{__name__=~".+_info"}"#),
    (
        EVERY_LABEL,
        r#"{__name__=~"kube_.+_(owner|labels|annotations)"}"#,
    ),
];

impl IgnoredLabel {
    /// Those that are left out unless the configuration keeps them.
    ///
    /// # Panics
    /// Never: their selectors are right.
    pub fn usual() -> Vec<Self> {
        let mut names = BTreeSet::new();
        for name in ALWAYS {
            names.extend([name.to_owned(), plain(name)]);
        }
        let always = names.into_iter().map(|name| Self {
            label: Some(name),
            of: SeriesSelector::default(),
        });
        let sometimes = SOMETIMES.iter().flat_map(|(name, of)| {
            let of = SeriesSelector::parse(of).expect("a selector of ours is right");
            let named = |label: Option<String>| Self {
                label,
                of: of.clone(),
            };
            if *name == EVERY_LABEL {
                vec![named(None)]
            } else {
                let names = BTreeSet::from([(*name).to_owned(), plain(name)]);
                names.into_iter().map(Some).map(named).collect()
            }
        });
        always.chain(sometimes).collect()
    }
}

/// The name of an attribute as a label of Prometheus.
fn plain(name: &str) -> String {
    let plain = |letter: char| match letter {
        letter if letter.is_ascii_alphanumeric() => letter,
        _ => '_',
    };
    name.chars().map(plain).collect()
}

/// Reads `labels.ignore` and `labels.keep`: the usual ones but those that are kept, and those that are named.
pub(super) fn ignored(ignore: Option<&Place<'_>>, keep: Option<&Place<'_>>) -> Vec<IgnoredLabel> {
    let mut ignored = IgnoredLabel::usual();
    let mut kept: Vec<&str> = Vec::new();
    for item in keep.iter().flat_map(|place| place.list()) {
        let Some(name) = item.text() else { continue };
        let count = ignored.len();
        ignored.retain(|usual| usual.label.as_deref().unwrap_or(EVERY_LABEL) != name);
        if count == ignored.len() {
            item.fault(
                format!("{} is not left out, or stands twice", quoted(name)),
                "name labels that are left out without a word about them, or remove it",
            );
        }
        kept.push(name);
    }
    for item in ignore.iter().flat_map(|place| place.list()) {
        let Some(named) = one(&item) else { continue };
        let name = named.label.as_deref().unwrap_or(EVERY_LABEL);
        if NEVER_IGNORED.contains(&name) {
            item.fault(
                format!("without {name} values of different things would be one"),
                "remove it",
            );
        } else if name == EVERY_LABEL && named.of.is_everything() {
            item.fault(
                "all metrics of one name would be one",
                "say of which: {label: \"*\", metric: name}",
            );
        } else if kept.contains(&name) && named.of.is_everything() {
            item.fault(
                format!("{} is kept and left out", quoted(name)),
                "remove it from labels.keep or from labels.ignore",
            );
        } else if !ignored.contains(&named) {
            ignored.push(named);
        }
    }
    ignored
}

fn one(place: &Place<'_>) -> Option<IgnoredLabel> {
    let (label, of) = if let Tree::Map(_) = place.node.value {
        let keys = place.map(&["label", "metric"])?;
        let of = match keys.get("metric") {
            Some(metric) => selector(metric)?,
            None => SeriesSelector::default(),
        };
        (keys.require("label", "name the label")?.text()?, of)
    } else {
        (place.text()?, SeriesSelector::default())
    };
    Some(IgnoredLabel {
        label: (label != EVERY_LABEL).then(|| label.to_owned()),
        of,
    })
}
