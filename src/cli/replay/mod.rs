//! `sluice replay`: a recording through the same core, as fast as it goes.

mod backtest;

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use serde::Serialize;

use super::{exit, print};
use crate::{
    engine::{Engine, Output, Refusal},
    gate::{Gate, Line, LineKind, Verdict, VerdictState},
    source::{
        backtest::{Placebos, Sightings},
        files::FileError,
        recording::{Recording, recordings},
    },
};
use backtest::Backtest;

/// Arguments of `sluice replay`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A directory with sluice.yaml, deployments.jsonl and data files, or the files themselves; several
    /// such directories are recordings of their own
    #[arg(required = true, value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// Configuration; default: sluice.yaml in the directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Deployment events; default: deployments.jsonl in the directory
    #[arg(long, value_name = "FILE")]
    deployments: Option<PathBuf>,
    /// How the verdicts are printed: for a person, or one JSON object a line
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
    /// Exit with 0 when a deployment was bypassed
    #[arg(long)]
    accept_bypass: bool,
    /// Sum up at the end: how often each check would have blocked, and when. Exit with 0 whatever
    /// the verdicts
    #[arg(long)]
    backtest: bool,
    /// Judge deployments that never happened, too: so many for each recording (200 without a
    /// number), of random hosts at random times at which nothing was deployed. What fails there is
    /// a false alarm. Implies --backtest
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "200")]
    placebo: Option<u32>,
    /// What the random hosts and times are drawn from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

/// How verdicts are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let mut replay = Replay {
        arguments,
        worst: None,
        failed: false,
        backtest: Backtest::default(),
    };
    let groups = recordings(&arguments.recordings);
    let are_many = groups.len() > 1;
    for (index, paths) in groups.iter().enumerate() {
        let named = are_many.then(|| paths[0].display().to_string());
        if let Err(problem) = replay.recording(paths, index, named.as_deref()) {
            print::error(&problem);
            replay.failed = true;
        }
    }
    let is_asked = arguments.backtest || arguments.placebo.is_some();
    // For a person many recordings are summed up in any case; a program gets what it asked for.
    if is_asked || (are_many && arguments.output == OutputFormat::Text) {
        let text = match arguments.output {
            OutputFormat::Text => replay.backtest.table(),
            OutputFormat::Json => replay.backtest.json(),
        };
        say(text.trim_end());
    }
    match (replay.failed, replay.worst) {
        (true, _) => exit::ERROR,
        (false, _) if is_asked => exit::PASS,
        (false, worst) => worst.map_or(exit::ERROR, Severity::exit_code),
    }
}

/// A replay of one recording or many.
struct Replay<'a> {
    arguments: &'a Arguments,
    worst: Option<Severity>,
    failed: bool,
    backtest: Backtest,
}

/// A line of JSON; of many recordings, with the one that it is of.
#[derive(Serialize)]
struct NamedLine<'a> {
    #[serde(flatten)]
    line: Line,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<&'a str>,
}

