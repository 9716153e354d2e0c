//! The page of a report: all that a replay said, without a script and without anything from elsewhere.

use std::fmt::{Arguments, Write as _};

use super::{
    super::super::print::{mode, number},
    Account, Change, Story,
    timeline::Timeline,
};
use crate::{
    gate::{CheckReport, LineKind, Verdict, plain_number},
    serve::{
        markup::{STYLE, escape},
        plot,
    },
};

/// Hosts that a row names before the others wait for a click.
const HOSTS_MAX: usize = 5;

/// Nothing may be fetched and nothing run, whatever a name from outside tries to be.
const HEAD: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">
";

const OWN_STYLE: &str = "\
body { max-width: 84rem; }
h3 { font-size: .95rem; margin: 1rem 0 .2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .6rem 0; font-size: .9rem; }
dt { opacity: .8; } dd { margin: 0; }
svg { display: block; width: 100%; height: 1.4rem; border-radius: .2rem; }
rect { fill: var(--colour); } rect.rest { fill: #8883; }
.ends { margin: .1rem 0 .6rem; display: flex; justify-content: space-between; gap: 1rem; flex-wrap: wrap; }
.note { min-width: 18rem; } .time { white-space: nowrap; }
@media (max-width: 45rem) {
  table.list, table.list tbody, table.list tr, table.list td { display: block; }
  table.list th { display: none; } table.list tr { padding: .4rem 0; border-top: 1px solid #8886; }
}
.problem { color: var(--fail); font-weight: 600; } .warning { color: var(--no-data); }
pre { font-size: .8rem; overflow-x: auto; }
@media print { article { break-inside: avoid; } .scroll { overflow-x: visible; } }
";

/// Renders the page. `summary` is the table of a back-test, if one was asked for.
pub(super) fn render(accounts: &[Account], summary: Option<&str>) -> String {
    let names: Vec<&str> = accounts
        .iter()
        .map(|account| account.recording.as_str())
        .collect();
    let title = match names[..] {
        [name] => format!("Replay of {name}"),
        _ => format!("Replay of {} recordings", names.len()),
    };
    let mut page = HEAD.to_owned();
    let title = escape(&title);
    put(
        &mut page,
        format_args!(
            "<title>{title}</title>\n<style>{STYLE}{OWN_STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        ),
    );
    overview(&mut page, accounts);
    for (index, account) in accounts.iter().enumerate() {
        recording(&mut page, account, index, 1 < accounts.len());
    }
    if let Some(summary) = summary.map(str::trim).filter(|text| !text.is_empty()) {
        // What is summed up has lines, which are no letters that do harm.
        let lines: Vec<String> = summary.lines().map(escape).collect();
        put(
            &mut page,
            format_args!("<h3>Summed up</h3>\n<pre>{}</pre>\n", lines.join("\n")),
        );
    }
    put(
        &mut page,
        format_args!(
            "<p class=\"small\">Times are of the recording, in UTC. Only PASS means go. Made by sluice {}.</p>\n\
             </body></html>\n",
            env!("CARGO_PKG_VERSION")
        ),
    );
    page
}

/// What stands in a reader's way from one deployment to the next, where there are several.
fn overview(page: &mut String, accounts: &[Account]) {
    let stories = || {
        let of = |(index, account): (usize, &'_ Account)| (index, account.stories.len());
        accounts.iter().enumerate().map(of)
    };
    if stories().map(|(_, count)| count).sum::<usize>() < 2 {
        return;
    }
    page.push_str(
        "<div class=\"scroll\"><table class=\"list\"><tr><th>verdict</th><th>deployment</th><th>of</th><th>since</th>\
         <th>reason</th></tr>\n",
    );
    for (index, account) in accounts.iter().enumerate() {
        for (number, story) in account.stories.iter().enumerate() {
            let verdict = &story.verdict;
            put(
                page,
                format_args!(
                    "<tr class=\"{0}\"><td class=\"verdict\">{0}</td><td><a href=\"#{1}\">{2}</a></td>\
                     <td>{3}</td><td class=\"time\">{4}</td><td class=\"note\">{5}</td></tr>\n",
                    verdict.verdict,
                    anchor(index, number),
                    escape(&verdict.deployment),
                    escape(&place(verdict)),
                    verdict.since.whole_seconds(),
                    escape(verdict.reasons.first().map_or("", String::as_str)),
                ),
            );
        }
    }
    page.push_str("</table></div>\n");
}

fn recording(page: &mut String, account: &Account, index: usize, are_many: bool) {
    if are_many {
        put(
            page,
            format_args!("<h2>{}</h2>\n", escape(&account.recording)),
        );
    }
    page.push_str("<dl>\n");
    let mut told = |what: &str, text: &str| {
        put(
            page,
            format_args!("<dt>{what}</dt><dd>{}</dd>\n", escape(text)),
        );
    };
    told("recording", &account.recording);
    told(
        "configuration",
        account
            .config_digest
            .as_deref()
            .unwrap_or("none that can be used"),
    );
    page.push_str("</dl>\n");
    notices(page, "problem", "error", &account.errors);
    notices(page, "warning", "warning", &account.warnings);
    if account.stories.is_empty() {
        page.push_str("<p class=\"verdict problem\">No deployment was judged.</p>\n");
    }
    for (number, story) in account.stories.iter().enumerate() {
        deployment(page, story, &anchor(index, number));
    }
}

fn notices(page: &mut String, class: &str, word: &str, notices: &[String]) {
    if notices.is_empty() {
        return;
    }
    page.push_str("<ul>\n");
    for line in notices.iter().flat_map(|notice| notice.lines()) {
        put(
            page,
            format_args!("<li class=\"{class}\">{word}: {}</li>\n", escape(line)),
        );
    }
    page.push_str("</ul>\n");
}

fn deployment(page: &mut String, story: &Story, anchor: &str) {
    let (begin, verdict) = (&story.begin, &story.verdict);
    put(
        page,
        format_args!(
            "<article class=\"{0}\" id=\"{anchor}\"><h2><span class=\"verdict\">{0}</span>\
             <span>{1}</span><span>{2}</span></h2>\n<dl>\n",
            verdict.verdict,
            escape(&verdict.deployment),
            escape(&place(verdict)),
        ),
    );
    let mut told = |what: &str, text: &str| {
        if !text.is_empty() {
            put(
                page,
                format_args!("<dt>{what}</dt><dd>{}</dd>\n", escape(text)),
            );
        }
    };
    let stands = if verdict.is_final {
        "it is final"
    } else {
        "it is not final: the recording ends before"
    };
    told(
        "since",
        &format!("{} ({stands})", verdict.since.whole_seconds()),
    );
    told("began", &begin.at.whole_seconds().to_string());
    told(
        "bake until",
        &story.bake_until.next_whole_second().to_string(),
    );
    told("judged until", &verdict.watermark.to_string());
    told("one-box", &begin.one_box.join(", "));
    told("fleet", &begin.fleet.join(", "));
    told("configuration", &verdict.config_digest);
    page.push_str("</dl>\n");
    reasons(page, &verdict.reasons);
    if let Some(shadow) = &verdict.shadow {
        put(
            page,
            format_args!(
                "<p>Without the hotfix it would say <strong>{}</strong> since {}:</p>\n",
                shadow.verdict, shadow.since
            ),
        );
        reasons(page, &shadow.reasons);
    }
    history(page, story);
    checks(page, &verdict.checks);
    page.push_str("</article>\n");
}

fn reasons(page: &mut String, reasons: &[String]) {
    page.push_str("<ul>\n");
    for reason in reasons {
        put(page, format_args!("<li>{}</li>\n", escape(reason)));
    }
    page.push_str("</ul>\n");
}

/// How the verdict changed: as a bar, and in words.
fn history(page: &mut String, story: &Story) {
    if story.changes.is_empty() {
        return;
    }
    let timeline = Timeline::of(story);
    put(
        page,
        format_args!(
            "<h3>The verdict over time</h3>\n{}<p class=\"ends small\"><span>{}</span><span>{}</span></p>\n\
             <div class=\"scroll\"><table class=\"list\"><tr><th>at</th><th>verdict</th><th>reasons</th></tr>\n",
            timeline.svg(),
            timeline.from,
            timeline.until,
        ),
    );
    for change in &story.changes {
        put(
            page,
            format_args!(
                "<tr class=\"{}\"><td class=\"time\">{}</td><td class=\"verdict\">{}</td><td class=\"note\">{}</td></tr>\n",
                change.verdict,
                change.at.whole_seconds(),
                change.verdict,
                change_told(change),
            ),
        );
    }
    page.push_str("</table></div>\n");
}

fn change_told(change: &Change) -> String {
    let mut lines: Vec<String> = Vec::new();
    match (change.kind, change.shadow) {
        (LineKind::Shadow, Some(shadow)) => lines.push(format!(
            "without the hotfix it would say {shadow}; its verdict stays"
        )),
        (LineKind::Verdict | LineKind::Final, Some(shadow)) => {
            lines.extend(change.reasons.iter().map(|reason| escape(reason)));
            lines.push(format!("without the hotfix it would say {shadow}"));
        }
        (_, None) => lines.extend(change.reasons.iter().map(|reason| escape(reason))),
    }
    lines.join("<br>")
}

fn checks(page: &mut String, checks: &[CheckReport]) {
    if checks.is_empty() {
        return;
    }
    page.push_str(
        "<h3>The checks</h3>\n<div class=\"scroll\"><table><tr><th>check</th><th>state</th><th>note</th><th>metric</th>\
         <th class=\"number\">observed</th><th class=\"number\">expected</th>\
         <th class=\"number\">effect</th><th class=\"number\">detectable</th><th>hosts</th>\
         <th>since</th><th>basis</th></tr>\n",
    );
    for report in checks {
        let [observed, expected] = report.numbers_shown();
        let shown = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        let since = report.first_breach.map(|at| at.to_string());
        put(
            page,
            format_args!(
                "<tr class=\"{0}\"><td>{1}{2}</td><td class=\"state\">{0}</td>\
                 <td class=\"note\">{3}</td><td>{4}</td><td class=\"number\">{5}</td>\
                 <td class=\"number\">{6}</td><td class=\"number\">{7}</td>\
                 <td class=\"number\">{8}</td><td>{9}</td><td class=\"time\">{10}</td><td>{11}</td></tr>\n",
                report.state.name(),
                escape(&report.check),
                mode(report),
                escape(&report.note),
                escape(&report.metric),
                escape(&shown(observed)),
                escape(&shown(expected)),
                effect(report),
                number(report.detectable),
                hosts(&report.hosts),
                since.unwrap_or_default(),
                report.basis.map_or("", |basis| basis.name()),
            ),
        );
    }
    page.push_str("</table></div>\n");
}

fn effect(report: &CheckReport) -> String {
    let effect = number(report.effect);
    let picture = plot::effect(report);
    match report.interval {
        Some([low, high]) => {
            let (low, high) = (plain_number(low), plain_number(high));
            format!("{effect} ({low} … {high}){picture}")
        }
        None => effect + &picture,
    }
}

fn hosts(hosts: &[String]) -> String {
    if hosts.len() <= HOSTS_MAX + 1 {
        return escape(&hosts.join(", "));
    }
    format!(
        "<details><summary>{} and {} more</summary>{}</details>",
        escape(&hosts[..HOSTS_MAX].join(", ")),
        hosts.len() - HOSTS_MAX,
        escape(&hosts[HOSTS_MAX..].join(", "))
    )
}

fn place(verdict: &Verdict) -> String {
    let region = verdict.region.as_ref();
    let region = region.map_or_else(String::new, |region| format!("/{region}"));
    format!(
        "{}/{}{region} {}",
        verdict.service, verdict.stage, verdict.version
    )
}

/// No id of a deployment is an id of the page: two recordings may have the same.
fn anchor(recording: usize, deployment: usize) -> String {
    format!("r{}-d{}", recording + 1, deployment + 1)
}

fn put(page: &mut String, text: Arguments<'_>) {
    page.write_fmt(text).expect("a string takes any text");
}
