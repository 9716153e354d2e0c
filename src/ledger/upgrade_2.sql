-- From version 1 of the schema: pages in the order of seq, what checks said that were not waited for, and
-- a place to write a proof to.
CREATE INDEX records_kind ON records (kind);
CREATE INDEX records_version ON records (version);
CREATE INDEX records_service ON records (service);
CREATE INDEX records_stage ON records (service, stage);
DROP INDEX records_place;
CREATE INDEX records_place ON records (service, stage, region);
CREATE VIEW shadows AS
  SELECT seq, strftime('%Y-%m-%dT%H:%M:%SZ', at / 1000000000, 'unixepoch') AS at,
         deployment, service, stage, region, version,
         json_extract(body, '$.shadow.verdict') AS verdict,
         json_extract(body, '$.shadow.reasons[0]') AS reason, body
  FROM records WHERE kind = 'shadow';
-- What is written to prove that the database can be.
CREATE TABLE proofs (
  only  INTEGER PRIMARY KEY CHECK (only = 1),
  count INTEGER NOT NULL
) STRICT;
INSERT INTO proofs VALUES (1, 0);
