//! `sluice history`: looks through the history of deployments, and verifies it.

use std::{
    env,
    fmt::Write as _,
    io::{self, Write, stdout},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde::Deserialize;

use super::{
    exit, print,
    reach::{Credentials, OutputFormat},
    verdict::{AskError, on_runtime},
};
use crate::{
    event::Timestamp,
    gate::Verdict,
    ledger::{Broken, Entry, FILE, Filter, History, Kind, Verified},
    serve::url::percent_encode,
    sink,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  sluice history --service checkout --from 2026-03-01T00:00:00Z
  sluice history --data-dir /var/lib/sluice --kind bypass --output json
  sluice history verify --data-dir /var/lib/sluice --head 3f8a…
  sqlite3 /var/lib/sluice/ledger.sqlite \"SELECT * FROM verdicts WHERE verdict = 'FAIL'\"";

const VERIFY_EXAMPLE: &str = "\
Example:
  sluice history verify --data-dir /var/lib/sluice --head 3f8a…";

/// Why writing to a text cannot fail.
const IN_MEMORY: &str = "a text in memory takes what is written";
/// Records that are asked for at a time.
const PAGE: usize = 1_000;

/// Arguments of `sluice history`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Computes the chain of hashes again: exits with 1 if a record was changed, removed or put in
    #[command(after_help = VERIFY_EXAMPLE)]
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
struct ListArguments {
    /// Data directory of an engine that runs or does not; without it a running engine is asked
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data_dir: Option<PathBuf>,
    // A variable that is set for other commands is no contradiction to --data-dir, but a flag is.
    #[arg(
        long,
        value_name = "URL",
        help = "Where a running engine serves HTTP [env: SLUICE_URL] [default: http://127.0.0.1:7071]"
    )]
    url: Option<String>,
    #[command(flatten)]
    credentials: Credentials,
    /// Only records about this: begin, verdict, shadow, step, bypass, end or reload
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Only this service
    #[arg(long, default_value = "", hide_default_value = true)]
    service: String,
    /// Only this stage
    #[arg(long, default_value = "", hide_default_value = true)]
    stage: String,
    /// Only this region
    #[arg(long, default_value = "", hide_default_value = true)]
    region: String,
    /// Only this version
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
    /// Only this deployment
    #[arg(long, default_value = "", hide_default_value = true)]
    deployment: String,
    /// Only from this time on
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// How records are printed: a line for a person, or one JSON object a line
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

#[derive(Debug, Args)]
struct VerifyArguments {
    /// Data directory
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// A hash that was told before, by the log or by a record: it must stand in the chain, or the end was
    /// cut off
    #[arg(long, value_name = "HASH", value_parser = NonEmptyStringValueParser::new())]
    head: Option<String>,
}

/// A page as a running engine gives it.
#[derive(Deserialize)]
struct Answer {
    records: Vec<Entry>,
    next_page_token: String,
}

fn kind(text: &str) -> Result<Kind, String> {
    let known = || Kind::ALL.map(Kind::name).join(", ");
    Kind::of(text).ok_or_else(|| format!("known kinds: {}", known()))
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    match &arguments.command {
        Some(Command::Verify(arguments)) => verify(arguments),
        None => match list(&arguments.list) {
            Ok(()) => exit::PASS,
            Err(problem) => {
                print::error(&problem);
                exit::ERROR
            }
        },
    }
}

/// That there is a history at all, told before it is taken for a damaged one.
fn is_there(directory: &Path) -> Result<(), String> {
    let told = |problem: &str| Err(format!("{}: {problem}", directory.display()));
    if !directory.is_dir() {
        return told("there is no such directory");
    }
    if !directory.join(FILE).is_file() {
        return told(&format!("no data directory of an engine: it has no {FILE}"));
    }
    Ok(())
}

fn list(arguments: &ListArguments) -> Result<(), String> {
    if let Some(directory) = &arguments.data_dir {
        is_there(directory)?;
    }
    let mut next = Some(0);
    while let Some(from) = next {
        let (records, after) = match &arguments.data_dir {
            Some(directory) => {
                let page =
                    History::at(directory.join(FILE)).records(&arguments.filter(), from, PAGE);
                let page = page.map_err(|error| print::with_cause(&error))?;
                (page.records, page.next)
            }
            None => ask(arguments, from)?,
        };
        next = after;
        for record in &records {
            let line = match arguments.output {
                OutputFormat::Text => in_words(record),
                OutputFormat::Json => print::json(record),
            };
            match writeln!(stdout(), "{line}") {
                Ok(()) => {}
                // Whoever reads has seen enough: there may be years to come.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(format!("stdout cannot be written: {error}")),
            }
        }
    }
    Ok(())
}

impl ListArguments {
    fn filter(&self) -> Filter {
        let all = Filter::all();
        Filter {
            kind: self.kind,
            service: self.service.clone(),
            stage: self.stage.clone(),
            region: self.region.clone(),
            version: self.version.clone(),
            deployment: self.deployment.clone(),
            from: self.from.unwrap_or(all.from),
            to: self.to.unwrap_or(all.to),
        }
    }
}

/// Asks a running engine for a page.
fn ask(arguments: &ListArguments, from: u64) -> Result<(Vec<Entry>, Option<u64>), String> {
    let url = arguments
        .url
        .clone()
        .or_else(|| env::var("SLUICE_URL").ok());
    let url = url.as_deref().unwrap_or("http://127.0.0.1:7071");
    let url = url.trim_end_matches('/');
    let mut address = format!("{url}/api/v1/history?page_size={PAGE}&page_token={from}");
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    for (key, value) in [
        ("kind", arguments.kind.map_or("", Kind::name)),
        ("service", &arguments.service),
        ("stage", &arguments.stage),
        ("region", &arguments.region),
        ("version", &arguments.version),
        ("deployment", &arguments.deployment),
        ("from", &time(arguments.from)),
        ("to", &time(arguments.to)),
    ] {
        if !value.is_empty() {
            write!(address, "&{key}={}", percent_encode(value)).expect(IN_MEMORY);
        }
    }
    let credentials = arguments.credentials.clone();
    let files = sink::Files {
        token: credentials.token,
        roots: credentials.roots,
        identity: credentials.certificate.zip(credentials.key),
    };
    let fetch = async { sink::fetch(&address, files).await.map_err(AskError::Away) };
    let fetched = on_runtime(fetch);
    let body = fetched.map_err(|problem| format!("no history from {url}: {problem}"))?;
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|error| format!("{url} answers something else: {error}"))?;
    let next = match answer.next_page_token.as_str() {
        "" => None,
        token => Some(token.parse().map_err(|_| {
            format!("{url} gives {token:?} for the next page, which this program does not know")
        })?),
    };
    Ok((answer.records, next))
}

