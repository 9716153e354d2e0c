//! `sluice check`: lints a configuration, every fault at once; with a recording, also what does not
//! fit it.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::{exit, print};
use crate::{
    engine::{Engine, Output},
    serve::{Obstacle, obstacles},
    sink::Sinks,
    source::{
        backtest::{Fit, Fits, Grade, Placebos, Sightings},
        files,
        recording::{Inputs, Recording},
    },
};

/// Placebos that show what a check can say, beside the real deployments.
const PLACEBOS: usize = 20;

/// Arguments of `sluice check`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A recording to hold it against: which checks match nothing, can never breach, can never pass
    #[arg(long, value_name = "RECORDING")]
    against: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let text = match files::text(&arguments.file) {
        Ok(text) => text,
        Err(error) => {
            print::error(&error);
            return exit::ERROR;
        }
    };
    let plan = match files::plan(&text) {
        Ok(plan) => plan,
        Err(faults) => {
            print::error(&faults);
            return exit::ERROR;
        }
    };
    for warning in plan.warnings() {
        print::warning(&warning);
    }
    let mut starts = true;
    let sinks = Sinks::obstacles(&plan).into_iter().map(Obstacle::Machine);
    for obstacle in obstacles(&plan).into_iter().chain(sinks) {
        match obstacle {
            Obstacle::Machine(problem) => print::warning(&problem),
            Obstacle::Plan(problem) => {
                print::error(&problem);
                starts = false;
            }
        }
    }
    if !starts {
        return exit::ERROR;
    }
    let (checks, services) = (plan.checks.len(), plan.services.len());
    let written = print::answer(&format!(
        "{}: ok, services: {services}, checks: {checks}, digest {}\n",
        arguments.file.display(),
        plan.digest
    ));
    let Some(recording) = &arguments.against else {
        return print::answered(written, exit::PASS);
    };
    match against(&arguments.file, recording) {
        Ok(fits) => tell(recording, &fits),
        Err(problem) => {
            print::error(&problem);
            exit::ERROR
        }
    }
}

/// Plays the recording, with its deployments and with placebos, and looks at what the checks see.
fn against(config: &Path, recording: &Path) -> Result<Vec<Fit>, String> {
    let recording = Recording::open(&[recording.to_path_buf()], Some(config), None)
        .map_err(|error| error.to_string())?;
    for note in &recording.notes {
        print::warning(note);
    }
    let plan = recording.plan;
    let history = recording
        .inputs
        .history(&plan)
        .map_err(|error| error.to_string())?;
    let mut placebos = Placebos::draw(0, &plan, &history, PLACEBOS, 1);
    let mut fits = Fits::new(match &recording.inputs {
        Inputs::Timeline(timeline) => timeline.metrics(),
        Inputs::Journal(_) => BTreeSet::new(),
    });
    let mut sightings = Sightings::default();
    let (mut engine, mut forgotten) = (Engine::new(Arc::clone(&plan)), Vec::new());
    let played =
        recording
            .inputs
            .play_beside(&mut engine, Some(&mut placebos), |engine, outputs, _| {
                for output in outputs.drain(..) {
                    match output {
                        Output::Refused(refusal) => print::warning(&refusal),
                        Output::Forgotten(gate) => forgotten.push(*gate),
                        Output::Verdict(_) | Output::Shadow(_) | Output::Ended(_) => {}
                    }
                }
                fits.look(engine);
                sightings.look(engine);
            });
    played.map_err(|error| error.to_string())?;
    let (mut trials, _) = placebos.finish();
    let gates = engine.gates().chain(&forgotten);
    trials.extend(gates.map(|gate| sightings.trial(0, false, gate)));
    Ok(fits.conclude(&plan, &trials))
}

fn tell(recording: &Path, fits: &[Fit]) -> u8 {
    let mut is_wrong = false;
    let mut lines = format!("against {}:\n", recording.display());
    for fit in fits {
        let Fit {
            service,
            check,
            metrics,
            hosts,
            trials,
            faults,
        } = fit;
        let judged = match (trials, faults.is_empty()) {
            (0, _) => "no deployment or placebo judged it".to_owned(),
            (1, true) => "1 deployment or placebo, fits".to_owned(),
            (1, false) => "1 deployment or placebo".to_owned(),
            (trials, true) => format!("{trials} deployments and placebos, fits"),
            (trials, false) => format!("{trials} deployments and placebos"),
        };
        let (metrics, hosts) = (
            print::count(*metrics, "metric"),
            print::count(*hosts, "host"),
        );
        writeln!(
            lines,
            "  {service}: {check}: {metrics} on {hosts}, {judged}"
        )
        .expect("a text in memory takes what is written");
        for fault in faults {
            let what = match fault.grade {
                Grade::MatchesNothing => "matches nothing",
                Grade::NeverPasses => "can never pass",
                Grade::NeverBreaches => "never breached",
            };
            let told = format!("services.{service}: checks.{check}: {what}: {}", fault.why);
            if fault.grade == Grade::NeverBreaches {
                print::warning(&told);
            } else {
                is_wrong = true;
                print::error(&told);
            }
        }
    }
    let code = if is_wrong { exit::ERROR } else { exit::PASS };
    print::answered(print::answer(&lines), code)
}
