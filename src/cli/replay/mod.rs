//! `sluice replay`: a recording through the same core, as fast as it goes.

mod backtest;
mod report;

use std::{
    io::{self, IsTerminal, stderr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use serde::Serialize;

use super::{exit, print};
use crate::{
    engine::{Engine, Output, Refused},
    gate::{Gate, Line, LineKind, Verdict, VerdictState},
    reduce::ReducerCounters,
    source::{
        backtest::{Placebos, Sightings},
        files::FileError,
        recording::{Recording, recordings},
    },
};
use backtest::Backtest;
use report::{Account, Report};

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
    /// Also write all of it as a web page, in one file that needs nothing else
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
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
    placebo: Option<NonZeroU32>,
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
    let mut report = match arguments.report.as_deref().map(Report::new).transpose() {
        Ok(report) => report,
        Err(problem) => {
            print::error(&problem);
            return exit::ERROR;
        }
    };
    let mut replay = Replay {
        arguments,
        worst: None,
        failed: false,
        backtest: Backtest::default(),
        account: Account::default(),
        written: Ok(()),
    };
    let groups = recordings(&arguments.recordings);
    let are_many = groups.len() > 1;
    for (index, paths) in groups.iter().enumerate() {
        let named = are_many.then(|| paths[0].display().to_string());
        replay.account = Account::new(paths);
        if let Err(problem) = replay.recording(paths, index, named.as_deref()) {
            replay.error(problem);
            replay.failed = true;
        }
        if let Some(report) = &mut report {
            report.add(std::mem::take(&mut replay.account));
        }
    }
    let is_asked = arguments.backtest || arguments.placebo.is_some();
    // For a person many recordings are summed up in any case; a program gets what it asked for.
    if is_asked || (are_many && arguments.output == OutputFormat::Text) {
        let text = match arguments.output {
            OutputFormat::Text => replay.backtest.table(),
            OutputFormat::Json => replay.backtest.json(),
        };
        replay.say(text.trim_end());
    }
    if let Some(report) = report {
        let summary = (is_asked || are_many).then(|| replay.backtest.table());
        if let Err(problem) = report.finish(summary.as_deref()) {
            print::error(&problem);
            replay.failed = true;
        }
    }
    let code = match (replay.failed, replay.worst) {
        (true, _) => exit::ERROR,
        (false, _) if is_asked => exit::PASS,
        (false, worst) => worst.map_or(exit::ERROR, Severity::exit_code),
    };
    print::answered(replay.written, code)
}

/// A replay of one recording or many.
struct Replay<'a> {
    arguments: &'a Arguments,
    worst: Option<Severity>,
    failed: bool,
    backtest: Backtest,
    /// What is said of the recording that is replayed.
    account: Account,
    /// Whether all that was said could be printed.
    written: io::Result<()>,
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
        self.account.config_digest = Some(recording.plan.digest.clone());
        for note in &recording.notes {
            self.warning(note.clone());
        }
        if let Some(name) = named
            && arguments.output == OutputFormat::Text
        {
            self.say(&format!("{name}:"));
        }
        let live_refused = recording.inputs.is_live();
        let mut placebos = self.placebos(&recording, index)?;
        self.backtest.know(&recording.plan);
        let mut sightings = Sightings::default();
        let mut refused = 0;
        let on_refusal = |replay: &mut Self, refusal: &Refused| {
            if live_refused {
                replay.warning(format!("refused as it was live: {refusal}"));
            } else {
                refused += 1;
                replay.error(refusal.to_string());
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
            self.account.finally(gate, verdict.clone());
            self.line(LineKind::Final, verdict, named);
        }
        for loss in losses(&engine.reducer_counters()) {
            self.warning(loss);
        }
        let is_judged = placebos.is_some() || !gates.is_empty();
        if let Some(placebos) = placebos {
            self.finish(placebos);
        }
        // A begin that was refused is there.
        if !is_judged && refused == 0 {
            return Err(
                "the recording has no deployment: add a begin event to deployments.jsonl"
                    .to_owned(),
            );
        }
        if refused > 0 {
            let were = if refused == 1 { "was" } else { "were" };
            return Err(format!(
                "{} {were} refused, see above",
                print::count(refused, "deployment event")
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
            count.get() as usize,
            seed,
        )))
    }

    fn error(&mut self, problem: String) {
        print::error(&problem);
        self.account.errors.push(problem);
    }

    fn warning(&mut self, warning: String) {
        print::warning(&warning);
        self.account.warnings.push(warning);
    }

    fn finish(&mut self, placebos: Placebos) {
        let (trials, skipped) = placebos.finish();
        for trial in trials {
            self.backtest.add(trial);
        }
        for (why, count) in skipped {
            self.warning(format!("{count} placebos could not be made: {why}"));
        }
    }

    fn play(
        &mut self,
        recording: Recording,
        placebos: Option<&mut Placebos>,
        sightings: &mut Sightings,
        named: Option<&str>,
        mut refused: impl FnMut(&mut Self, &Refused),
    ) -> Result<(Engine, Vec<Gate>), FileError> {
        let mut forgotten = Vec::new();
        let mut engine = Engine::new(recording.plan);
        let progress = progress_bar(recording.inputs.steps());
        let said = |engine: &Engine, outputs: &mut Vec<Output>, done: usize| {
            sightings.look(engine);
            for output in outputs.drain(..) {
                match output {
                    Output::Verdict(verdict) => {
                        self.account.change(LineKind::Verdict, &verdict);
                        progress.suspend(|| self.line(LineKind::Verdict, *verdict, named));
                    }
                    Output::Shadow(verdict) => {
                        self.account.change(LineKind::Shadow, &verdict);
                        progress.suspend(|| self.line(LineKind::Shadow, *verdict, named));
                    }
                    Output::Ended(_) => {}
                    Output::Forgotten(gate) => forgotten.push(*gate),
                    Output::Refused(refusal) => progress.suspend(|| refused(self, &refusal)),
                }
            }
            progress.set_position(done as u64);
        };
        let note = recording.inputs.play_beside(&mut engine, placebos, said)?;
        progress.finish_and_clear();
        if let Some(note) = note {
            self.warning(note);
        }
        Ok((engine, forgotten))
    }

    fn line(&mut self, kind: LineKind, verdict: Verdict, recording: Option<&str>) {
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
        self.say(&text);
    }

    /// Prints a line, until one cannot be.
    fn say(&mut self, text: &str) {
        if self.written.is_ok() {
            self.written = print::answer(&format!("{text}\n"));
        }
    }
}

/// What limits kept out of the replay. What is late or no number is told by the checks that it was for.
fn losses(counters: &ReducerCounters) -> Vec<String> {
    let limits = "limits.series, limits.series_per_service, limits.labels or limits.label_bytes";
    [
        (counters.samples_refused, "sample"),
        (counters.logs_refused, "log record"),
    ]
    .into_iter()
    .filter(|(count, _)| 0 < *count)
    .map(|(count, what)| {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        format!("{} left out, beyond {limits}", print::count(count, what))
    })
    .collect()
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
