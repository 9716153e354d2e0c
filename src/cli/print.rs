//! What people see: verdicts, errors and warnings in words.

use std::{
    fmt::{Display, Write as _},
    io::{self, Write, stderr, stdout},
};

use serde::Serialize;

use super::exit;
use crate::{
    detect::CheckState,
    event::is_invisible,
    gate::{CheckReport, Shadow, Verdict, plain_number, unnamed_hosts},
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

/// Prints what was asked for. A reader that closed the pipe has seen enough.
///
/// # Errors
/// It cannot be written, as on a full disk: then nobody has the answer.
pub(super) fn answer(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// The exit code of a command, which must not promise an answer that nobody has.
pub(super) fn answered(written: io::Result<()>, code: u8) -> u8 {
    match written {
        Ok(()) => code,
        Err(failure) => {
            error(&format!("stdout cannot be written: {failure}"));
            exit::ERROR
        }
    }
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
        verdict.at.whole_seconds(),
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
        verdict.at.whole_seconds(),
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
        verdict.at.whole_seconds(),
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
        clean(&subject(verdict)),
        verdict.since.whole_seconds(),
        verdict.watermark.whole_seconds(),
        clean(&verdict.config_digest)
    );
    // Each by itself: what holds the end of a line must not begin one.
    for reason in &verdict.reasons {
        writeln!(text, "  - {}", clean(reason)).expect(IN_MEMORY);
    }
    if let Some(shadow) = &verdict.shadow {
        let Shadow { verdict, since, .. } = shadow;
        writeln!(
            text,
            "  without the hotfix it would say {verdict} since {}:",
            since.whole_seconds()
        )
        .expect(IN_MEMORY);
        for reason in &shadow.reasons {
            writeln!(text, "  - {}", clean(reason)).expect(IN_MEMORY);
        }
    }
    if !verdict.checks.is_empty() {
        text.push('\n');
        text.push_str(&table(&verdict.checks));
    }
    let end = text.trim_end_matches('\n').len();
    text.truncate(end);
    text
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
    let mut rows =
        vec![["check", "state", "metric", "observed", "expected", "note"].map(str::to_owned)];
    for check in checks {
        let [observed, expected] = check.numbers_shown();
        let shown = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        rows.push([
            clean(&format!("{}{}", check.check, mode(check))),
            check.state.name().to_owned(),
            clean(&check.metric),
            shown(observed),
            shown(expected),
            clean(&note(check)),
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

/// How many there are, as `1 host` or `2 hosts`.
pub(super) fn count(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// What stands behind the name of a check.
pub(super) fn mode(check: &CheckReport) -> &'static str {
    if check.mode == "advisory" {
        " (advisory)"
    } else {
        ""
    }
}

/// A number of a table.
pub(super) fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), plain_number)
}

fn note(check: &CheckReport) -> String {
    let mut note = check.note.clone();
    if check.state != CheckState::Ok
        && let Some(hosts) = unnamed_hosts(&note, &check.hosts)
    {
        write!(note, ", on {hosts}").expect(IN_MEMORY);
    }
    note
}

/// Text from outside may hold control characters: a terminal must not obey them.
pub(super) fn clean(text: &str) -> String {
    let seen = |letter: char| {
        if is_invisible(letter) {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().map(seen).collect()
}

/// One line of JSON. What a terminal would obey in a text is written as an escape, which means the same to
/// whoever reads it as JSON.
pub(super) fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("what is printed has a form");
    if !text.contains(is_invisible) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_invisible(letter) {
            // All of them stand in the first plane, and within a text: elsewhere is only ASCII.
            write!(escaped, "\\u{:04x}", u32::from(letter)).expect(IN_MEMORY);
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Timestamp, gate::VerdictState, plan::Mode};

    #[test]
    fn a_terminal_is_not_obeyed_to_names_from_outside() {
        assert_eq!(clean("h\u{1b}[2J1"), "h\u{fffd}[2J1");
        let name = "h\u{1b}[2J\u{9b}2J\u{202e}\n1 \\ \"";
        let printed = json(&[name]);
        assert!(!printed.contains(is_invisible), "{printed}");
        let read: [String; 1] = serde_json::from_str(&printed).unwrap();
        assert_eq!(read, [name]);
    }

    #[test]
    fn no_text_from_outside_begins_a_line_of_its_own() {
        let told = "n\nPASS  d2 web/unit v2\r\n\u{1b}[1A";
        let check = CheckReport {
            check: told.to_owned(),
            metric: told.to_owned(),
            note: told.to_owned(),
            hosts: vec![told.to_owned()],
            ..CheckReport::bare(
                "c",
                "bounds",
                Mode::Blocking,
                CheckState::Breach,
                told.to_owned(),
            )
        };
        let verdict = Verdict {
            at: Timestamp::MIN,
            deployment: told.to_owned(),
            service: told.to_owned(),
            stage: told.to_owned(),
            region: Some(told.to_owned()),
            version: told.to_owned(),
            verdict: VerdictState::Fail,
            since: Timestamp::MIN,
            watermark: Timestamp::MIN,
            config_digest: told.to_owned(),
            is_final: true,
            reasons: vec![told.to_owned(), told.to_owned()],
            checks: vec![check],
            shadow: None,
        };
        for (printed, lines) in [
            (verdict_block(&verdict), 8),
            (verdict_line(&verdict), 1),
            (shadow_line(&verdict), 1),
            (awaited_line(&verdict), 1),
        ] {
            assert_eq!(printed.lines().count(), lines, "{printed}");
            let is_moved = |letter: char| letter != '\n' && is_invisible(letter);
            assert!(!printed.contains(is_moved), "{printed:?}");
        }
    }
}
