//! What is allowed in a configuration but most likely not meant.

use super::{
    Check, DetectorPlan, Limit, Limits, Mode, Plan, Selection, ServicePlan, Skippable, StageCheck,
    StagePlan, fault::Warning,
};
use crate::event::{Kind, Span, Unit};

impl Plan {
    /// Finds what is odd, in the order of the names: checks that nothing uses or that can never
    /// breach, stages that nothing can block, policies without effect.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings: Vec<Warning> = self.lint_access().into_iter().collect();
        warnings.extend(lint_journal(&self.limits));
        for (name, check) in &self.checks {
            self.lint_check(name, check, &mut warnings);
        }
        for service in self.services.values() {
            for (index, stage) in service.stages.iter().enumerate() {
                let path = format!("services.{}.stages[{index}]", service.name);
                lint_stage(stage, &path, &mut warnings);
                for (check_index, used) in stage.checks.iter().enumerate() {
                    let path = format!("{path}.checks[{check_index}]");
                    if let Some(check) = self.checks.get(&used.check) {
                        lint_use(used, check, stage, &path, &mut warnings);
                    }
                }
            }
        }
        warnings
    }

    fn lint_check(&self, name: &str, check: &Check, warnings: &mut Vec<Warning>) {
        let uses = |service: &ServicePlan| {
            service
                .stages
                .iter()
                .any(|stage| stage.checks.iter().any(|used| used.check == name))
        };
        if !self.services.values().any(uses) {
            warnings.push(warning(
                format!("checks.{name}"),
                "no stage uses the check",
                "name it in the checks of a stage, or remove it",
            ));
        }
        if let Some(metric) = rate_of_no_counter(check) {
            warnings.push(warning(
                format!("checks.{name}.bounds"),
                format!(
                    "the bound is a rate, and nothing says that {metric} is a counter: where the protocol does \
                     not tell either, its values are compared as they come"
                ),
                "add kind: counter, or if its values are rates already, write the number per second",
            ));
        }
        lint_share(name, check, warnings);
        if let DetectorPlan::Bounds {
            min: Some(min),
            max: Some(max),
            ..
        } = check.detector
            && min.of(Unit::Unknown) == max.of(Unit::Unknown)
        {
            warnings.push(warning(
                format!("checks.{name}.bounds"),
                format!(
                    "min and max are both {}, so only this very value is in range",
                    min.of(Unit::Unknown)
                ),
                "widen the bounds if the value can differ",
            ));
        }
    }
}

/// Warns of a journal that has no room for a request that is let in: its sender would be asked to come again for
/// ever.
fn lint_journal(limits: &Limits) -> Option<Warning> {
    let Limits {
        journal_bytes,
        request_bytes,
        ..
    } = limits;
    (journal_bytes / 2 < *request_bytes).then(|| {
        warning(
            "limits.journal_bytes",
            format!(
                "{journal_bytes} bytes have no room for two requests of {request_bytes} bytes, as \
                 limits.request_bytes allows: one that does not fit is answered with 503 each time it comes"
            ),
            "write more, or a lower limits.request_bytes",
        )
    })
}

/// Warns of bounds that were written in the other of the two units of shares.
fn lint_share(name: &str, check: &Check, warnings: &mut Vec<Warning>) {
    let (DetectorPlan::Bounds { min, max, .. }, Selection::Series(selection)) =
        (&check.detector, &check.selection)
    else {
        return;
    };
    for (key, limit) in [("min", min), ("max", max)] {
        let Some(limit) = limit.filter(|limit| !limit.is_share() && !limit.is_rate()) else {
            continue;
        };
        let value = limit.of(Unit::Unknown);
        let (problem, remedy) = match selection.unit {
            Some(Unit::Ratio) if 1.0 < value => (
                format!("{value} is beyond all shares of 1"),
                format!("write {value}%, or unit: percent"),
            ),
            Some(Unit::Percent) if key == "min" && 0.0 < value && value < 1.0 => (
                format!("{value} is less than one percent"),
                format!("write {}, or unit: ratio", 100.0 * value),
            ),
            _ => continue,
        };
        warnings.push(warning(
            format!("checks.{name}.bounds.{key}"),
            problem,
            remedy,
        ));
    }
}

