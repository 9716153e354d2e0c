//! Another configuration while the engine runs: read anew, checked as a whole, and taken or left.

use std::{
    collections::BTreeSet,
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tracing::{error, info, warn};

use super::{
    access::{AccessError, Caller, Guard},
    answers::{ChangeError, Unavailable},
    feed::Feed,
    http_request::ask_to_retry,
    shared::Shared,
    sink_counters::SinkCounters,
    start_error::StartError,
    tls::{self, Encryption},
};
use crate::{
    engine::Selector,
    event::{Span, Timestamp},
    journal::Reload,
    plan::{Fault, Faults, Plan, Warning},
    reduce::Select,
};

/// Where a configuration is read anew, and by what.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// Reads it. Whatever else is wrong with it (what sinks need, say) is told here too.
    pub read: fn(&std::path::Path) -> Result<Plan, ReloadError>,
}

/// Why the engine goes on under the configuration that it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadError {
    /// It was started without a file.
    NoFile,
    /// The file cannot be read, or names another that cannot be used.
    Unusable(String),
    /// What is wrong with it, or cannot change while the engine runs.
    Faults(Faults),
    /// The engine cannot take it, for this reason.
    Refused(String),
    /// The engine cannot take anything at the moment.
    Unavailable(Unavailable),
}

/// A configuration that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The digest in the verdicts of deployments that begin from now on.
    pub digest: String,
    /// Whether it is another one: only then verdicts may differ.
    pub is_other: bool,
    /// What is allowed but most likely not meant.
    pub warnings: Vec<Warning>,
}

/// How configurations are read anew.
#[derive(Debug)]
pub(super) struct Reloading {
    source: Option<Source>,
    /// One after the other.
    turn: Mutex<()>,
    encryption: Vec<Encryption>,
    /// Names of the attributes that tell a log stream, as decoders take them out.
    stream_labels: BTreeSet<String>,
    is_last_good: AtomicBool,
    taken_at: ArcSwap<Timestamp>,
    plans: watch::Sender<Arc<Plan>>,
}

/// Reads the configuration of a running engine anew; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader(pub(super) Arc<Shared>);

impl Reloading {
    pub(super) fn new(
        source: Option<Source>,
        encryption: Vec<Encryption>,
        plan: &Arc<Plan>,
        at: Timestamp,
    ) -> Self {
        Self {
            source,
            turn: Mutex::new(()),
            encryption,
            stream_labels: Selector::new(Arc::clone(plan)).stream_labels().clone(),
            is_last_good: AtomicBool::new(true),
            taken_at: ArcSwap::from_pointee(at),
            plans: watch::Sender::new(Arc::clone(plan)),
        }
    }

    /// Whether the last configuration that was read was taken, and when the last good one was.
    pub(super) fn last(&self) -> (bool, Timestamp) {
        let is_good = self.is_last_good.load(Ordering::Relaxed);
        (is_good, **self.taken_at.load())
    }

    fn read(&self) -> Result<Plan, ReloadError> {
        let source = self.source.as_ref().ok_or(ReloadError::NoFile)?;
        (source.read)(&source.file)
    }

    /// What differs from the plan that is in force and cannot change while the engine runs.
    fn fixed(&self, before: &Plan, after: &Plan) -> Vec<Fault> {
        let mut faults = before.fixed_in(after);
        let wanted = Selector::new(Arc::new(after.clone()));
        let mut new = wanted.stream_labels().difference(&self.stream_labels);
        if let Some(label) = new.next() {
            faults.push(Fault {
                path: "services".to_owned(),
                line: None,
                problem: format!("log streams were not told apart by {label:?} so far"),
                remedy: "restart the engine to match by this label".to_owned(),
            });
        }
        faults
    }
}

impl Reloader {
    /// Reads the configuration anew and takes it, or leaves it as a whole. Either way the log and
    /// `/metrics` tell of it; one that is taken stands in the history, with `by`: who had it read.
    ///
    /// # Errors
    /// It cannot be taken, or not recorded: the engine goes on under the one that it had.
    pub async fn reload(&self, by: &str) -> Result<Reloaded, ReloadError> {
        let reloading = &self.0.reloading;
        let _turn = reloading.turn.lock().await;
        // Each has a time of its own, by which it is known.
        let last = **reloading.taken_at.load();
        let at = self.0.now().max(last + Span::from_nanos(1));
        let result = self.take(Reload {
            at,
            by: by.to_owned(),
        });
        let result = result.await;
        reloading
            .is_last_good
            .store(result.is_ok(), Ordering::Relaxed);
        match &result {
            Ok(taken) => {
                reloading.taken_at.store(Arc::new(at));
                self.0.acted().await;
                for warning in &taken.warnings {
                    warn!(%warning, "the configuration is odd");
                }
                info!(
                    by,
                    config_digest = taken.digest,
                    is_other = taken.is_other,
                    "the configuration was read anew"
                );
            }
            Err(problem) => error!(
                by,
                %problem,
                "the configuration cannot be taken: the engine goes on under the one that it had"
            ),
        }
        result
    }