fn verify(arguments: &VerifyArguments) -> u8 {
    if let Err(problem) = is_there(&arguments.data_dir) {
        print::error(&problem);
        return exit::ERROR;
    }
    let path = arguments.data_dir.join(FILE);
    match History::at(path.clone()).verify(arguments.head.as_deref()) {
        Ok(verified) if verified.holds == Some(false) => {
            print::error(&format!(
                "the chain of {} records is whole, but the hash that was told before is not in it: its end \
                 was cut off, or it was written anew",
                verified.records
            ));
            exit::FAIL
        }
        Ok(Verified { head, .. }) if head.hash.is_empty() => say("nothing is recorded yet"),
        Ok(Verified {
            records,
            pruned,
            head,
            holds: _,
        }) => say(&format!(
            "{records} records are whole, from {} to {}; head {}",
            pruned + 1,
            head.seq,
            head.hash
        )),
        Err(broken @ (Broken::At { .. } | Broken::CutOff { .. })) => {
            print::error(&format!("{}: {broken}", path.display()));
            exit::FAIL
        }
        Err(Broken::Ledger(error)) => {
            print::error(&format!(
                "{}: {}",
                path.display(),
                print::with_cause(&error)
            ));
            exit::ERROR
        }
    }
}

fn say(line: &str) -> u8 {
    print::answered(print::answer(&format!("{line}\n")), exit::PASS)
}

/// One line for a person.
fn in_words(entry: &Entry) -> String {
    let body = entry.body.get();
    let in_words = match entry.kind {
        Kind::Verdict => Some(print::verdict_line as fn(&Verdict) -> String),
        Kind::Shadow => Some(print::shadow_line as fn(&Verdict) -> String),
        Kind::Begin | Kind::Step | Kind::Bypass | Kind::End | Kind::Reload => None,
    };
    if let Some(in_words) = in_words
        && let Ok(verdict) = serde_json::from_str::<Verdict>(body)
    {
        return in_words(&verdict);
    }
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let text = |pointer: &str| body.pointer(pointer).and_then(|value| value.as_str());
    let region = Some(&entry.region).filter(|region| !region.is_empty());
    let region = region.map_or_else(String::new, |region| format!(" {region}"));
    let mut line = format!("{}  {:<8}", entry.at.whole_seconds(), entry.kind.name());
    if entry.kind != Kind::Reload {
        write!(
            line,
            "  {} {} {}{region} {}",
            entry.deployment, entry.service, entry.stage, entry.version
        )
        .expect(IN_MEMORY);
    }
    for (pointer, name) in [
        ("/step", "step"),
        ("/outcome", "outcome"),
        ("/refused", "refused"),
        ("/before", "configuration"),
        ("/after", "then"),
        ("/by", "by"),
        ("/reason", "reason"),
        ("/ticket", "ticket"),
        ("/hotfix/by", "hotfix by"),
        ("/hotfix/reason", "reason"),
        ("/hotfix/ticket", "ticket"),
    ] {
        if let Some(value) = text(pointer) {
            write!(line, "  {name}: {value}").expect(IN_MEMORY);
        }
    }
    print::clean(&line)
}
