//! The workflow for GitHub Actions, step by step as it stands in the file, against a running engine.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;
use sluice::{plan::Plan, source::files};

use super::support::Rig;

const WORKFLOW: &str = include_str!("../../fixtures/doors/github-actions.yaml");

const CONFIGURATION: &str = r#"
listen: {grpc: "127.0.0.1:0", http: "127.0.0.1:0", otlp_grpc: "127.0.0.1:0", otlp_http: "127.0.0.1:0"}
checks: {up: {metric: up, absent: 1m}}
services: {web: {stages: [{name: onebox, steps: [tests]}, {name: all, steps: [tests]}]}}
"#;
const TOKEN: &str = "deploy-0123456789abcdef";
const DEPLOYMENT: &str = "5f3c-17-1";

/// What somebody else does while the workflow waits for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Passes,
    Fails,
    Bypasses,
    Nothing,
    /// A deployment of the version has failed before.
    FailedBefore,
    /// Nobody is at the address.
    Away,
}

struct Runner<'a> {
    directory: &'a Path,
    server: String,
    /// What steps have added to the environment of those behind.
    added: Vec<(String, String)>,
    /// Commands that were run, with their exit codes.
    ran: Vec<(String, i32)>,
}

impl Runner<'_> {
    /// Runs a step as a runner does.
    async fn step(&mut self, step: &Value, meanwhile: Meanwhile) -> i32 {
        let script = step["run"].as_str().expect("every step runs something");
        // Nobody waits for hours in a test.
        let script = match meanwhile {
            Meanwhile::Nothing => script.replace("--timeout 3h", "--timeout 1s"),
            _ => script.to_owned(),
        };
        let added_file = self.directory.join("github-env");
        fs::write(&added_file, "").unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
        let path = format!(
            "{}:{}",
            binary.parent().unwrap().display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut command = Command::new("bash");
        command
            .args(["-e", "-c", &script])
            .current_dir(self.directory)
            .env("PATH", path)
            .env("RUNNER_TEMP", self.directory)
            .env("GITHUB_ENV", &added_file)
            .env("GITHUB_REF_NAME", "v42")
            .env("DEPLOYMENT", DEPLOYMENT)
            .env("SLUICE_SERVER", &self.server)
            .envs(self.added.iter().cloned());
        for (name, value) in step["env"].as_object().into_iter().flatten() {
            assert_eq!(value, "${{ secrets.SLUICE_TOKEN }}", "{name}");
            command.env(name, TOKEN);
        }
        let Output { status, stderr, .. } = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        for line in files::text(&added_file).unwrap().lines() {
            let (name, value) = line.split_once('=').unwrap();
            self.added.push((name.to_owned(), value.to_owned()));
        }
        let code = status.code().unwrap_or(-1);
        assert_ne!(code, 127, "{script}: {}", String::from_utf8_lossy(&stderr));
        self.ran.push((script, code));
        code
    }

    /// Runs the steps as a runner does: after one that failed only those that run always.
    async fn job(&mut self, job: &Value, meanwhile: Meanwhile) -> bool {
        let mut is_good = true;
        for step in job["steps"].as_array().unwrap() {
            let always = step["if"] == "always()";
            if is_good || always {
                is_good &= self.step(step, meanwhile).await == 0;
            }
        }
        is_good
    }
}

/// Does its part once the deployment is known.
async fn act(server: String, token: String, meanwhile: Meanwhile) {
    let act: &[&str] = match meanwhile {
        Meanwhile::Passes => &["step", DEPLOYMENT, "tests", "passed"],
        Meanwhile::Fails => &["step", DEPLOYMENT, "tests", "failed"],
        Meanwhile::Bypasses => &[
            "bypass", DEPLOYMENT, "--by", "ana", "--reason", "known", "--ticket", "OPS-1",
        ],
        Meanwhile::Nothing | Meanwhile::FailedBefore | Meanwhile::Away => return,
    };
    loop {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.arg("deploy").args(act);
        command.args(["--server", &server, "--token-file", &token]);
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.unwrap().unwrap();
        // Until it has begun nobody knows the deployment.
        if output.status.success() {
            return;
        }
    }
}