    /// The configuration that is in force, as it changes.
    pub fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.0.reloading.plans.subscribe()
    }

    /// Deployments as they stand, for what tells others of them.
    pub fn feed(&self) -> Feed {
        Feed::new(self.0.published(), &self.0.clock)
    }

    /// The counters of a sink, which `/metrics` shows from now on.
    pub fn sink_counters(&self, sink: &str) -> Arc<SinkCounters> {
        self.0.metrics.sinks.of(sink)
    }

    async fn take(&self, reload: Reload) -> Result<Reloaded, ReloadError> {
        let Shared {
            reloading, core, ..
        } = &*self.0;
        let before = self.0.plan();
        let after = Arc::new(reloading.read()?);
        let fixed = reloading.fixed(&before, &after);
        if !fixed.is_empty() {
            return Err(ReloadError::Faults(Faults(fixed)));
        }
        if let Some((key, address)) = after.exposed() {
            let exposed = StartError::Exposed { key, address };
            return Err(ReloadError::Unusable(exposed.to_string()));
        }
        let guard = Guard::new(&after.access)?;
        let mut encryption = Vec::new();
        if let Some(plan) = &after.tls {
            for port in &reloading.encryption {
                encryption.push((port, tls::configuration(plan, port.protocols)?));
            }
        }
        self.0.may_act().await.map_err(ReloadError::Unavailable)?;
        // Only now is anything changed, and first what may still be refused. It is recorded also where
        // verdicts do not follow from it: other tokens are another answer to who may do what.
        core.change(&before, Arc::clone(&after), reload).await?;
        guard.counts_on(&self.0.guard.load());
        self.0.guard.store(Arc::new(guard));
        for (port, configuration) in encryption {
            port.current.store(configuration);
        }
        self.0.plan.store(Arc::clone(&after));
        reloading.plans.send_replace(Arc::clone(&after));
        Ok(Reloaded {
            digest: after.digest.clone(),
            is_other: before.digest != after.digest,
            warnings: after.warnings(),
        })
    }
}

/// `POST /-/reload`.
pub(super) async fn reload(
    State(shared): State<Arc<Shared>>,
    Extension(Caller(by)): Extension<Caller>,
) -> Response {
    // A caller that leaves in between does not leave it half done.
    let work = tokio::spawn(async move { Reloader(shared).reload(&by).await });
    let Ok(result) = work.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let (status, document) = match &result {
        Ok(taken) => (StatusCode::OK, taken.document()),
        Err(problem) => (problem.status(), problem.document()),
    };
    let mut response = (status, Json(document)).into_response();
    ask_to_retry(&mut response);
    response
}

impl Reloaded {
    fn document(&self) -> Value {
        let warnings: Vec<String> = self.warnings.iter().map(ToString::to_string).collect();
        json!({
            "config_digest": self.digest,
            "changed": self.is_other,
            "warnings": warnings,
        })
    }
}

impl ReloadError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoFile | Self::Unusable(_) | Self::Faults(_) | Self::Refused(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn document(&self) -> Value {
        let faults = match self {
            Self::Faults(faults) => faults.0.as_slice(),
            Self::NoFile | Self::Unusable(_) | Self::Refused(_) | Self::Unavailable(_) => &[],
        };
        let faults: Vec<Value> = faults
            .iter()
            .map(|fault| {
                json!({
                    "path": fault.path,
                    "line": fault.line,
                    "problem": fault.problem,
                    "remedy": fault.remedy,
                })
            })
            .collect();
        json!({"error": self.to_string(), "faults": faults})
    }
}

impl From<AccessError> for ReloadError {
    fn from(error: AccessError) -> Self {
        Self::Unusable(error.to_string())
    }
}

impl From<ChangeError> for ReloadError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(refusal) => Self::Refused(refusal.to_string()),
            ChangeError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => {
                f.write_str("the engine was started without --config: there is no file to read")
            }
            Self::Unusable(problem) | Self::Refused(problem) => f.write_str(problem),
            Self::Faults(faults) => faults.fmt(f),
            Self::Unavailable(reason) => write!(f, "nothing can be changed now: {reason}"),
        }
    }
}

impl std::error::Error for ReloadError {}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