impl Replay<'_> {
    /// Replays a recording. Errors are for a person.
    fn recording(
        &mut self,
        paths: &[PathBuf],
        index: usize,
        named: Option<&str>,
    ) -> Result<(), String> {
        let arguments = self.arguments;
        let (config, deployments) = (&arguments.config, &arguments.deployments);
        let recording = Recording::open(paths, config.as_deref(), deployments.as_deref())
            .map_err(|error| error.to_string())?;
        for note in &recording.notes {
            print::warning(note);
        }
        if let Some(name) = named
            && arguments.output == OutputFormat::Text
        {
            say(&format!("{name}:"));
        }
        let live_refused = recording.inputs.is_live();
        let mut placebos = self.placebos(&recording, index)?;
        self.backtest.know(&recording.plan);
        let mut sightings = Sightings::default();
        let mut refused = 0;
        let on_refusal = |refusal: &Refusal| {
            if live_refused {
                print::warning(&format!("refused as it was live: {refusal}"));
            } else {
                refused += 1;
                print::error(refusal);
            }
        };
        let (engine, forgotten) = self
            .play(
                recording,
                placebos.as_mut(),
                &mut sightings,
                named,
                on_refusal,
            )
            .map_err(|error| error.to_string())?;
        let mut gates: Vec<&Gate> = engine.gates().chain(&forgotten).collect();
        gates.sort_by_key(|gate| (&gate.begin.deployment, gate.begin.at));
        for gate in &gates {
            let verdict = gate.verdict();
            let severity = severity(verdict.verdict, arguments.accept_bypass);
            self.worst = self.worst.max(Some(severity));
            self.backtest.add(sightings.trial(index, false, gate));
            self.line(LineKind::Final, verdict, named);
        }
        if let Some(placebos) = placebos {
            self.finish(placebos);
        } else if gates.is_empty() {
            return Err(
                "the recording has no deployment: add a begin event to deployments.jsonl"
                    .to_owned(),
            );
        }
        if refused > 0 {
            return Err(format!(
                "{refused} deployment events were refused, see above"
            ));
        }
        Ok(())
    }

    /// Draws placebos for a recording, if they are asked for.
    fn placebos(&self, recording: &Recording, index: usize) -> Result<Option<Placebos>, String> {
        let Some(count) = self.arguments.placebo else {
            return Ok(None);
        };
        let plan = &recording.plan;
        let history = recording
            .inputs
            .history(plan)
            .map_err(|error| error.to_string())?;
        let seed = self.arguments.seed;
        Ok(Some(Placebos::draw(
            index,
            plan,
            &history,
            count as usize,
            seed,
        )))
    }

    fn finish(&mut self, placebos: Placebos) {
        let (trials, skipped) = placebos.finish();
        for trial in trials {
            self.backtest.add(trial);
        }
        for (why, count) in skipped {
            print::warning(&format!("{count} placebos could not be made: {why}"));
        }
    }

    fn play(
        &mut self,
        recording: Recording,
        placebos: Option<&mut Placebos>,
        sightings: &mut Sightings,
        named: Option<&str>,
        mut refused: impl FnMut(&Refusal),
    ) -> Result<(Engine, Vec<Gate>), FileError> {
        let mut forgotten = Vec::new();
        let mut engine = Engine::new(recording.plan);
        let progress = progress_bar(recording.inputs.steps());
        let said = |engine: &Engine, outputs: &mut Vec<Output>, done: usize| {
            sightings.look(engine);
            for output in outputs.drain(..) {
                match output {
                    Output::Verdict(verdict) => {
                        progress.suspend(|| self.line(LineKind::Verdict, *verdict, named));
                    }
                    Output::Shadow(verdict) => {
                        progress.suspend(|| self.line(LineKind::Shadow, *verdict, named));
                    }
                    Output::Ended(_) => {}
                    Output::Forgotten(gate) => forgotten.push(*gate),
                    Output::Refused(refusal) => progress.suspend(|| refused(&refusal)),
                }
            }
            progress.set_position(done as u64);
        };
        let note = recording.inputs.play_beside(&mut engine, placebos, said)?;
        progress.finish_and_clear();
        if let Some(note) = note {
            print::warning(&note);
        }
        Ok((engine, forgotten))
    }

    fn line(&self, kind: LineKind, verdict: Verdict, recording: Option<&str>) {
        let text = match self.arguments.output {
            OutputFormat::Json => print::json(&NamedLine {
                line: Line { kind, verdict },
                recording,
            }),
            OutputFormat::Text => match kind {
                LineKind::Verdict => print::verdict_line(&verdict),
                LineKind::Shadow => print::shadow_line(&verdict),
                LineKind::Final => print::verdict_block(&verdict),
            },
        };
        say(&text);
    }
}

fn say(text: &str) {
    // A reader that closed the pipe has seen enough; the exit code still tells the verdict.
    drop(writeln!(stdout().lock(), "{text}"));
}

/// Long work shows how far it is on a terminal, and stays silent in a pipe.
fn progress_bar(length: Option<usize>) -> ProgressBar {
    let Some(length) = length.filter(|_| stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let style = ProgressStyle::with_template("replaying {bar:40} {percent:>3} % {eta:>4} left")
        .expect("the template is constant and valid");
    let progress = ProgressBar::new(length as u64).with_style(style);
    progress.enable_steady_tick(Duration::from_millis(200));
    progress
}

/// Verdicts from the best to the worst, as the exit code of a replay ranks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Pass,
    Pending,
    Bypassed,
    NoData,
    Fail,
}

impl Severity {
    fn exit_code(self) -> u8 {
        match self {
            Self::Pass => exit::PASS,
            Self::Pending => exit::PENDING,
            Self::Bypassed => exit::BYPASSED,
            Self::NoData => exit::NO_DATA,
            Self::Fail => exit::FAIL,
        }
    }
}

/// How bad a verdict is. A bypass that is accepted counts as a PASS, before any other is set beside it.
fn severity(state: VerdictState, accepts_bypass: bool) -> Severity {
    match state {
        VerdictState::Pass => Severity::Pass,
        VerdictState::Bypassed if accepts_bypass => Severity::Pass,
        VerdictState::Pending => Severity::Pending,
        VerdictState::Bypassed => Severity::Bypassed,
        VerdictState::NoData => Severity::NoData,
        VerdictState::Fail => Severity::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_bypass_hides_nothing_worse_than_a_pass() {
        use VerdictState::{Bypassed, Fail, NoData, Pass, Pending};
        for (states, accepts_bypass, expected) in [
            (&[Bypassed, Pending][..], true, exit::PENDING),
            (&[Bypassed, Pending], false, exit::BYPASSED),
            (&[Bypassed, Pass], true, exit::PASS),
            (&[Bypassed], false, exit::BYPASSED),
            (&[Pending, NoData, Bypassed], true, exit::NO_DATA),
            (&[Fail, NoData, Bypassed], true, exit::FAIL),
        ] {
            let severities = states.iter().map(|state| severity(*state, accepts_bypass));
            let worst = severities.max().map(Severity::exit_code);
            assert_eq!(worst, Some(expected), "{states:?}, {accepts_bypass}");
        }
    }
}
