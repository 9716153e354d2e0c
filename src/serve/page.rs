//! The web page: deployments with their verdicts, readable at 3 a.m.

use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use super::{
    board::{Board, Deployment},
    markup::{STYLE, escape},
    plot,
    published::Stats,
    url::percent_encode,
};
use crate::{
    event::Timestamp,
    gate::{CheckReport, VerdictState, few_hosts, plain_number},
};

/// Most deployments that the page shows.
const DEPLOYMENTS_MAX: usize = 100;

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sluice</title>
<style>"#;
/// Takes the next state in without leaving the page: else an engine that restarts would leave behind what the
/// browser says of it, and the keyboard would begin at the top every few seconds.
const SCRIPT: &str = r#"
setInterval(async () => {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const focus = document.activeElement?.getAttribute("href");
    document.body.className = "";
    document.body.replaceChildren(...next.body.childNodes);
    const again = focus && [...document.links].find((link) => link.getAttribute("href") === focus);
    if (again) again.focus({ preventScroll: true });
  } catch {
    document.body.className = "stale";
  }
}, 5000);
"#;
const NO_SCRIPT: &str = "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n";
const BODY: &str = "</head><body>
<h1>Sluice: may this change go on?</h1>
<p class=\"old\" role=\"status\">The engine does not answer: what stands here is old.</p>
";

/// What the page says when the engine has stopped.
pub(super) fn stopped() -> String {
    const TITLE: &str =
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Sluice</title>";
    const TEXT: &str = "</head><body><h1>NO_DATA: the engine stopped</h1>\
         <p>Every verdict is withheld. Restart the engine.</p></body></html>";
    [TITLE, &refresh(), TEXT].concat()
}

/// What takes the next state in. Nothing else may run or be fetched, whatever a name from outside tries to be.
fn refresh() -> String {
    static REFRESH: OnceLock<String> = OnceLock::new();
    let made = REFRESH.get_or_init(|| {
        let digest = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
        format!(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; connect-src 'self'; \
             style-src 'unsafe-inline'; script-src 'sha256-{digest}'\">\n{NO_SCRIPT}<script>{SCRIPT}</script>\n"
        )
    });
    made.clone()
}

/// Renders the page.
pub(super) fn render(board: &Board, stats: &Stats, now: Timestamp) -> String {
    let mut page = [HEAD, STYLE, "</style>\n", &refresh(), BODY].concat();
    let now = seconds(now);
    put(
        &mut page,
        format_args!("<p class=\"small\">as of {now}, refreshes every 5 s</p>\n"),
    );
    let mut deployments = board.newest_first();
    // What needs somebody is not to be looked for below what does not.
    deployments.sort_by_key(|deployment| urgency(deployment));
    summary(&mut page, &deployments);
    if deployments.is_empty() {
        page.push_str(
            "<p>No deployment yet. Begin one with <code>sluice deploy begin</code>.</p>\n",
        );
    }
    for deployment in deployments.iter().take(DEPLOYMENTS_MAX) {
        article(&mut page, deployment);
    }
    if deployments.len() > DEPLOYMENTS_MAX {
        let more = deployments.len() - DEPLOYMENTS_MAX;
        put(
            &mut page,
            format_args!(
                "<p>and {more} others, which need nobody sooner, see \
                 <a href=\"/api/v1/deployments\">/api/v1/deployments</a></p>\n"
            ),
        );
    }
    unselected(&mut page, stats);
    page.push_str("</body></html>\n");
    page
}

