//! The policies of a stage: what holds a start back, and what a hotfix skips.

use jiff::tz::TimeZoneDatabase;

use super::{
    tree::{Tree, quoted},
    walk::{Place, suggestion},
};

const SKIPPABLES: [(&str, Skippable); 1] = [("bake", Skippable::Bake)];

/// Rules of a stage beside its checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Only one region's one-box bakes at a time.
    pub one_region_at_a_time: bool,
    /// When a deployment may start.
    pub off_peak: Option<OffPeak>,
    /// What a hotfix skips.
    pub hotfix_skips: Vec<Skippable>,
    /// Whether a deployment must not start while its target is already unhealthy or the stage
    /// before has not passed for its version. Default: where the pipeline is told to Sluice.
    pub start_blockers: StartBlockers,
    /// Whether a version label that is new on some hosts opens a gate by itself. Default false: a
    /// deployer says what it does.
    pub open_on_new_version: bool,
}

/// When a start is held back by an unhealthy target, or by the stage before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartBlockers {
    /// Never.
    Off,
    /// `MayPromote` always reports it. A gate that begins all the same is held only if an earlier
    /// stage of the service was ever told: who tells of one stage only is not asked about others.
    #[default]
    WhenTold,
    /// Always; `start_blockers: true` is written in the configuration.
    Always,
}

/// When a deployment may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffPeak {
    /// In these windows of local time.
    Windows {
        /// IANA time zone.
        zone: String,
        /// Minutes of the day `[from, to)`; `from > to` runs over midnight.
        windows: Vec<(u16, u16)>,
    },
    /// When the service's own traffic is low.
    Learned,
}

/// What a hotfix can skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skippable {
    /// The bake.
    Bake,
}

/// Reads the policies of a stage.
pub(super) fn policies(place: &Place<'_>) -> Policies {
    let default = Policies::default();
    let known = [
        "one_region_at_a_time",
        "off_peak",
        "hotfix_skips",
        "start_blockers",
        "open_on_new_version",
    ];
    let Some(keys) = place.map(&known) else {
        return default;
    };
    let flag = |key: &str, default: bool| keys.get(key).and_then(Place::flag).unwrap_or(default);
    Policies {
        one_region_at_a_time: flag("one_region_at_a_time", default.one_region_at_a_time),
        off_peak: keys.get("off_peak").and_then(off_peak),
        hotfix_skips: keys
            .get("hotfix_skips")
            .map(hotfix_skips)
            .unwrap_or_default(),
        start_blockers: match keys.get("start_blockers").and_then(Place::flag) {
            None => StartBlockers::default(),
            Some(true) => StartBlockers::Always,
            Some(false) => StartBlockers::Off,
        },
        open_on_new_version: flag("open_on_new_version", default.open_on_new_version),
    }
}

fn hotfix_skips(place: &Place<'_>) -> Vec<Skippable> {
    let mut skips: Vec<Skippable> = place
        .list()
        .iter()
        .filter_map(|item| item.word(&SKIPPABLES))
        .collect();
    skips.sort_unstable();
    skips.dedup();
    skips
}

fn off_peak(place: &Place<'_>) -> Option<OffPeak> {
    if !matches!(place.node.value, Tree::Map(_)) {
        return match place.text()? {
            "learned" => Some(OffPeak::Learned),
            other => {
                place.fault(
                    format!("{} is not known here", quoted(other)),
                    "write learned, or {zone: Europe/Warsaw, windows: [\"22:00-06:00\"]}",
                );
                None
            }
        };
    }
    let keys = place.map(&["zone", "windows"])?;
    let zone = keys
        .get("zone")
        .map_or_else(|| Some("UTC".to_owned()), zone);
    let list = keys.require("windows", "add windows: [\"22:00-06:00\"]")?;
    let items = list.list();
    if items.is_empty() && matches!(list.node.value, Tree::List(_)) {
        list.fault(
            "without a window no deployment could start",
            "add one, such as \"22:00-06:00\"",
        );
    }
    let windows: Vec<(u16, u16)> = items.iter().filter_map(window).collect();
    Some(OffPeak::Windows {
        zone: zone?,
        windows,
    })
}

/// An IANA time zone in its own spelling.
pub(super) fn zone(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    // The bundled database, not the machine's: the same configuration means the same everywhere.
    let database = TimeZoneDatabase::bundled();
    if let Ok(zone) = database.get(text)
        && let Some(name) = zone.iana_name()
    {
        return Some(name.to_owned());
    }
    let names: Vec<String> = database
        .available()
        .map(|name| name.as_str().to_owned())
        .collect();
    let near = suggestion(text, names.iter().map(String::as_str), "zones");
    let remedy = if near.starts_with("did") {
        near
    } else {
        "write an IANA name, such as Europe/Warsaw or UTC".to_owned()
    };
    place.fault(format!("there is no time zone {}", quoted(text)), remedy);
    None
}

fn window(place: &Place<'_>) -> Option<(u16, u16)> {
    let text = place.text()?;
    let found = text
        .split_once('-')
        .and_then(|(from, to)| Some((minute_of_day(from.trim())?, minute_of_day(to.trim())?)));
    match found {
        Some((from, to)) if from != to && from < MINUTES_OF_DAY => Some((from, to)),
        Some((MINUTES_OF_DAY, _)) => {
            place.fault(
                format!("the window {} begins at the end of the day", quoted(text)),
                "write 00:00 for its begin; 24:00 is an end",
            );
            None
        }
        Some(_) => {
            place.fault(
                format!("the window {} is empty", quoted(text)),
                "write two different times; 00:00-24:00 is the whole day",
            );
            None
        }
        None => {
            place.fault(
                format!("{} is no window of the day", quoted(text)),
                "write \"22:00-06:00\"",
            );
            None
        }
    }
}

const MINUTES_OF_DAY: u16 = 24 * 60;

/// `06:30` → 390; `24:00` is the end of the day.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |part: &str| {
        (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<u16>().ok())
            .flatten()
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= MINUTES_OF_DAY).then_some(total)
}
