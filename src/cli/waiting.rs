//! What a waiting client shows: in place on a terminal; elsewhere nothing, or lines where they are asked for.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::print;
use crate::gate::Verdict;

/// How often the clock on a terminal moves.
const BEAT: Duration = Duration::from_millis(500);

/// What has been shown on stderr.
#[derive(Debug)]
pub(super) struct Waiting {
    /// On a terminal.
    bar: Option<ProgressBar>,
    /// Whether lines are asked for.
    in_lines: bool,
    /// What was said last, without the numbers that move.
    shown: Option<String>,
}

impl Waiting {
    /// Begins to wait for the final verdict of a deployment. Where no terminal is, nothing is shown unless lines
    /// are asked for.
    pub(super) fn begin(deployment: &str, patience: Duration, in_lines: bool) -> Self {
        let patience = humane(patience);
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let template = format!("{{spinner}} {{elapsed}} of {patience}  {{wide_msg}}");
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(BEAT);
            bar
        });
        let waiting = Self {
            in_lines: in_lines && bar.is_none(),
            bar,
            shown: None,
        };
        if waiting.in_lines {
            say(&format!(
                "waiting for a final verdict of {deployment}, at most {patience}"
            ));
        }
        waiting
    }

    /// Shows what is awaited.
    pub(super) fn show(&mut self, verdict: &Verdict) {
        let line = print::awaited_line(verdict);
        match &self.bar {
            Some(bar) => {
                let awaited = print::one_line(&verdict.reasons.join(" · "));
                bar.set_message(format!("{}: {awaited}", verdict.verdict));
                let state = verdict.verdict.to_string();
                if self.shown.replace(state.clone()) != Some(state) {
                    bar.println(line);
                }
            }
            None => self.say_once(awaited(verdict), &line),
        }
    }

    /// Shows that nobody answers.
    pub(super) fn lose(&mut self, reason: &str) {
        let line = print::one_line(&format!("{reason}; asking again"));
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None => self.say_once(line.clone(), &line),
        }
    }

    /// Clears what is shown in place.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    /// Says something unless it was said last.
    fn say_once(&mut self, key: String, line: &str) {
        if self.in_lines && self.shown.as_ref() != Some(&key) {
            say(line);
            self.shown = Some(key);
        }
    }
}

fn say(line: &str) {
    // Nobody listens on a closed stderr.
    drop(writeln!(stderr(), "{line}"));
}

/// What a verdict waits for, without the numbers that move.
fn awaited(verdict: &Verdict) -> String {
    let reasons = verdict
        .reasons
        .iter()
        .map(|reason| reason.split(':').next().unwrap_or(reason));
    format!(
        "{} {}",
        verdict.verdict,
        reasons.collect::<Vec<_>>().join(", ")
    )
}

/// As the command line takes it: `1h30m`.
fn humane(span: Duration) -> String {
    let seconds = span.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if span.is_zero() {
        "0s".to_owned()
    } else if parts.is_empty() {
        format!("{}ms", span.as_millis())
    } else {
        parts.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_told_as_it_is_given() {
        for (seconds, text) in [
            (90, "1m30s"),
            (1_800, "30m"),
            (90_061, "1d1h1m1s"),
            (7_200, "2h"),
        ] {
            assert_eq!(humane(Duration::from_secs(seconds)), text);
        }
        assert_eq!(humane(Duration::from_millis(250)), "250ms");
    }
}