/// The metric that is held against a rate although neither its kind nor its name says that it is a counter.
fn rate_of_no_counter(check: &Check) -> Option<&str> {
    let (DetectorPlan::Bounds { min, max, .. }, Selection::Series(selection)) =
        (&check.detector, &check.selection)
    else {
        return None;
    };
    let is_rate = |limit: &Option<Limit>| limit.is_some_and(Limit::is_rate);
    let is_told = selection.kind.is_some_and(|kind| kind != Kind::Unknown);
    let metric = selection.selector.metric()?;
    ((is_rate(min) || is_rate(max)) && !is_told && Kind::of_name(metric) == Kind::Unknown)
        .then_some(metric)
}

fn warning(
    path: impl Into<String>,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> Warning {
    Warning {
        path: path.into(),
        problem: problem.into(),
        remedy: remedy.into(),
    }
}

fn lint_stage(stage: &StagePlan, path: &str, warnings: &mut Vec<Warning>) {
    let is_advisory = |check: &StageCheck| check.mode == Mode::Advisory;
    if !stage.checks.is_empty() && stage.checks.iter().all(is_advisory) {
        warnings.push(warning(
            format!("{path}.checks"),
            "all checks of the stage are advisory, so that only its steps can hold a change back",
            "make one blocking once you trust it",
        ));
    }
    if stage.policies.one_region_at_a_time && stage.regions.len() < 2 {
        warnings.push(warning(
            format!("{path}.policies.one_region_at_a_time"),
            match stage.regions.len() {
                0 => "the stage names no region",
                _ => "the stage names one region only, which never waits for another",
            },
            "name all its regions, or drop the policy",
        ));
    }
    if stage.policies.hotfix_skips.contains(&Skippable::Bake) && stage.bake.max == Span::ZERO {
        warnings.push(warning(
            format!("{path}.policies.hotfix_skips"),
            "the stage has no bake to skip",
            "add a bake, or drop the policy",
        ));
    }
}

fn lint_use(
    used: &StageCheck,
    check: &Check,
    stage: &StagePlan,
    path: &str,
    warnings: &mut Vec<Warning>,
) {
    let watched = stage.bake.max - stage.grace;
    let has_bake = stage.bake.max > Span::ZERO;
    if check.is_statistical() && !has_bake {
        warnings.push(warning(
            path,
            format!(
                "{} is statistical, but the stage has no bake to gather evidence in",
                used.check
            ),
            "add a bake to the stage",
        ));
    }
    if used.weight != 1 && !check.is_statistical() {
        warnings.push(warning(
            format!("{path}.weight"),
            format!(
                "{} has no share of alpha that a weight could change",
                used.check
            ),
            "drop the weight",
        ));
    }
    if let DetectorPlan::Bounds { within, .. } = &check.detector
        && has_bake
        && *within > watched
    {
        warnings.push(warning(
            path,
            format!(
                "{} counts the records of any {within}, but only {watched} are watched: a rate above \
                 the limit can go unseen",
                used.check
            ),
            "lengthen the bake, or write the limit for a shorter time, such as 1/s",
        ));
    }
    let needed = match &check.detector {
        DetectorPlan::Bounds { for_at_least, .. } => *for_at_least,
        DetectorPlan::Absent { after } => *after,
        DetectorPlan::Load { of, .. } if *of == stage.name => {
            warnings.push(warning(
                path,
                format!("{} compares the load of {of} with itself", used.check),
                "use it in a stage before, or name another stage in load.of",
            ));
            Span::ZERO
        }
        DetectorPlan::Derivative { .. }
        | DetectorPlan::Sigma { .. }
        | DetectorPlan::Compare { .. }
        | DetectorPlan::NewTemplate
        | DetectorPlan::Load { .. } => Span::ZERO,
    };
    if has_bake && needed > watched {
        warnings.push(warning(
            path,
            format!(
                "{} needs {needed} to breach, but only {watched} are watched: it can fail only a gate that \
                 stays open after its bake",
                used.check
            ),
            "lengthen the bake, or shorten the time of the check",
        ));
    }
}
