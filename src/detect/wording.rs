//! How findings name metrics, numbers and hosts to a person.

use super::{Basis, Coverage, Covered, Evidence, Finding, Group, HostId, NoDataCause, Stat, View};
use crate::plan::{Check, LogSelection, Selection, SeriesSelector};

/// How many hosts a phrase names before it only counts them.
const HOSTS_NAMED_MAX: usize = 5;
/// How many characters of a message a phrase quotes.
const QUOTE_CHARS_MAX: usize = 120;

/// A number with four significant digits, as a person writes it.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || (size > 0.0 && !(1e-4..1e15).contains(&size)) {
        return format!("{value:.3e}");
    }
    let digits = if size >= 1_000.0 || size == 0.0 {
        0
    } else {
        (3 - size.log10().floor() as i32).max(0) as usize
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A share as a signed percentage: `+38 %`.
pub(super) fn percent(share: f64) -> String {
    let text = number(share * 100.0);
    let sign = if share < 0.0 { "" } else { "+" };
    format!("{sign}{text} %")
}

/// Names of hosts for a phrase: all of few, or some and how many more.
pub(super) fn host_list(names: &[String]) -> String {
    if names.len() <= HOSTS_NAMED_MAX + 1 {
        return names.join(", ");
    }
    format!(
        "{} and {} more",
        names[..HOSTS_NAMED_MAX].join(", "),
        names.len() - HOSTS_NAMED_MAX
    )
}

/// A message in quotes, cut where it is long.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        None => format!("\"{text}\""),
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
    }
}

/// The name of a metric: its labels that are no roles, and which number of it.
pub(super) fn metric_name(check: &Check, group: &Group) -> String {
    let selection = match &check.selection {
        Selection::Logs(logs) => return log_name(logs),
        Selection::Series(selection) => selection,
    };
    let mut name = group.key.labels.to_string();
    match group.key.stat {
        Stat::Value => {}
        Stat::Quantile(quantile) => {
            name.push_str(" p");
            name.push_str(&number(f64::from(quantile) / 10.0));
        }
    }
    if let Some(per) = &selection.per {
        name.push_str(" per ");
        name.push_str(&selector_name(per));
    }
    name
}

/// What the check selects, where no single metric is meant.
pub(super) fn selection_name(check: &Check) -> String {
    match &check.selection {
        Selection::Logs(logs) => log_name(logs),
        Selection::Series(series) => selector_name(&series.selector),
    }
}

fn selector_name(selector: &SeriesSelector) -> String {
    if selector.is_everything() {
        return "*".to_owned();
    }
    let metric = selector.metric();
    let conditions: Vec<String> = selector
        .matchers
        .iter()
        .filter(|matcher| metric.is_none() || matcher.label != crate::event::METRIC_NAME)
        .map(ToString::to_string)
        .collect();
    let name = metric.unwrap_or("");
    if conditions.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", conditions.join(","))
    }
}

fn log_name(logs: &LogSelection) -> String {
    let mut name = match logs.severity {
        Some(severity) => format!("{severity} records"),
        None => "log records".to_owned(),
    };
    if let Some(body) = &logs.body {
        name.push_str(" with ");
        name.push_str(&quote(body.0.as_str()));
    }
    for attribute in &logs.attributes {
        name.push_str(", ");
        name.push_str(&attribute.to_string());
    }
    name
}

/// Asks the coverage, once for each bucket, and words the finding where it is not complete.
pub(super) fn uncovered(
    coverage: &mut Coverage,
    view: &View<'_>,
    selection: &str,
    basis: Basis,
) -> Option<Finding> {
    match coverage.observe(view) {
        Covered::Yes => None,
        Covered::Waiting(what) => Some(Finding::unheard(what)),
        Covered::No(cause, hosts) => Some(blind(view, selection, basis, cause, hosts)),
    }
}

/// Not enough data, and whose.
pub(super) fn blind(
    view: &View<'_>,
    selection: &str,
    basis: Basis,
    cause: NoDataCause,
    hosts: impl IntoIterator<Item = HostId>,
) -> Finding {
    let hosts = view.hosts.names(hosts);
    let mut note = cause.to_string();
    if !hosts.is_empty() {
        note.push_str(" on ");
        note.push_str(&host_list(&hosts));
    }
    let mut evidence = Evidence::bare(selection, super::CheckState::NoData, basis, note);
    evidence.hosts = hosts;
    Finding::no_data(cause, vec![evidence])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Severity,
        plan::{LabelMatcher, Pattern},
    };

    #[test]
    fn numbers_are_rounded_to_what_a_person_reads() {
        for (value, text) in [
            (0.0, "0"),
            (0.412_345, "0.4123"),
            (93.0, "93"),
            (99.996, "100"),
            (-2.5, "-2.5"),
            (1_234_567.8, "1234568"),
            (0.000_012, "1.200e-5"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(percent(0.384), "+38.4 %");
        assert_eq!(percent(-0.5), "-50 %");
    }

    #[test]
    fn many_hosts_are_counted() {
        let names: Vec<String> = (1..=9).map(|index| format!("h{index}")).collect();
        assert_eq!(host_list(&names), "h1, h2, h3, h4, h5 and 4 more");
        assert_eq!(host_list(&names[..2]), "h1, h2");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(quote("short"), "\"short\"");
        let long = quote(&"ü".repeat(500));
        assert_eq!(long.chars().count(), QUOTE_CHARS_MAX + 3);
    }

    #[test]
    fn selections_read_like_their_configuration() {
        let selector = |pairs: &[(&str, &str)]| SeriesSelector {
            matchers: pairs
                .iter()
                .map(|(label, value)| LabelMatcher::equal(*label, *value))
                .collect(),
        };
        assert_eq!(selector_name(&selector(&[])), "*");
        assert_eq!(selector_name(&selector(&[("__name__", "up")])), "up");
        assert_eq!(
            selector_name(&selector(&[("__name__", "disk"), ("mount", "/")])),
            "disk{mount=\"/\"}"
        );
        let logs = LogSelection {
            severity: Some(Severity::ERROR),
            body: Some(Pattern(regex::Regex::new("time.*out").unwrap())),
            attributes: Vec::new(),
        };
        assert_eq!(log_name(&logs), "ERROR records with \"time.*out\"");
    }
}
