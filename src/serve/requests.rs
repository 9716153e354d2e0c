//! What deployers ask, checked: common to gRPC and HTTP.

use std::fmt;

use crate::{
    engine::Refusal,
    event::{self, Begin, Bypass, Hotfix},
    gate::GateError,
};

/// Most hosts that a request may name.
const HOSTS_MAX: usize = 100_000;

/// A field that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldError {
    /// The field.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

/// What kind of refusal it is; each protocol has a code for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalKind {
    /// Something that is named does not exist.
    NotFound,
    /// A field makes no sense.
    BadField,
    /// The id is taken.
    Exists,
    /// Over a limit.
    Exhausted,
    /// Not in this state.
    Conflict,
}

impl FieldError {
    /// A field and what is wrong with it.
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl RefusalKind {
    /// What kind of refusal it is.
    pub(super) fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::UnknownService { .. }
            | Refusal::UnknownStage { .. }
            | Refusal::UnknownDeployment { .. } => Self::NotFound,
            Refusal::UnknownRegion { .. }
            | Refusal::BadField { .. }
            | Refusal::Gate {
                error: GateError::UnknownStep { .. },
                ..
            } => Self::BadField,
            Refusal::DuplicateDeployment { .. } | Refusal::EndedDeployment { .. } => Self::Exists,
            Refusal::TooManyGates { .. } => Self::Exhausted,
            Refusal::Gate {
                error: GateError::Ended | GateError::Passed { .. } | GateError::Bypassed { .. },
                ..
            } => Self::Conflict,
        }
    }
}

/// The field that a refusal is about.
pub(super) fn refused_field(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownService { .. } => "service",
        Refusal::UnknownStage { .. } => "stage",
        Refusal::UnknownRegion { .. } => "region",
        Refusal::BadField { field, .. } => field,
        Refusal::DuplicateDeployment { .. }
        | Refusal::EndedDeployment { .. }
        | Refusal::UnknownDeployment { .. }
        | Refusal::Gate {
            error: GateError::Ended | GateError::Bypassed { .. },
            ..
        }
        | Refusal::TooManyGates { .. } => "deployment",
        Refusal::Gate {
            error: GateError::UnknownStep { .. },
            ..
        } => "step",
        Refusal::Gate {
            error: GateError::Passed { .. },
            ..
        } => "outcome",
    }
}

/// Checks what the engine cannot: sizes, and letters that would garble a log or a page.
///
/// # Errors
/// A field makes no sense.
pub(super) fn check_begin(begin: &Begin) -> Result<(), FieldError> {
    check_letters("deployment", &begin.deployment)?;
    if let "." | ".." = begin.deployment.as_str() {
        let problem = "cannot be . or .., which stand for folders in the path that asks for it; choose another name";
        return Err(FieldError::new("deployment", problem));
    }
    check_name("service", &begin.service)?;
    check_name("stage", &begin.stage)?;
    check_letters("region", begin.region.as_deref().unwrap_or(""))?;
    check_name("version", &begin.version)?;
    for (field, hosts) in [("one_box", &begin.one_box), ("fleet", &begin.fleet)] {
        if hosts.len() > HOSTS_MAX {
            let problem = format!("names {} hosts, at most {HOSTS_MAX} are taken", hosts.len());
            return Err(FieldError::new(field, problem));
        }
        for (index, host) in hosts.iter().enumerate() {
            if host.trim().is_empty() {
                let problem = "is empty: it must be the name of a host";
                return Err(FieldError::new(format!("{field}[{index}]"), problem));
            }
            check_letters(field, host)?;
        }
    }
    if !(begin.weight.is_finite() && begin.weight > 0.0) {
        let problem = format!("is {}: the share of traffic must be above 0", begin.weight);
        return Err(FieldError::new("weight", problem));
    }
    begin.hotfix.as_ref().map_or(Ok(()), check_hotfix)
}

/// Checks a name that must be there.
///
/// # Errors
/// It is empty, too long or not printable.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), FieldError> {
    if name.is_empty() {
        return Err(FieldError::new(field, "is missing: it must not be empty"));
    }
    check_letters(field, name)
}

/// Checks a person's decision.
///
/// # Errors
/// A field makes no sense.
pub(super) fn check_bypass(bypass: &Bypass) -> Result<(), FieldError> {
    check_name("deployment", &bypass.deployment)?;
    check_name("by", &bypass.by)?;
    check_name("reason", &bypass.reason)?;
    check_name("ticket", &bypass.ticket)
}

fn check_hotfix(hotfix: &Hotfix) -> Result<(), FieldError> {
    check_name("hotfix.by", &hotfix.by)?;
    check_name("hotfix.reason", &hotfix.reason)?;
    check_name("hotfix.ticket", &hotfix.ticket)
}

fn check_letters(field: &str, name: &str) -> Result<(), FieldError> {
    event::check_name(name).map_err(|problem| FieldError::new(field, problem))
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.problem)
    }
}

impl std::error::Error for FieldError {}

/// An id for a deployment that came without one.
pub(super) fn unnamed_id(begin: &Begin, number: u64) -> String {
    let region = begin.region.as_ref();
    let region = region.map_or_else(String::new, |region| format!("-{region}"));
    format!(
        "{}-{}{region}-{}-{number}",
        begin.service, begin.stage, begin.version
    )
}