/// What comes although nothing looks at it: a check that was meant to may have another name for it.
fn unselected(page: &mut String, stats: &Stats) {
    let (series, names) = (
        stats.reducer.unselected_series,
        &stats.reducer.unselected_metrics,
    );
    if series == 0 {
        return;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let some = if names.is_empty() {
        String::new()
    } else {
        format!(", for example {}", escape(&names.join(", ")))
    };
    put(
        page,
        format_args!("<p class=\"small\">no check selects {series} series{some}</p>\n"),
    );
}

/// The place on the page: open deployments that failed or lack data, then other open ones, then ended ones.
fn urgency(deployment: &Deployment) -> u8 {
    match deployment.verdict.verdict {
        _ if deployment.is_ended => 3,
        VerdictState::Fail => 0,
        VerdictState::NoData => 1,
        VerdictState::Pending | VerdictState::Pass | VerdictState::Bypassed => 2,
    }
}

/// How many open deployments have which verdict, where they are too many to be seen at once.
fn summary(page: &mut String, deployments: &[&Arc<Deployment>]) {
    const FEW: usize = 3;
    if deployments.len() <= FEW {
        return;
    }
    let open = || deployments.iter().filter(|deployment| !deployment.is_ended);
    let states = [
        VerdictState::Fail,
        VerdictState::NoData,
        VerdictState::Pending,
        VerdictState::Pass,
        VerdictState::Bypassed,
    ];
    let counts = states.iter().filter_map(|state| {
        let count = open()
            .filter(|deployment| deployment.verdict.verdict == *state)
            .count();
        (0 < count).then(|| format!("{count} {}", state.name()))
    });
    let counts = counts.collect::<Vec<_>>().join(", ");
    let ended = deployments.len() - open().count();
    let counts = if counts.is_empty() { "none" } else { &counts };
    put(
        page,
        format_args!("<p>open: {counts}; ended: {ended}</p>\n"),
    );
}

fn article(page: &mut String, deployment: &Deployment) {
    let (begin, verdict) = (&deployment.begin, &deployment.verdict);
    let state = verdict.verdict.name();
    let ended = if deployment.is_ended { " ended" } else { "" };
    let region = begin.region.as_ref();
    let region = region.map_or_else(String::new, |region| format!(" in {region}"));
    // Otherwise it is the first of the reasons.
    let progress = match verdict.verdict {
        VerdictState::Pending => format!(", progress: {}", escape(&deployment.progress())),
        VerdictState::Fail | VerdictState::NoData | VerdictState::Pass | VerdictState::Bypassed => {
            String::new()
        }
    };
    put(
        page,
        format_args!(
            "<article class=\"{state}{ended}\" id=\"{}\"><h2><span class=\"verdict\">{state}</span>\
             <span>{}</span><span>{}</span></h2>\n<p class=\"small\">{} since {}\
             {progress}; deployment <a href=\"/api/v1/deployments/{}/verdict\">{}</a>, \
             began {}{}</p>\n",
            escape(&begin.deployment),
            escape(&format!("{} {}{region}", begin.service, begin.stage)),
            escape(&begin.version),
            state,
            seconds(verdict.since),
            escape(&percent_encode(&begin.deployment).to_string()),
            escape(&begin.deployment),
            seconds(begin.at),
            if deployment.is_ended { ", ended" } else { "" },
        ),
    );
    page.push_str("<ul>\n");
    for reason in &verdict.reasons {
        put(page, format_args!("<li>{}</li>\n", escape(reason)));
    }
    page.push_str("</ul>\n");
    checks(page, &verdict.checks);
    page.push_str("</article>\n");
}

fn checks(page: &mut String, checks: &[CheckReport]) {
    if checks.is_empty() {
        return;
    }
    page.push_str(
        "<div class=\"scroll\"><table><tr><th>check</th><th>metric</th><th>state</th>\
         <th class=\"number\">observed</th><th class=\"number\">expected</th>\
         <th class=\"number\">effect</th><th>interval</th><th>hosts</th><th>since</th><th>note</th></tr>\n",
    );
    for report in checks {
        let [observed, expected] = report.numbers_shown().map(Option::unwrap_or_default);
        let state = report.state.name();
        let advisory = if report.mode == "advisory" {
            " (advisory)"
        } else {
            ""
        };
        let since = report.first_breach.map(seconds).unwrap_or_default();
        put(
            page,
            format_args!(
                "<tr class=\"{state}\"><td>{}{advisory}</td><td>{}</td><td class=\"state\">{state}</td>\
                 <td class=\"number\">{}</td><td class=\"number\">{}</td>\
                 <td class=\"number\">{}</td><td>{}</td><td>{}</td><td class=\"time\">{since}</td><td class=\"note\">{}</td></tr>\n",
                escape(&report.check),
                escape(&report.metric),
                escape(&observed),
                escape(&expected),
                number(report.effect),
                plot::effect(report),
                escape(&few_hosts(&report.hosts)),
                escape(&report.note),
            ),
        );
    }
    page.push_str("</table></div>\n");
}

/// An instant without fractions of a second: enough for a person.
fn seconds(at: Timestamp) -> String {
    at.whole_seconds().to_string()
}

fn number(value: Option<f64>) -> String {
    value.map(plain_number).unwrap_or_default()
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a string takes any text");
}
