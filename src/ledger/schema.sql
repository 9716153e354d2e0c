-- The history of deployments, as plain SQL reads it. Only the views are meant for others; `at` is
-- nanoseconds since the Unix epoch, in event time.
CREATE TABLE records (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  kind       TEXT    NOT NULL,
  at         INTEGER NOT NULL,
  deployment TEXT    NOT NULL,
  service    TEXT    NOT NULL,
  stage      TEXT    NOT NULL,
  region     TEXT    NOT NULL,
  version    TEXT    NOT NULL,
  verdict    TEXT,
  privileged INTEGER NOT NULL,
  key        TEXT    NOT NULL UNIQUE,
  body       TEXT    NOT NULL,
  hash       TEXT    NOT NULL
) STRICT;
-- Each gives its records in the order of seq, so that a page need not be sorted.
CREATE INDEX records_deployment ON records (deployment);
CREATE INDEX records_kind ON records (kind);
CREATE INDEX records_version ON records (version);
CREATE INDEX records_service ON records (service);
CREATE INDEX records_stage ON records (service, stage);
CREATE INDEX records_place ON records (service, stage, region);

-- What retention has removed: the last number and its hash, from which the chain goes on.
CREATE TABLE pruned (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  seq  INTEGER NOT NULL,
  hash TEXT    NOT NULL
) STRICT;
INSERT INTO pruned VALUES (1, 0, '');

-- What is written to prove that the database can be.
CREATE TABLE proofs (
  only  INTEGER PRIMARY KEY CHECK (only = 1),
  count INTEGER NOT NULL
) STRICT;
INSERT INTO proofs VALUES (1, 0);

CREATE TRIGGER records_are_not_changed BEFORE UPDATE ON records
BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER records_are_removed_by_retention_only BEFORE DELETE ON records
WHEN OLD.seq > (SELECT seq FROM pruned)
BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;

CREATE VIEW deployments AS
  SELECT deployment, service, stage, region, version,
         strftime('%Y-%m-%dT%H:%M:%SZ', at / 1000000000, 'unixepoch') AS began_at,
         json_extract(body, '$.hotfix.by') AS hotfix_by,
         json_extract(body, '$.hotfix.reason') AS hotfix_reason,
         json_extract(body, '$.hotfix.ticket') AS hotfix_ticket,
         body
  FROM records WHERE kind = 'begin';
CREATE VIEW verdicts AS
  SELECT seq, strftime('%Y-%m-%dT%H:%M:%SZ', at / 1000000000, 'unixepoch') AS at,
         deployment, service, stage, region, version, verdict,
         json_extract(body, '$.reasons[0]') AS reason,
         json_extract(body, '$.config_digest') AS config_digest, body
  FROM records WHERE kind = 'verdict';
CREATE VIEW shadows AS
  SELECT seq, strftime('%Y-%m-%dT%H:%M:%SZ', at / 1000000000, 'unixepoch') AS at,
         deployment, service, stage, region, version,
         json_extract(body, '$.shadow.verdict') AS verdict,
         json_extract(body, '$.shadow.reasons[0]') AS reason, body
  FROM records WHERE kind = 'shadow';
CREATE VIEW steps AS
  SELECT seq, strftime('%Y-%m-%dT%H:%M:%SZ', at / 1000000000, 'unixepoch') AS at,
         deployment, service, stage, region, version,
         json_extract(body, '$.step') AS step, json_extract(body, '$.outcome') AS outcome
  FROM records WHERE kind = 'step';
CREATE VIEW reloads AS
  SELECT seq, strftime('%Y-%m-%dT%H:%M:%SZ', at / 1000000000, 'unixepoch') AS at,
         json_extract(body, '$.by') AS who,
         json_extract(body, '$.before') AS digest_before,
         json_extract(body, '$.after') AS digest_after, hash
  FROM records WHERE kind = 'reload';
CREATE VIEW acts AS
  SELECT seq, strftime('%Y-%m-%dT%H:%M:%SZ', at / 1000000000, 'unixepoch') AS at, kind,
         deployment, service, stage, region, version,
         coalesce(json_extract(body, '$.by'), json_extract(body, '$.hotfix.by')) AS who,
         coalesce(json_extract(body, '$.reason'), json_extract(body, '$.hotfix.reason')) AS why,
         coalesce(json_extract(body, '$.ticket'), json_extract(body, '$.hotfix.ticket')) AS ticket,
         hash
  FROM records WHERE privileged = 1;
