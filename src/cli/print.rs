//! What people see: verdicts, errors and warnings in words.

use std::{
    fmt::{Display, Write as _},
    io::{Write, stderr},
};

use crate::{
    detect::CheckState,
    gate::{CheckReport, Shadow, Verdict},
};

/// Why writing to a text cannot fail.
const IN_MEMORY: &str = "a text in memory takes what is written";

/// Prints an error to stderr, a line for each of its causes or faults.
pub(super) fn error(error: &impl Display) {
    say("error", &error.to_string());
}

/// Prints a warning to stderr.
pub(super) fn warning(warning: &impl Display) {
    say("warning", &warning.to_string());
}

/// An error and its cause, in one line.
pub(super) fn with_cause(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

fn say(what: &str, text: &str) {
    let mut out = stderr().lock();
    for line in text.lines() {
        // Nobody listens on a closed stderr.
        drop(writeln!(out, "{what}: {}", clean(line)));
    }
}

/// One line at a change of a verdict.
pub(super) fn verdict_line(verdict: &Verdict) -> String {
    let mut line = format!(
        "{}  {:<8}  {}",
        verdict.at,
        verdict.verdict,
        subject(verdict)
    );
    if let Some(reason) = verdict.reasons.first() {
        write!(line, "  {reason}").expect(IN_MEMORY);
    }
    if verdict.reasons.len() > 1 {
        write!(line, " (and {} more)", verdict.reasons.len() - 1).expect(IN_MEMORY);
    }
    if let Some(shadow) = &verdict.shadow {
        write!(line, "; without the hotfix it would say {}", shadow.verdict).expect(IN_MEMORY);
    }
    clean(&line)
}

/// One line when what a hotfix did not wait for says something else, while its verdict stands: it has
/// nothing where a change of a verdict has the verdict.
pub(super) fn shadow_line(verdict: &Verdict) -> String {
    let says = verdict
        .shadow
        .as_ref()
        .map_or("", |shadow| shadow.verdict.name());
    let line = format!(
        "{}  {:<8}  {}  without the hotfix it would say {says}; its verdict stays {}",
        verdict.at,
        "",
        subject(verdict),
        verdict.verdict
    );
    clean(&line)
}

/// One line with everything that a verdict waits for.
pub(super) fn awaited_line(verdict: &Verdict) -> String {
    let line = format!(
        "{}  {:<8}  {}  {}",
        verdict.at,
        verdict.verdict,
        subject(verdict),
        verdict.reasons.join(" · ")
    );
    clean(&line)
}

/// Text of the engine on one line, without what would move a terminal's cursor.
pub(super) fn one_line(text: &str) -> String {
    clean(text)
}

/// The whole verdict with its evidence.
pub(super) fn verdict_block(verdict: &Verdict) -> String {
    let mut text = format!(
        "\n{}  {}\n  since {}, watermark {}, configuration {}\n",
        verdict.verdict,
        subject(verdict),
        verdict.since,
        verdict.watermark,
        verdict.config_digest
    );
    for reason in &verdict.reasons {
        writeln!(text, "  - {reason}").expect(IN_MEMORY);
    }
    if let Some(shadow) = &verdict.shadow {
        let Shadow { verdict, since, .. } = shadow;
        writeln!(
            text,
            "  without the hotfix it would say {verdict} since {since}:"
        )
        .expect(IN_MEMORY);
        for reason in &shadow.reasons {
            writeln!(text, "  - {reason}").expect(IN_MEMORY);
        }
    }
    if !verdict.checks.is_empty() {
        text.push('\n');
        text.push_str(&table(&verdict.checks));
    }
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

fn subject(verdict: &Verdict) -> String {
    let region = verdict
        .region
        .as_deref()
        .map(|region| format!("/{region}"))
        .unwrap_or_default();
    format!(
        "{} {}/{}{region} {}",
        verdict.deployment, verdict.service, verdict.stage, verdict.version
    )
}

fn table(checks: &[CheckReport]) -> String {
    let number =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let mut rows =
        vec![["check", "state", "metric", "observed", "expected", "note"].map(str::to_owned)];
    for check in checks {
        let mode = if check.mode == "advisory" {
            " (advisory)"
        } else {
            ""
        };
        rows.push([
            format!("{}{mode}", check.check),
            check.state.name().to_owned(),
            check.metric.clone(),
            number(check.observed),
            number(check.expected),
            note(check),
        ]);
    }
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        text.push_str("  ");
        for (width, cell) in widths.iter().zip(row) {
            write!(text, "{cell:<width$}  ").expect(IN_MEMORY);
        }
        text.push_str(&row[5]);
        while text.ends_with(' ') {
            text.pop();
        }
        text.push('\n');
    }
    text
}

fn note(check: &CheckReport) -> String {
    let mut note = check.note.clone();
    if check.state != CheckState::Ok && !check.hosts.is_empty() {
        write!(note, " on {}", check.hosts.join(", ")).expect(IN_MEMORY);
    }
    note
}

/// Text from outside may hold control characters: a terminal must not obey them.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_obeyed_to_names_from_outside() {
        assert_eq!(clean("h\u{1b}[2J1"), "h\u{fffd}[2J1");
    }
}
