-- The catalogue, revision 2: promotion of models, re-embedding beside the active model, audit.
-- Runs in schema facecore (search_path: facecore, public).

-- Which faces and assignments hold -----------------------------------------------------------

-- An embedder's vectors are of the faces that one detector version found.
ALTER TABLE model_version
    ADD COLUMN detector_version_id bigint REFERENCES model_version,
    ADD CONSTRAINT model_version_detector CHECK (task = 'embed' OR detector_version_id IS NULL);
UPDATE model_version SET detector_version_id =
    (SELECT id FROM model_version WHERE task = 'detect' AND state = 'active')
WHERE task = 'embed' AND state = 'active';

CREATE OR REPLACE FUNCTION guard_model_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.task, NEW.name, NEW.version, NEW.contract, NEW.weights_sha256, NEW.dimension)
       IS DISTINCT FROM
       (OLD.task, OLD.name, OLD.version, OLD.contract, OLD.weights_sha256, OLD.dimension)
       OR (OLD.detector_version_id IS NOT NULL
           AND NEW.detector_version_id IS DISTINCT FROM OLD.detector_version_id) THEN
        RAISE EXCEPTION 'model version % is what it is; register a new version', OLD.id
            USING ERRCODE = 'FC001';
    END IF;
    RETURN NEW;
END $$;

-- Faces of other detector versions stay, for rollback; they are neither counted nor listed.
CREATE VIEW active_face AS
SELECT face.* FROM face
WHERE detector_version_id =
    (SELECT id FROM model_version WHERE task = 'detect' AND state = 'active');

-- What each embedder version says of a face is kept side by side, so that a switch of the
-- active version changes everything at once without touching a row.
ALTER TABLE assignment DROP CONSTRAINT assignment_face_id_source_key;
CREATE UNIQUE INDEX assignment_one_human ON assignment (face_id) WHERE source = 'human';
CREATE UNIQUE INDEX assignment_one_per_model ON assignment (face_id, source, model_version_id)
    WHERE source <> 'human';

DROP VIEW current_assignment;
CREATE VIEW active_assignment AS
SELECT a.* FROM assignment AS a JOIN active_face ON active_face.id = a.face_id
WHERE a.source = 'human' OR a.model_version_id =
    (SELECT id FROM model_version WHERE task = 'embed' AND state = 'active');

-- What is true of a face now; see revision 1 for the order of sources.
CREATE VIEW current_assignment AS
SELECT a.* FROM active_assignment AS a
WHERE NOT EXISTS (
    SELECT FROM assignment AS b
    WHERE b.face_id = a.face_id
      AND (b.source = 'human' OR b.model_version_id =
           (SELECT id FROM model_version WHERE task = 'embed' AND state = 'active'))
      AND assignment_rank(b.source, b.outcome) < assignment_rank(a.source, a.outcome)
);

-- Filling a version beside the active one -----------------------------------------------------

-- The image is done for this version: all faces a detector finds are catalogued, all faces of
-- an embedder's detector have vectors.
CREATE TABLE coverage (
    model_version_id bigint NOT NULL REFERENCES model_version,
    image_id         bigint NOT NULL REFERENCES image,
    PRIMARY KEY (model_version_id, image_id)
);
INSERT INTO coverage (model_version_id, image_id)
SELECT m.id, image.id FROM image CROSS JOIN model_version AS m
WHERE image.status = 'extracted' AND m.state = 'active';

-- Two detector versions found the same face; both directions are stored.
CREATE TABLE face_counterpart (
    face_id        bigint NOT NULL REFERENCES face ON DELETE CASCADE,
    counterpart_id bigint NOT NULL REFERENCES face ON DELETE CASCADE,
    iou            real NOT NULL CHECK (iou BETWEEN 0 AND 1),
    PRIMARY KEY (face_id, counterpart_id),
    CONSTRAINT face_counterpart_of_another CHECK (face_id <> counterpart_id)
);
CREATE INDEX face_counterpart_reverse ON face_counterpart (counterpart_id);

ALTER TABLE shard DROP CONSTRAINT shard_stage_check;
ALTER TABLE shard ADD CONSTRAINT shard_stage_check
    CHECK (stage IN ('ingest', 'extract', 'reembed'));

-- Promotions ------------------------------------------------------------------------------------

