-- From version 2 of the schema: configurations that were read anew, which earlier versions do not know.
CREATE VIEW reloads AS
  SELECT seq, strftime('%Y-%m-%dT%H:%M:%SZ', at / 1000000000, 'unixepoch') AS at,
         json_extract(body, '$.by') AS who,
         json_extract(body, '$.before') AS digest_before,
         json_extract(body, '$.after') AS digest_after, hash
  FROM records WHERE kind = 'reload';
