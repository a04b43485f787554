"""The stored functions of the ledger on PostgreSQL; `ledger_apply` does all of a group or nothing.

The guard reads limits from `ledger_budget` as of its own statement, which starts after the buckets
are locked: a committed change of a limit binds the next admission of every process, and neither
side waits for the other. Copies of the limit on open buckets would have to be locked with them,
for as long as a configuration file is being applied.
"""

LEDGER_NOW = """
CREATE OR REPLACE FUNCTION ledger_now() RETURNS timestamptz LANGUAGE sql VOLATILE
AS 'SELECT clock_timestamp()'
"""

# States come back as [[id, used, held, limit or null], ...] in JSON.
LEDGER_APPLY = """
CREATE OR REPLACE FUNCTION ledger_apply(
  _ids bigint[], _used bigint[], _held bigint[], _admits int[], _settled uuid[],
  _holds jsonb, _entries jsonb, _writer bigint, _seq bigint, _head text,
  OUT _now timestamptz, OUT _states json) LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
  PERFORM 1 FROM ledger_bucket WHERE id = ANY(_ids) ORDER BY id FOR UPDATE;
  _now := ledger_now();
  WITH moved AS (
    UPDATE ledger_bucket b SET used_nano = b.used_nano + d.u, held_nano = b.held_nano + d.h
      FROM unnest(_ids, _used, _held, _admits) AS d(id, u, h, a)
      JOIN ledger_bucket k ON k.id = d.id
      LEFT JOIN ledger_budget g ON g.id = k.budget_id
     WHERE b.id = d.id
       AND (d.a = 0 OR (
         _now >= b.starts_at AND _now < coalesce(b.ends_at, 'infinity')
         AND (g.limit_nano IS NULL OR NOT g.hard
              OR b.used_nano + d.u + b.held_nano + d.h <= g.limit_nano
                 + CASE WHEN g.raise_until > _now THEN g.raise_nano ELSE 0 END)))
       AND (d.u = 0 OR g.limit_nano IS NULL OR g.thresholds = '[]' OR NOT EXISTS (
         SELECT 1 FROM jsonb_array_elements_text(g.thresholds) AS s(fraction)
          WHERE round(s.fraction::numeric * 1000000) > b.alerted_ppm
            AND b.used_nano + d.u >= s.fraction::numeric * g.limit_nano))
    RETURNING b.id, b.used_nano, b.held_nano, g.limit_nano
      + CASE WHEN g.raise_until > _now THEN g.raise_nano ELSE 0 END AS room)
  SELECT count(*), coalesce(json_agg(json_build_array(id, used_nano, held_nano, room)), '[]')
    INTO n, _states FROM moved;
  IF n <> cardinality(_ids) THEN
    RAISE EXCEPTION 'ledger: % of % buckets', n, cardinality(_ids) USING ERRCODE = 'LG001';
  END IF;
  DELETE FROM ledger_hold WHERE id = ANY(_settled);
  GET DIAGNOSTICS n = ROW_COUNT;
  IF n <> cardinality(_settled) THEN
    RAISE EXCEPTION 'ledger: % of % holds', n, cardinality(_settled) USING ERRCODE = 'LG001';
  END IF;
  INSERT INTO ledger_hold (id, request_id, attempt_no, writer_id, state, tenant_id, project_id,
    api_key_id, deployment_id, model, price_version_id, amount_nano, bucket_ids, input_estimate,
    input_nano, output_nano_per_million, seen_output, end_user, tags, unpriced, created_at,
    deadline_at)
  SELECT id, request_id, attempt_no, _writer, 'open', tenant_id, project_id, api_key_id,
    deployment_id, model, price_version_id, amount_nano, bucket_ids, input_estimate, input_nano,
    output_nano_per_million, 0, end_user, tags, unpriced, _now,
    _now + make_interval(secs => deadline_s)
  FROM jsonb_to_recordset(_holds) AS r(id uuid, request_id uuid, attempt_no smallint,
    tenant_id bigint, project_id bigint, api_key_id bigint, deployment_id bigint, model text,
    price_version_id bigint, amount_nano bigint, bucket_ids jsonb, input_estimate bigint,
    input_nano bigint, output_nano_per_million bigint, end_user text, tags jsonb,
    unpriced boolean, deadline_s double precision);
  INSERT INTO ledger_entry (request_id, attempt_no, kind, seq, outcome, estimated, unpriced,
    tenant_id, project_id, api_key_id, user_id, end_user, tags, deployment_id, model,
    price_version_id, amount_nano, hold_nano, provider_cost_nano, bucket_ids, usage, lines,
    body_ref, created_at, writer_id, writer_seq, prev_hash, hash)
  SELECT request_id, attempt_no, kind, seq, outcome, estimated, unpriced, tenant_id, project_id,
    api_key_id, user_id, end_user, tags, deployment_id, model, price_version_id, amount_nano,
    hold_nano, provider_cost_nano, bucket_ids, usage, lines, body_ref, created_at, writer_id,
    writer_seq, prev_hash, hash
  FROM jsonb_to_recordset(_entries) AS r(request_id uuid, attempt_no smallint, kind text,
    seq smallint, outcome text, estimated boolean, unpriced boolean, tenant_id bigint,
    project_id bigint, api_key_id bigint, user_id bigint, end_user text, tags jsonb,
    deployment_id bigint, model text, price_version_id bigint, amount_nano bigint,
    hold_nano bigint, provider_cost_nano bigint, bucket_ids jsonb, usage jsonb, lines jsonb,
    body_ref text, created_at timestamptz, writer_id bigint, writer_seq bigint,
    prev_hash text, hash text);
  UPDATE ledger_writer SET last_seq = _seq, last_hash = _head, heartbeat_at = _now
   WHERE id = _writer;
END $$
"""

# Half-full pages keep the updates of counters on their page (HOT); holds come and go quickly.
STORAGE = """
ALTER TABLE ledger_bucket SET (fillfactor = 50);
ALTER TABLE ledger_hold SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01)
"""
