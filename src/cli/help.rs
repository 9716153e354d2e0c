//! What stands under the arguments in `--help`: exit codes, and examples to copy.

/// Exit codes of `replay` and `verdict`.
macro_rules! exit_codes {
    () => {
        "Exit codes of replay and verdict: 0 PASS, 1 FAIL, 2 usage, configuration or connection error, \
         3 PENDING, 4 NO_DATA, 5 BYPASSED (0 with --accept-bypass)."
    };
}

pub(super) const ALL: &str = concat!(
    exit_codes!(),
    "

Examples:
  sluice serve --demo                          see a bad deployment being failed, a good one passed
  sluice check sluice.yaml                     every fault of a configuration at once
  sluice serve --config sluice.yaml --data-dir /var/lib/sluice
  sluice verdict d1 --wait && ./promote.sh"
);

pub(super) const SERVE: &str = "\
Examples:
  sluice serve --demo
  sluice serve --config sluice.yaml --data-dir /var/lib/sluice

SIGHUP, and POST /-/reload, read the file of --config anew: a bad one keeps the old, and the log says every \
fault. SIGTERM and Ctrl-C stop in order.

Where others reach it, the configuration says who may do what:
  access: {tokens: [{role: ingest, file: …}, {role: deploy, file: …}, {role: admin, file: …}]}
  tls: {cert_file: …, key_file: …}";

pub(super) const REPLAY: &str = concat!(
    exit_codes!(),
    "

Examples:
  sluice replay recording/
  sluice replay recording/ --report report.html
  sluice replay metrics.csv --config sluice.yaml --deployments deployments.jsonl --output json"
);

pub(super) const DEPLOY: &str = "\
Examples:
  sluice deploy begin --id d1 --service checkout --stage onebox --version v42 --one-box h3,h7
  sluice deploy step d1 integration-tests passed
  sluice deploy end d1
  sluice deploy may-promote --service checkout --version v42 --stage beta && ./next-stage.sh

Exit codes: 0 told (may-promote: nothing is in the way), 2 usage or connection error, refused, or the \
engine cannot tell now, 3 may-promote: something is in the way.";

pub(super) const BEGIN: &str = "\
Examples:
  sluice deploy begin --id d1 --service checkout --stage onebox --region eu-west-1 --version v42 --one-box h3,h7
  sluice deploy begin --id d2 --service checkout --stage onebox --region eu-west-1 --version v43 --one-box h3,h7 \
--hotfix-by ana --hotfix-reason 'checkout is down' --hotfix-ticket OPS-2 --hotfix-expires 2026-03-03T14:00:00Z";

pub(super) const STEP: &str = "\
Example:
  ./integration-tests.sh && sluice deploy step d1 integration-tests passed \
|| sluice deploy step d1 integration-tests failed";

pub(super) const BYPASS: &str = "\
Example:
  sluice deploy bypass d1 --by ana --reason 'the load generator is down' --ticket OPS-1 --token-file admin-token

It takes a token of role admin, where anybody has to say who they are. It is refused where it cannot be recorded.";

pub(super) const END: &str = "\
Example:
  sluice deploy end d1";

pub(super) const MAY_PROMOTE: &str = "\
Examples:
  sluice deploy may-promote --service checkout --version v42 --stage beta && ./next-stage.sh
  sluice deploy may-promote --service checkout --version v42 --to-stage onebox --to-region us-east-1 --output json";

pub(super) const CHECK: &str = "\
Examples:
  sluice check sluice.yaml
  sluice check sluice.yaml --against last-month/2026-02-03";

pub(super) const JOURNAL: &str = "\
Examples:
  sluice journal verify /var/lib/sluice
  sluice journal truncate --help";

pub(super) const SCHEMA: &str = "\
Example:
  sluice schema > sluice.schema.json

The first line of sluice.yaml, for editors with the YAML language server:
  # yaml-language-server: $schema=./sluice.schema.json";

pub(super) const VERDICT: &str = concat!(
    exit_codes!(),
    "

Examples:
  sluice verdict d1                            as it stands
  sluice verdict d1 --wait --timeout 2h && ./promote.sh
  sluice verdict d1 --output json | jq -r .verdict
  sluice verdict d1 --server https://sluice.example:7070 --token-file /run/secrets/sluice"
);

pub(super) const COMPLETIONS: &str = "\
Examples:
  sluice completions bash > /etc/bash_completion.d/sluice
  sluice completions zsh > \"${fpath[1]}/_sluice\"
  sluice completions fish > ~/.config/fish/completions/sluice.fish";

pub(super) const MAN: &str = "\
Examples:
  sluice man > sluice.1
  sluice man deploy begin > sluice-deploy-begin.1";