/// Lets the version fail before the workflow begins.
async fn fail_before(server: &str, token: &str) {
    for act in [
        &[
            "begin",
            "--id",
            DEPLOYMENT,
            "--service",
            "web",
            "--stage",
            "onebox",
            "--version",
            "v42",
        ][..],
        &["step", DEPLOYMENT, "tests", "failed"],
        &["end", DEPLOYMENT],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.arg("deploy").args(act);
        command.args(["--server", server, "--token-file", token]);
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        assert!(output.unwrap().unwrap().status.success());
    }
}

/// The workflow against an engine; whether the job is good, whether all hosts were deployed to, and the exit
/// codes of the commands of the gate.
async fn run(meanwhile: Meanwhile) -> (bool, bool, Vec<(String, i32)>) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let (deploy, admin) = (
        file("deploy", TOKEN),
        file("admin", "admin-0123456789abcdef"),
    );
    for script in ["deploy-to-one-box", "deploy-to-all"] {
        file(
            &format!("{script}.sh"),
            &format!("#!/bin/sh\ntouch {script}.done\n"),
        );
    }
    let access = format!(
        "access: {{tokens: [{{role: deploy, file: '{deploy}'}}, {{role: admin, file: '{admin}'}}]}}"
    );
    let rig = Rig::with(
        Plan::parse(&format!("{CONFIGURATION}{access}")).unwrap(),
        None,
    )
    .await;
    let server = match meanwhile {
        Meanwhile::Away => "127.0.0.1:1".to_owned(),
        _ => rig.at.grpc.to_string(),
    };
    if meanwhile == Meanwhile::FailedBefore {
        fail_before(&server, &deploy).await;
    }
    let workflow: Value = serde_saphyr::from_str(WORKFLOW).unwrap();
    let jobs = workflow["jobs"].as_object().unwrap();
    let (_, job) = jobs.iter().next().expect("the workflow has a job");
    let mut runner = Runner {
        directory: directory.path(),
        server: server.clone(),
        added: Vec::new(),
        ran: Vec::new(),
    };
    let acting = tokio::spawn(act(server, admin, meanwhile));
    let job = tokio::time::timeout(Duration::from_mins(2), runner.job(job, meanwhile));
    let is_good = job.await.expect("the job ends");
    let acted = tokio::time::timeout(Duration::from_mins(1), acting).await;
    acted.expect("the deployment has begun").unwrap();
    let ran = runner.ran;
    let went_on = directory.path().join("deploy-to-all.done").exists();
    (is_good, went_on, ran)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workflow_goes_on_only_on_a_pass() {
    for (meanwhile, verdict) in [
        (Meanwhile::Passes, Some(0)),
        (Meanwhile::Fails, Some(1)),
        (Meanwhile::Bypasses, Some(5)),
        (Meanwhile::Nothing, Some(3)),
        // The id is taken by a deployment that has ended.
        (Meanwhile::FailedBefore, None),
        (Meanwhile::Away, None),
    ] {
        let (is_good, went_on, ran) = run(meanwhile).await;
        let is_pass = meanwhile == Meanwhile::Passes;
        assert_eq!(
            (is_good, went_on),
            (is_pass, is_pass),
            "{meanwhile:?}: {ran:?}"
        );
        let waited = ran
            .iter()
            .find(|(script, _)| script.contains("sluice verdict"));
        assert_eq!(
            waited.map(|(_, code)| *code),
            verdict,
            "{meanwhile:?}: {ran:?}"
        );
        // What is over is told, whatever came of it.
        let (last, code) = ran.last().unwrap();
        assert!(last.contains("sluice deploy end"), "{ran:?}");
        assert_eq!(
            *code == 0,
            meanwhile != Meanwhile::Away,
            "{meanwhile:?}: {ran:?}"
        );
    }
}
