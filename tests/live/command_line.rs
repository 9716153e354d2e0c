//! The command line as a client of a running engine.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
};

use sluice::{
    journal::{Entry, Reader},
    plan::Plan,
};

use super::{
    payloads::{busy, cpu_series, write_request},
    support::{CONFIGURATION, Rig},
};

/// Runs the command against an engine; gives its exit code, stdout and stderr.
async fn sluice(server: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(arguments).env("SLUICE_SERVER", server);
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A version enters a stage.
const BEGIN: [&str; 8] = [
    "deploy",
    "begin",
    "--service",
    "checkout",
    "--stage",
    "beta",
    "--version",
    "v2",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_driven_from_the_command_line() {
    let rig = Rig::new().await;
    let server = rig.at.grpc.to_string();
    let (code, out, error) = sluice(&server, &[&BEGIN[..], &["--id", "d1"]].concat()).await;
    assert_eq!(code, 0, "{error}");
    assert!(out.starts_with("PENDING  d1 checkout/beta v2"), "{out}");
    assert!(out.contains("step smoke: not reported yet"), "{out}");

    let (code, out, _) = sluice(&server, &["verdict", "d1", "--output", "json"]).await;
    let verdict: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &verdict["verdict"]), (3, &"PENDING".into()));

    let (code, _, error) = sluice(&server, &["verdict", "d1", "--wait", "--timeout", "0s"]).await;
    assert_eq!(code, 3, "it is asked once all the same: {error}");
    let wait = ["verdict", "d1", "--wait", "--timeout", "1s"];
    let (code, _, error) = sluice(&server, &wait).await;
    assert_eq!((code, &error[..]), (3, ""), "a pipe is no terminal");
    let (code, _, error) = sluice(&server, &[&wait[..], &["--progress"]].concat()).await;
    assert_eq!(code, 3);
    let mut lines = error.lines();
    assert_eq!(
        lines.next(),
        Some("waiting for a final verdict of d1, at most 1s")
    );
    let awaited = lines.next().unwrap();
    for part in [
        "PENDING   d1 checkout/beta v2",
        "step smoke: not reported yet",
        " · bake: 0s of 1m, until 2026-03-01T10:01:00Z",
    ] {
        assert!(awaited.contains(part), "{part} is not in {error}");
    }
    assert!(
        !error.contains('\u{1b}'),
        "a pipe is no terminal: {error:?}"
    );

    let (code, _, error) = sluice(&server, &["deploy", "step", "d1", "load", "passed"]).await;
    assert_eq!(code, 2);
    assert!(error.contains("the stage has \"smoke\""), "{error}");
    let (code, _, _) = sluice(&server, &["deploy", "step", "d1", "smoke", "passed"]).await;
    assert_eq!(code, 0);

    let waiting = tokio::spawn({
        let server = server.clone();
        async move { sluice(&server, &["verdict", "d1", "--wait", "--timeout", "60s"]).await }
    });
    for _ in 0..7 {
        let body = write_request(vec![cpu_series("h1", busy(rig.now()), rig.now())]);
        assert_eq!(rig.remote_write(&[], &body).await.status, 204);
        rig.pass(10).await;
    }
    let (code, out, error) = waiting.await.unwrap();
    assert_eq!(code, 0, "{out} {error}");
    assert!(out.starts_with("PASS  d1"), "{out}");

    let (code, out, error) = sluice(&server, &["deploy", "step", "d1", "smoke", "failed"]).await;
    assert_eq!((code, out.as_str()), (2, ""), "{error}");
    assert!(error.contains("PASS"), "{error}");
    assert_eq!(sluice(&server, &["deploy", "end", "d1"]).await.0, 0);
    assert_eq!(sluice(&server, &["verdict", "d9"]).await.0, 2);
    assert_eq!(sluice(&server, &["verdict", "d9", "--wait"]).await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_step_exits_with_one() {
    let rig = Rig::new().await;
    let server = rig.at.grpc.to_string();
    assert_eq!(
        sluice(&server, &[&BEGIN[..], &["--id", "d1"]].concat())
            .await
            .0,
        0
    );
    assert_eq!(
        sluice(&server, &["deploy", "step", "d1", "smoke", "failed"])
            .await
            .0,
        0
    );
    let (code, out, _) = sluice(&server, &["verdict", "d1", "--wait"]).await;
    assert_eq!(code, 1, "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_cannot_be_reached_is_never_a_pass() {
    let rig = Rig::new().await;
    let server = rig.at.grpc.to_string();
    rig.stop().await;
    let (code, out, error) = sluice(&server, &["verdict", "d1"]).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        error.contains(&format!("no engine answers at {server}")),
        "{error}"
    );
    let (code, out, error) = sluice(&server, &["verdict", "d1", "--wait", "--timeout", "1s"]).await;
    assert_eq!((code, out.as_str()), (2, ""), "{error}");
    assert_eq!(sluice("not a server", &["verdict", "d1"]).await.0, 2);
    assert_eq!(
        sluice(&server, &["verdict", "d1", "--timeout", "soon"])
            .await
            .0,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_names_its_key() {
    let rig = Rig::new().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sluice.yaml");
    let configuration = format!(
        "listen: {{grpc: '127.0.0.1:0', http: '{}', otlp_grpc: '127.0.0.1:0', otlp_http: '127.0.0.1:0'}}\n\
         checks: {{up: {{metric: up, absent: 1m}}}}\n\
         services: {{a: {{stages: [{{name: b, checks: [up]}}]}}}}\n",
        rig.at.http
    );
    std::fs::write(&file, configuration).unwrap();
    let file = file.to_str().unwrap();
    let (code, out, error) = sluice("", &["serve", "--config", file]).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        error.contains("listen.http") && error.contains(&rig.at.http.to_string()),
        "{error}"
    );
    let (code, _, error) = sluice("", &["serve", "--config", "/nowhere/sluice.yaml"]).await;
    assert_eq!(code, 2, "{error}");
}

#[test]
fn a_terminated_engine_flushes_its_journal_and_exits_with_zero() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sluice.yaml");
    std::fs::write(&file, CONFIGURATION).unwrap();
    let mut engine = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["serve", "--config"])
        .arg(&file)
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(engine.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let names: Vec<&str> = line
        .strip_prefix("listening ")
        .unwrap()
        .split_whitespace()
        .map(|address| address.split_once("=127.0.0.1:").unwrap().0)
        .collect();
    assert_eq!(names, ["grpc", "http", "otlp_grpc", "otlp_http"]);
    let killed = Command::new("kill").arg(engine.id().to_string()).status();
    assert!(killed.unwrap().success());
    let Output { status, stderr, .. } = engine.wait_with_output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("journal read entries=0"), "{stderr}");
    let mut journal = Reader::open(&directory.path().join("data/journal")).unwrap();
    assert!(matches!(journal.next(), Some(Ok((_, Entry::Tick(_))))));
    assert!(journal.all(|entry| entry.is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_sent_from_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let deploy = file("deploy", "deploy-0123456789abcdef\n");
    let ingest = file("ingest", "ingest-0123456789abcdef\n");
    let empty = file("empty", "\n");
    let access = format!(
        "access: {{tokens: [{{role: deploy, file: '{deploy}'}}, {{role: ingest, file: '{ingest}'}}]}}"
    );
    let plan = Plan::parse(&format!("{CONFIGURATION}{access}")).unwrap();
    let rig = Rig::with(plan, None).await;
    let server = rig.at.grpc.to_string();
    let begin = [
        "deploy",
        "begin",
        "--id",
        "d1",
        "--service",
        "checkout",
        "--stage",
        "beta",
        "--version",
        "v2",
    ];
    let with = |token: &str| {
        let token = token.to_owned();
        let server = server.clone();
        async move {
            let arguments = [&begin[..], &["--token-file", &token]].concat();
            sluice(&server, &arguments).await
        }
    };
    let (code, _, error) = sluice(&server, &begin).await;
    assert_eq!(code, 2);
    assert!(error.contains("not known here: send"), "{error}");
    let (code, _, error) = with(&ingest).await;
    assert_eq!(code, 2);
    assert!(error.contains("it takes role deploy or admin"), "{error}");
    let (code, _, error) = with(&empty).await;
    assert_eq!(code, 2);
    assert!(error.contains("no token"), "{error}");
    let (code, _, error) = with("/nowhere").await;
    assert_eq!(code, 2);
    assert!(error.contains("/nowhere"), "{error}");
    let (code, _, error) = with(&deploy).await;
    assert_eq!(code, 0, "{error}");
    let arguments = [
        "verdict",
        "d1",
        "--wait",
        "--timeout",
        "60s",
        "--token-file",
        &ingest,
    ];
    let (code, _, error) = sluice(&server, &arguments).await;
    assert_eq!(code, 2, "who may not is told at once: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_serves_beyond_loopback_without_saying_who_may() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sluice.yaml");
    let everywhere = CONFIGURATION.replace("http: \"127.0.0.1:0\"", "http: \"0.0.0.0:0\"");
    std::fs::write(&file, everywhere).unwrap();
    let (code, out, error) = sluice("", &["serve", "--config", file.to_str().unwrap()]).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(error.contains("error: listen.http is 0.0.0.0:0"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_and_manuals_know_every_command() {
    for (shell, mark) in [
        ("bash", "complete"),
        ("zsh", "#compdef sluice"),
        ("fish", "complete -c sluice"),
    ] {
        let (code, script, error) = sluice("", &["completions", shell]).await;
        assert_eq!(code, 0, "{error}");
        for word in [mark, "token-file", "accept-bypass", "replay"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let (code, page, error) = sluice("", &["man"]).await;
    assert_eq!(code, 0, "{error}");
    assert!(
        page.contains(".TH sluice 1") && page.contains("verdict"),
        "{page}"
    );
    let (code, page, error) = sluice("", &["man", "deploy", "begin"]).await;
    assert_eq!(code, 0, "{error}");
    assert!(
        page.contains("one\\-box") && page.contains("sluice\\-deploy\\-begin"),
        "{page}"
    );
    let (code, _, error) = sluice("", &["man", "deplyo"]).await;
    assert_eq!(code, 2);
    assert!(error.contains("no command \"deplyo\""), "{error}");
    for (arguments, example) in [
        (vec!["--help"], "sluice verdict d1 --wait && ./promote.sh"),
        (
            vec!["verdict", "--help"],
            "sluice verdict d1 --wait --timeout 2h",
        ),
        (vec!["deploy", "--help"], "sluice deploy step d1"),
        (vec!["serve", "--help"], "sluice serve --demo"),
    ] {
        let (code, help, _) = sluice("", &arguments).await;
        assert_eq!(code, 0);
        assert!(help.contains(example), "{help}");
    }
    let (_, help, _) = sluice("", &["verdict", "--help"]).await;
    assert!(help.contains("0 PASS, 1 FAIL, 2 usage"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_go_on_is_never_zero() {
    let rig = Rig::new().await;
    let server = rig.at.grpc.to_string();
    let ask = |more: &'static [&'static str]| {
        let server = server.clone();
        async move {
            let question = [
                "deploy",
                "may-promote",
                "--service",
                "checkout",
                "--version",
                "v2",
            ];
            sluice(&server, &[&question[..], more].concat()).await
        }
    };
    let (code, out, error) = ask(&[]).await;
    assert_eq!((code, out.as_str()), (0, "GO  to beta\n"), "{error}");
    let (code, out, _) = ask(&["--stage", "beta"]).await;
    assert_eq!(code, 3, "{out}");
    assert!(out.starts_with("HOLD  to logs\n  not_passed: "), "{out}");
    let (code, out, _) = ask(&["--stage", "beta", "--output", "json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["allowed"]), (3, &false.into()));
    assert_eq!(answer["blockers"][0]["kind"], "not_passed");
    for (more, told) in [
        (&["--stage", "gamma"][..], "gamma"),
        (&["--token-file", "/nowhere"], "/nowhere"),
        (&["--frobnicate"], "--frobnicate"),
    ] {
        let (code, out, error) = ask(more).await;
        assert_eq!((code, out.as_str()), (2, ""), "{more:?}");
        assert!(error.contains(told), "{error}");
    }
    let question = [
        "deploy",
        "may-promote",
        "--service",
        "checkout",
        "--version",
        "v2",
    ];
    let (code, out, _) = sluice("127.0.0.1:1", &question).await;
    assert_eq!((code, out.as_str()), (2, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_printed() {
    let (code, out, _) = sluice("", &["schema"]).await;
    assert_eq!((code, out.as_str()), (0, Plan::SCHEMA));
}

/// Reads the log of a running engine until it says so.
fn wait_for(log: &mut impl BufRead, text: &str) {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert_ne!(
            log.read_line(&mut line).unwrap(),
            0,
            "the log ends without {text}"
        );
    }
}

#[test]
fn a_signal_reads_the_configuration_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let text = |smoke: &str| CONFIGURATION.replace("steps: [smoke]", smoke);
    std::fs::write(path("sluice.yaml"), text("steps: [\"${STEP}\"]")).unwrap();
    let mut engine = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["serve", "--config"])
        .arg(path("sluice.yaml"))
        .env("STEP", "smoke")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(engine.stderr.take().unwrap());
    let mut line = String::new();
    BufReader::new(engine.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let server = line
        .split(' ')
        .find_map(|part| part.strip_prefix("grpc="))
        .unwrap()
        .to_owned();
    let signal = |name: &str| {
        let sent = Command::new("kill")
            .args([name, &engine.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    };
    let begin = |id: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(BEGIN)
            .args(["--id", id, "--server", &server])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(begin("d1").contains("step smoke: not reported yet"));
    std::fs::write(path("sluice.yaml"), text("steps: [\"${NOWHERE}\"]")).unwrap();
    signal("-HUP");
    wait_for(
        &mut log,
        "services.checkout.stages[0].steps[0]: NOWHERE is not set",
    );
    std::fs::write(path("sluice.yaml"), text("steps: [sniff]")).unwrap();
    signal("-HUP");
    wait_for(&mut log, "the configuration was read anew");
    assert!(begin("d2").contains("step sniff: not reported yet"));
    assert!(begin("d1").contains("step smoke: not reported yet"));
    signal("-TERM");
    assert!(engine.wait().unwrap().success());
}

#[test]
fn check_refuses_what_serve_would_not_start_with() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.yaml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        let run = command.arg("check").arg(&file).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (run.status.code(), text(run.stdout), text(run.stderr))
    };
    let exposed = CONFIGURATION.replacen("127.0.0.1:0", "0.0.0.0:0", 1);
    let (code, out, error) = check(&exposed);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{error}");
    assert!(
        error.starts_with("error: listen.grpc is 0.0.0.0:0"),
        "{error}"
    );
    // What another machine may have is told, and no fault of the file.
    let token =
        format!("{CONFIGURATION}access: {{tokens: [{{role: admin, file: /nowhere/token}}]}}\n");
    let (code, out, error) = check(&token);
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains(": ok, services: 1"), "{out}");
    assert!(
        error.contains("warning: access.tokens[0].file: /nowhere/token"),
        "{error}"
    );
}
