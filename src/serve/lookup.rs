//! Finds the one deployment that a driver means, or says why there is none.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
};

use serde::Deserialize;

use super::{
    board::{Board, Deployment, Standing},
    core::Unavailable,
    published::{Published, Withheld},
    requests::FieldError,
};
use crate::event::{Begin, Timestamp};

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
    /// Most of them in one answer; 0: as many as there may be.
    pub(super) page_size: i32,
    /// What the answer before said comes next.
    pub(super) page_token: String,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Asks for what follows; empty: nothing does.
    pub(super) next: String,
}

/// Most deployments of one answer.
const PAGE_MAX: usize = 1_000;
/// Most bytes of one answer, but for one that is longer by itself: gRPC clients take 4 MiB.
const PAGE_BYTES_MAX: usize = 7 << 19;

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

    /// The wanted deployments of a board, newest first, as far as one answer goes; `show` gives each as it is
    /// answered, with the bytes that it takes.
    ///
    /// # Errors
    /// The page makes no sense.
    pub(super) fn page<'a, T>(
        &self,
        board: &'a Board,
        show: impl Fn(&'a Arc<Deployment>) -> (T, usize),
    ) -> Result<Page<T>, FieldError> {
        let size = usize::try_from(self.page_size)
            .map_err(|_| FieldError::new("page_size", "is negative: it must be 0 or more"))?;
        let size = if size == 0 {
            PAGE_MAX
        } else {
            size.min(PAGE_MAX)
        };
        let after = self.after()?;
        let follows = |deployment: &Deployment| {
            let begin = &deployment.begin;
            after
                .as_ref()
                .is_none_or(|(at, id)| (Reverse(begin.at), &begin.deployment) > (Reverse(*at), id))
        };
        let mut page = Page {
            items: Vec::new(),
            next: String::new(),
        };
        let (mut bytes, mut last) = (0, String::new());
        for deployment in board.newest_first() {
            if !self.takes(deployment) || !follows(deployment) {
                continue;
            }
            let (item, takes) = show(deployment);
            bytes += takes;
            if page.items.len() == size || (PAGE_BYTES_MAX < bytes && !page.items.is_empty()) {
                page.next = last;
                break;
            }
            page.items.push(item);
            let Begin { at, deployment, .. } = &deployment.begin;
            last = format!("{}:{deployment}", at.nanos());
        }
        Ok(page)
    }

    /// The last deployment of the answer before.
    fn after(&self) -> Result<Option<(Timestamp, String)>, FieldError> {
        if self.page_token.is_empty() {
            return Ok(None);
        }
        let token = self.page_token.split_once(':');
        let token = token.and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
        token
            .map(|(at, id)| Some((Timestamp::from_nanos(at), id)))
            .ok_or_else(|| {
                let problem = "is none that was given: leave it out to begin anew";
                FieldError::new("page_token", problem)
            })
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        engine::{Engine, Input},
        event::{DeploymentEvent, Timestamp},
        plan::Plan,
        serve::published::Stats,
    };

    const PLAN: &str = "
checks: {cpu: {metric: cpu, bounds: {max: 1}}}
services: {shop: {stages: [{name: one, steps: [t]}]}}
";

    /// A board with deployments `d0`, `d1`, …; two of each second.
    fn board(count: i64) -> Arc<Board> {
        let plan = Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}"));
        let mut engine = Engine::new(Arc::new(plan));
        for number in 0..count {
            let begin = Begin {
                at: Timestamp::from_seconds(1_772_359_200 + number / 2),
                deployment: format!("d:{number}"),
                service: "shop".to_owned(),
                stage: "one".to_owned(),
                region: None,
                version: "v1".to_owned(),
                one_box: Vec::new(),
                fleet: Vec::new(),
                weight: 1.0,
                hotfix: None,
            };
            let event = DeploymentEvent::Begin(begin);
            engine.step(Input::Deployment(event), &mut Vec::new());
        }
        let published = Published::new(Stats::none());
        published.recovered(engine.gates());
        published.board().expect("it lives")
    }

    fn pages(board: &Board, page_size: i32, bytes: usize) -> Vec<Vec<String>> {
        let mut wanted = Wanted {
            page_size,
            ..Wanted::default()
        };
        let mut pages = Vec::new();
        loop {
            let show = |deployment: &Arc<Deployment>| (deployment.begin.deployment.clone(), bytes);
            let page = wanted.page(board, show).unwrap();
            pages.push(page.items);
            if page.next.is_empty() {
                return pages;
            }
            wanted.page_token = page.next;
        }
    }

    #[test]
    fn pages_hold_every_deployment_once_newest_first() {
        let board = board(9);
        let all = [
            "d:8", "d:6", "d:7", "d:4", "d:5", "d:2", "d:3", "d:0", "d:1",
        ];
        for (page_size, bytes, counts) in [
            (0, 1, &[9][..]),
            (9, 1, &[9]),
            (4, 1, &[4, 4, 1]),
            (1, 1, &[1; 9]),
            (i32::MAX, 1, &[9]),
            (0, PAGE_BYTES_MAX / 2, &[2, 2, 2, 2, 1]),
            // One that is too large by itself still comes.
            (0, PAGE_BYTES_MAX + 1, &[1; 9]),
        ] {
            let pages = pages(&board, page_size, bytes);
            let lengths: Vec<usize> = pages.iter().map(Vec::len).collect();
            assert_eq!(lengths, counts, "{page_size}, {bytes}");
            assert_eq!(pages.concat(), all, "{page_size}, {bytes}");
        }
    }

    #[test]
    fn a_page_that_makes_no_sense_is_told() {
        let board = Board {
            deployments: BTreeMap::new(),
            standing: Standing::Alive,
        };
        for (page_size, page_token, field) in [
            (-1, "", "page_size"),
            (0, "d1", "page_token"),
            (0, "x:d1", "page_token"),
        ] {
            let wanted = Wanted {
                page_size,
                page_token: page_token.to_owned(),
                ..Wanted::default()
            };
            let refused = wanted.page(&board, |_| ((), 0)).unwrap_err();
            assert_eq!(refused.field, field);
        }
    }
}
