//! `sluice check`: lints a configuration, every fault at once; with a recording, also what does not
//! fit it.

use std::{
    collections::BTreeSet,
    fmt::{Display, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::{exit, print};
use crate::{
    engine::{Engine, Output},
    plan::{Mode, Plan, ServicePlan},
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

/// A check of a service, by their names.
type Named = (String, String);

/// Plays the recording, with its deployments and with placebos, and looks at what the checks see.
///
/// A gate that one check fails looks no further, so that nothing judged the others: it is played again without those
/// that fail, as long as that leaves others unjudged.
fn against(config: &Path, recording: &Path) -> Result<Vec<Fit>, String> {
    let open = || {
        let opened = Recording::open(&[recording.to_path_buf()], Some(config), None);
        opened.map_err(|error| error.to_string())
    };
    let Recording {
        mut plan,
        inputs,
        notes,
    } = open()?;
    for note in &notes {
        print::warning(note);
    }
    let refused = |refusal: &dyn Display| print::warning(&refusal);
    let (mut fits, mut failing) = played(inputs, &plan, refused)?;
    loop {
        let is_hidden = |fit: &Fit| {
            let by_another =
                |(service, check): &Named| *service == fit.service && *check != fit.check;
            fit.trials == 0 && fit.hosts != 0 && failing.iter().any(by_another)
        };
        let hidden: Vec<&mut Fit> = fits.iter_mut().filter(|fit| is_hidden(fit)).collect();
        if hidden.is_empty() {
            return Ok(fits);
        }
        plan = Arc::new(without(&plan, &failing));
        let (others, failing_others) = played(open()?.inputs, &plan, |_| {})?;
        for fit in hidden {
            let mut others = others.iter();
            if let Some(judged) =
                others.find(|other| (&other.service, &other.check) == (&fit.service, &fit.check))
            {
                *fit = judged.clone();
            }
        }
        failing = failing_others;
    }
}

/// A plan without these checks in its stages.
fn without(plan: &Plan, checks: &BTreeSet<Named>) -> Plan {
    let mut plan = plan.clone();
    for ServicePlan { name, stages, .. } in plan.services.values_mut() {
        for stage in stages {
            let is_out = |check: &str| checks.contains(&(name.clone(), check.to_owned()));
            stage.checks.retain(|used| !is_out(&used.check));
        }
    }
    plan
}

/// How the checks of a plan fit, and which of them failed a gate.
fn played(
    inputs: Inputs,
    plan: &Arc<Plan>,
    refused: impl Fn(&dyn Display),
) -> Result<(Vec<Fit>, BTreeSet<Named>), String> {
    let history = inputs.history(plan).map_err(|error| error.to_string())?;
    let mut placebos = Placebos::draw(0, plan, &history, PLACEBOS, 1);
    let mut fits = Fits::new(match &inputs {
        Inputs::Timeline(timeline) => timeline.metrics(),
        Inputs::Journal(_) => BTreeSet::new(),
    });
    let mut sightings = Sightings::default();
    let (mut engine, mut forgotten) = (Engine::new(Arc::clone(plan)), Vec::new());
    let played = inputs.play_beside(&mut engine, Some(&mut placebos), |engine, outputs, _| {
        for output in outputs.drain(..) {
            match output {
                Output::Refused(refusal) => refused(&refusal),
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
    let failed = trials.iter().filter(|trial| trial.failed_after.is_some());
    let failing = failed.flat_map(|trial| {
        let breached = trial
            .checks
            .iter()
            .filter(|check| check.mode == Mode::Blocking && check.breached_after.is_some());
        breached.map(|check| (trial.place.0.clone(), check.name.clone()))
    });
    let failing = failing.collect();
    Ok((fits.conclude(plan, &trials), failing))
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
