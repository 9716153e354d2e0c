//! Finds the one deployment that a driver means, or says why there is none.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
};

use serde::Deserialize;

use super::{
    core::Unavailable,
    published::{Deployment, Published, Standing, Withheld},
};

/// Most gates that a message names.
const NAMED_MAX: usize = 8;

/// Which deployments are meant; empty texts match everything.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    /// The service.
    pub(super) service: String,
    /// The stage.
    pub(super) stage: String,
    /// The region.
    pub(super) region: String,
    /// Whether those that have ended are left out.
    pub(super) open_only: bool,
}

/// A deployment, and whether its verdict is the engine's present one.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// Whether the engine still reads its journal.
    pub is_recovering: bool,
}

/// Why no deployment is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotFound {
    /// There is none.
    Nothing,
    /// There are some, in these gates.
    Several(Vec<String>),
    /// The engine cannot tell.
    Withheld(Unavailable),
}

impl Wanted {
    /// Whether a deployment is one of them.
    pub(super) fn takes(&self, deployment: &Deployment) -> bool {
        let begin = &deployment.begin;
        let is_meant = |wanted: &str, given: &str| wanted.is_empty() || wanted == given;
        is_meant(&self.service, &begin.service)
            && is_meant(&self.stage, &begin.stage)
            && is_meant(&self.region, begin.region.as_deref().unwrap_or(""))
            && !(self.open_only && deployment.is_ended)
    }
}

/// Finds a deployment by its id, ended or not, or else the newest open one of the only gate that has one.
///
/// An old deployment that nobody ended must not speak for a new one, so a search that would have to
/// choose between gates finds nothing.
///
/// # Errors
/// None matches, several gates match, or the engine cannot tell.
pub(super) fn find(
    published: &Published,
    id: Option<&str>,
    is_meant: impl Fn(&Deployment) -> bool,
) -> Result<Found, NotFound> {
    let withheld = |Withheld(reason)| NotFound::Withheld(reason);
    let board = published.board().map_err(withheld)?;
    let is_recovering = board.standing == Standing::Recovering;
    let nothing = if is_recovering {
        NotFound::Withheld(Unavailable::Recovering)
    } else {
        NotFound::Nothing
    };
    let found = |deployment: &Arc<Deployment>| Found {
        deployment: Arc::clone(deployment),
        is_recovering,
    };
    if let Some(id) = id {
        return board
            .deployments
            .get(id)
            .filter(|deployment| is_meant(deployment))
            .map(found)
            .ok_or(nothing);
    }
    let mut gates = BTreeMap::new();
    for deployment in board.newest_first() {
        if deployment.is_ended || !is_meant(deployment) {
            continue;
        }
        let begin = &deployment.begin;
        let gate = (&begin.service, &begin.stage, begin.region.as_deref());
        if let Entry::Vacant(newest) = gates.entry(gate) {
            newest.insert(deployment);
        }
    }
    if gates.len() > 1 {
        let names = gates.keys().map(|(service, stage, region)| match region {
            Some(region) => format!("{service}/{stage}/{region}"),
            None => format!("{service}/{stage}"),
        });
        return Err(NotFound::Several(names.collect()));
    }
    gates.values().next().copied().map(found).ok_or(nothing)
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no deployment is meant: begin one, or correct its id"),
            Self::Several(gates) => {
                let more = gates.len().saturating_sub(NAMED_MAX);
                let named = gates.iter().take(NAMED_MAX).map(String::as_str);
                let named = named.collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "{} gates have an open deployment ({named}{}): name the deployment, or its stage \
                     and region",
                    gates.len(),
                    if more > 0 { ", …" } else { "" }
                )
            }
            Self::Withheld(reason) => reason.fmt(f),
        }
    }
}