CREATE TABLE promotion (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_embedder_id bigint NOT NULL REFERENCES model_version,
    from_detector_id bigint NOT NULL REFERENCES model_version,
    to_embedder_id   bigint NOT NULL REFERENCES model_version,
    to_detector_id   bigint NOT NULL REFERENCES model_version,
    state            text NOT NULL DEFAULT 'planned'
                     CHECK (state IN ('planned', 'filling', 'filled', 'indexed', 'compared',
                                      'active', 'superseded', 'rolled_back', 'abandoned')),
    origin           text NOT NULL CHECK (origin IN ('review', 'alias', 'command')),
    actor            text NOT NULL CHECK (actor <> ''),
    reason           text NOT NULL DEFAULT '',
    gallery          text,               -- fingerprint of the gallery the new version was staged with
    comparison       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(comparison) = 'object'),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    activated_at     timestamptz,
    CONSTRAINT promotion_moves CHECK (from_embedder_id <> to_embedder_id)
);
CREATE UNIQUE INDEX promotion_one_open ON promotion ((true))
    WHERE state IN ('planned', 'filling', 'filled', 'indexed', 'compared');
CREATE UNIQUE INDEX promotion_one_active ON promotion ((true)) WHERE state = 'active';

CREATE FUNCTION guard_promotion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.from_embedder_id, NEW.from_detector_id, NEW.to_embedder_id, NEW.to_detector_id)
       IS DISTINCT FROM
       (OLD.from_embedder_id, OLD.from_detector_id, OLD.to_embedder_id, OLD.to_detector_id) THEN
        RAISE EXCEPTION 'promotion % keeps its versions', OLD.id USING ERRCODE = 'FC001';
    END IF;
    IF NEW.state <> OLD.state AND NOT (
        (OLD.state = 'planned'    AND NEW.state IN ('filling', 'abandoned')) OR
        (OLD.state = 'filling'    AND NEW.state IN ('filled', 'abandoned')) OR
        (OLD.state = 'filled'     AND NEW.state IN ('indexed', 'abandoned')) OR
        (OLD.state = 'indexed'    AND NEW.state IN ('compared', 'abandoned')) OR
        (OLD.state = 'compared'   AND NEW.state IN ('active', 'abandoned')) OR
        (OLD.state = 'active'     AND NEW.state IN ('rolled_back', 'superseded')) OR
        (OLD.state = 'superseded' AND NEW.state = 'active')
    ) THEN
        RAISE EXCEPTION 'promotion % is %, it cannot become %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'FC001';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON promotion
    FOR EACH ROW EXECUTE FUNCTION guard_promotion();

-- What facecore decided an alias of the registry to be, or saw and acted on. `written` is false
-- until the registry knows: the decision commits with the catalogue, the registry follows.
CREATE TABLE alias_decision (
    name       text NOT NULL,
    alias      text NOT NULL,
    version    integer NOT NULL CHECK (version > 0),
    written    boolean NOT NULL DEFAULT false,
    decided_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, alias)
);

-- Audit -----------------------------------------------------------------------------------------

CREATE TABLE audit (
    id       bigint PRIMARY KEY,
    at       timestamptz NOT NULL,
    actor    text NOT NULL CHECK (actor <> ''),
    action   text NOT NULL CHECK (action <> ''),
    subject  text NOT NULL,
    reason   text NOT NULL DEFAULT '',
    details  jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object'),
    previous char(64) NOT NULL,
    hash     char(64) NOT NULL UNIQUE
);
CREATE INDEX audit_by_subject ON audit (subject, id);

CREATE FUNCTION audit_hash(entry audit) RETURNS text LANGUAGE sql STABLE
RETURN encode(sha256(convert_to(jsonb_build_array(
    entry.id, to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), entry.actor,
    entry.action, entry.subject, entry.reason, entry.details, entry.previous)::text, 'UTF8')), 'hex');

-- Each entry names the hash of the one before: none can be changed or removed unnoticed, except
-- from the end, which is why reports quote the newest hash.
CREATE FUNCTION chain_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last audit;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit', 0));  -- one writer at a time
    SELECT * INTO last FROM audit ORDER BY id DESC LIMIT 1;
    NEW.id := coalesce(last.id, 0) + 1;
    NEW.at := clock_timestamp();
    NEW.previous := coalesce(last.hash, repeat('0', 64));
    NEW.hash := audit_hash(NEW);
    RETURN NEW;
END $$;
CREATE TRIGGER chain BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION chain_audit();

CREATE FUNCTION guard_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only added to' USING ERRCODE = 'FC001';
END $$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION guard_audit();
CREATE TRIGGER guard_all BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION guard_audit();

-- The first entry that is not what was written, or NULL.
CREATE FUNCTION audit_first_fault() RETURNS bigint LANGUAGE sql STABLE
RETURN (
    SELECT id FROM (
        SELECT id, previous, hash, audit_hash(audit) AS computed,
               row_number() OVER w AS place, lag(hash) OVER w AS before
        FROM audit WINDOW w AS (ORDER BY id)
    ) AS chained
    WHERE id <> place OR hash <> computed OR previous <> coalesce(before, repeat('0', 64))
    ORDER BY id LIMIT 1
);
