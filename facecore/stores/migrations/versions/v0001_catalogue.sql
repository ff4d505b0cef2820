-- The catalogue, revision 1. Runs in schema facecore (search_path: facecore, public).
-- Guarantees live here, not only in Python: a buggy or foreign writer meets them too.
-- Triggers refuse with SQLSTATE FC001, which facecore translates to ChangeRefused.

CREATE TABLE run (
    id           text PRIMARY KEY,
    dag_id       text NOT NULL,
    dag_run_id   text NOT NULL,
    task_id      text NOT NULL,
    try_number   integer NOT NULL CHECK (try_number >= 0),
    stage        text NOT NULL,
    code_version text NOT NULL,
    models       jsonb NOT NULL DEFAULT '{}',
    params       jsonb NOT NULL DEFAULT '{}',
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed')),
    counts       jsonb NOT NULL DEFAULT '{}',
    error        text,
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    CONSTRAINT run_finished CHECK ((state = 'running') = (finished_at IS NULL))
);
CREATE INDEX run_by_dag_run ON run (dag_id, dag_run_id);

CREATE TABLE shard (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stage      text NOT NULL CHECK (stage IN ('ingest', 'extract')),
    dag_run_id text NOT NULL,
    ordinal    integer NOT NULL CHECK (ordinal >= 0),
    members    jsonb NOT NULL CHECK (jsonb_typeof(members) = 'array'),
    state      text NOT NULL DEFAULT 'planned'
               CHECK (state IN ('planned', 'running', 'done', 'failed')),
    attempts   integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    counts     jsonb NOT NULL DEFAULT '{}',
    error      text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (stage, dag_run_id, ordinal)
);
CREATE INDEX shard_unfinished ON shard (stage, updated_at) WHERE state <> 'done';

CREATE TABLE ingest_cursor (
    bucket      text NOT NULL,
    prefix      text NOT NULL,
    start_after text NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bucket, prefix)
);

CREATE TABLE image (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256            char(64) NOT NULL UNIQUE CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    bucket            text NOT NULL CHECK (bucket <> ''),
    object_key        text NOT NULL CHECK (object_key <> ''),
    source            text NOT NULL CHECK (source <> ''),
    captured_at       timestamptz,
    captured_from     text CHECK (captured_from IN ('exif', 'metadata', 'key', 'modified')),
    bytes             bigint NOT NULL CHECK (bytes >= 0),
    width             integer CHECK (width > 0),
    height            integer CHECK (height > 0),
    format            text,
    status            text NOT NULL DEFAULT 'stored'
                      CHECK (status IN ('stored', 'accepted', 'quarantined', 'extracted', 'erased')),
    quality           jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(quality) = 'object'),
    reasons           jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(reasons) = 'array'),
    phash             bigint,
    near_duplicate_of bigint REFERENCES image CHECK (near_duplicate_of <> id),
    ingest_shard_id   bigint REFERENCES shard,
    extract_shard_id  bigint REFERENCES shard,
    run_id            text REFERENCES run,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT image_captured CHECK ((captured_at IS NULL) = (captured_from IS NULL)),
    CONSTRAINT image_quarantine_has_reason
        CHECK (status <> 'quarantined' OR jsonb_array_length(reasons) > 0)
);
CREATE INDEX image_to_extract ON image (id)
    WHERE status = 'accepted' AND extract_shard_id IS NULL;
CREATE INDEX image_to_validate ON image (ingest_shard_id) WHERE status = 'stored';
CREATE INDEX image_by_extract_shard ON image (extract_shard_id);
CREATE INDEX image_by_source_time ON image (source, captured_at);
CREATE INDEX image_by_time ON image (captured_at);
CREATE INDEX image_by_near_duplicate ON image (near_duplicate_of)
    WHERE near_duplicate_of IS NOT NULL;
-- Near-duplicates: of 4 bands of 16 bits, hashes that differ in at most 3 bits share one.
-- The id makes "the earliest match" an ordered scan that stops at the first hit.
CREATE INDEX image_phash_band_0 ON image (((phash >> 0) & 65535), id) WHERE phash IS NOT NULL;
CREATE INDEX image_phash_band_1 ON image (((phash >> 16) & 65535), id) WHERE phash IS NOT NULL;
CREATE INDEX image_phash_band_2 ON image (((phash >> 32) & 65535), id) WHERE phash IS NOT NULL;
CREATE INDEX image_phash_band_3 ON image (((phash >> 48) & 65535), id) WHERE phash IS NOT NULL;

CREATE TABLE sighting (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id       bigint NOT NULL REFERENCES image,
    landing_bucket text NOT NULL,
    landing_key    text NOT NULL,
    etag           text NOT NULL,
    source         text NOT NULL,
    captured_at    timestamptz,
    captured_from  text CHECK (captured_from IN ('exif', 'metadata', 'key', 'modified')),
    last_modified  timestamptz,
    run_id         text REFERENCES run,
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (landing_bucket, landing_key, etag)
);
CREATE INDEX sighting_by_image ON sighting (image_id);
CREATE INDEX sighting_by_time ON sighting (captured_at);
CREATE INDEX sighting_by_source_time ON sighting (source, captured_at);

CREATE TABLE model_version (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task           text NOT NULL CHECK (task IN ('detect', 'embed')),
    name           text NOT NULL,
    version        integer NOT NULL CHECK (version > 0),
    contract       text NOT NULL,
    weights_sha256 char(64) NOT NULL CHECK (weights_sha256 ~ '^[0-9a-f]{64}$'),
    dimension      integer CHECK (dimension BETWEEN 1 AND 4000),
    threshold      double precision,
    target_fmr     double precision CHECK (target_fmr > 0 AND target_fmr < 1),
    calibration    jsonb NOT NULL DEFAULT '{}',
    state          text NOT NULL DEFAULT 'candidate'
                   CHECK (state IN ('candidate', 'active', 'retired')),
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (name, version),
    CONSTRAINT model_version_dimension CHECK ((task = 'embed') = (dimension IS NOT NULL))
);
CREATE UNIQUE INDEX model_version_one_active ON model_version (task) WHERE state = 'active';

CREATE TABLE face (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id            bigint NOT NULL REFERENCES image,
    shard_id            bigint REFERENCES shard,
    detector_version_id bigint NOT NULL REFERENCES model_version,
    ordinal             integer NOT NULL CHECK (ordinal >= 0),
    box                 real[] NOT NULL CHECK (cardinality(box) = 4),
    landmarks           real[] CHECK (cardinality(landmarks) = 10),
    score               real NOT NULL CHECK (score BETWEEN 0 AND 1),
    quality             jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(quality) = 'object'),
    crop_key            text NOT NULL CHECK (crop_key <> ''),
    crop_index          integer NOT NULL CHECK (crop_index >= 0),
    created_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (image_id, detector_version_id, ordinal)
);
CREATE INDEX face_by_shard ON face (shard_id);

-- One partition per model version, each with its own HNSW index: see faces.py.
CREATE TABLE embedding (
    face_id          bigint NOT NULL REFERENCES face ON DELETE CASCADE,
    model_version_id bigint NOT NULL REFERENCES model_version,
    vector           halfvec NOT NULL,
    PRIMARY KEY (model_version_id, face_id)
) PARTITION BY LIST (model_version_id);
CREATE INDEX embedding_by_face ON embedding (face_id);

CREATE TABLE person (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    label      text NOT NULL CHECK (label <> '' AND label = btrim(label) AND length(label) <= 200),
    kind       text NOT NULL CHECK (kind IN ('enrolled', 'discovered')),
    status     text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'erased')),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX person_enrolled_label ON person (label)
    WHERE kind = 'enrolled' AND status = 'active';

CREATE TABLE assignment (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    face_id          bigint NOT NULL REFERENCES face ON DELETE CASCADE,
    person_id        bigint REFERENCES person,
    outcome          text NOT NULL CHECK (outcome IN ('accept', 'review', 'unknown')),
    source           text NOT NULL CHECK (source IN ('human', 'enrolled', 'cluster')),
    score            double precision,
    margin           double precision,
    threshold        double precision,
    gallery_size     integer CHECK (gallery_size >= 0),
    model_version_id bigint REFERENCES model_version,
    gallery          boolean NOT NULL DEFAULT false,  -- probes are compared with this face
    run_id           text REFERENCES run,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (face_id, source),
    CONSTRAINT assignment_gallery_is_human
        CHECK (NOT gallery OR (source = 'human' AND outcome = 'accept')),
    CONSTRAINT assignment_person CHECK ((outcome = 'unknown') = (person_id IS NULL)),
    CONSTRAINT assignment_machine_lineage
        CHECK (source = 'human' OR (model_version_id IS NOT NULL AND score IS NOT NULL))
);
CREATE INDEX assignment_by_person ON assignment (person_id) WHERE person_id IS NOT NULL;
CREATE INDEX assignment_gallery ON assignment (face_id) WHERE gallery;

-- What is true of a face now: a human's word, else a match with the enrolled gallery, else a
-- cluster's proposal, else the fact that no enrolled person matched. One row per face: a source
-- speaks once of it. (Not DISTINCT ON, which would rank every face to answer for a few.)
CREATE FUNCTION assignment_rank(source text, outcome text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN source = 'human' THEN 0
            WHEN source = 'enrolled' AND outcome <> 'unknown' THEN 1
            WHEN source = 'cluster' THEN 2
            ELSE 3 END;

CREATE VIEW current_assignment AS
SELECT a.* FROM assignment AS a
WHERE NOT EXISTS (
    SELECT FROM assignment AS b
    WHERE b.face_id = a.face_id
      AND assignment_rank(b.source, b.outcome) < assignment_rank(a.source, a.outcome)
);

CREATE TABLE report (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text NOT NULL,
    period_start timestamptz NOT NULL,
    period_end   timestamptz NOT NULL,
    html_key     text NOT NULL,
    json_key     text NOT NULL,
    run_id       text REFERENCES run,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, period_start, period_end),
    CONSTRAINT report_period CHECK (period_end > period_start)
);

-- Guards ------------------------------------------------------------------------------------

CREATE FUNCTION guard_image() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- The row outlives the picture, so that erased content is recognised, not taken in again.
        RAISE EXCEPTION 'image % cannot be deleted, only erased', OLD.id USING ERRCODE = 'FC001';
    END IF;
    IF NEW.sha256 <> OLD.sha256 OR NEW.bytes <> OLD.bytes THEN
        RAISE EXCEPTION 'the content of image % cannot change', OLD.id USING ERRCODE = 'FC001';
    END IF;
    IF NEW.status <> OLD.status AND NOT (
        (OLD.status = 'stored'      AND NEW.status IN ('accepted', 'quarantined', 'erased')) OR
        (OLD.status = 'accepted'    AND NEW.status IN ('extracted', 'quarantined', 'erased')) OR
        (OLD.status = 'quarantined' AND NEW.status = 'erased') OR
        (OLD.status = 'extracted'   AND NEW.status = 'erased')
    ) THEN
        RAISE EXCEPTION 'image % is %, it cannot become %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'FC001';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON image
    FOR EACH ROW EXECUTE FUNCTION guard_image();

CREATE FUNCTION guard_shard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'done' THEN
        RAISE EXCEPTION 'shard % is done, it cannot change', OLD.id USING ERRCODE = 'FC001';
    END IF;
    IF (NEW.stage, NEW.dag_run_id, NEW.ordinal, NEW.members)
       IS DISTINCT FROM (OLD.stage, OLD.dag_run_id, OLD.ordinal, OLD.members) THEN
        RAISE EXCEPTION 'the members of shard % cannot change', OLD.id USING ERRCODE = 'FC001';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON shard
    FOR EACH ROW EXECUTE FUNCTION guard_shard();

CREATE FUNCTION guard_model_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.task, NEW.name, NEW.version, NEW.contract, NEW.weights_sha256, NEW.dimension)
       IS DISTINCT FROM
       (OLD.task, OLD.name, OLD.version, OLD.contract, OLD.weights_sha256, OLD.dimension) THEN
        RAISE EXCEPTION 'model version % is what it is; register a new version', OLD.id
            USING ERRCODE = 'FC001';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON model_version
    FOR EACH ROW EXECUTE FUNCTION guard_model_version();

-- A human's decision changes only in a transaction that says it acts for a human
-- (SET LOCAL facecore.acting = 'human'), or that erases (… = 'erasure').
CREATE FUNCTION guard_assignment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    acting text := coalesce(current_setting('facecore.acting', true), '');
BEGIN
    IF OLD.source = 'human' AND acting NOT IN ('human', 'erasure') THEN
        RAISE EXCEPTION 'the human decision on face % stands', OLD.face_id USING ERRCODE = 'FC001';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    IF NEW.source <> OLD.source OR NEW.face_id <> OLD.face_id THEN
        RAISE EXCEPTION 'an assignment keeps its face and source' USING ERRCODE = 'FC001';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON assignment
    FOR EACH ROW EXECUTE FUNCTION guard_assignment();

CREATE FUNCTION guard_person() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'erased' AND NEW.status <> 'erased' THEN
        RAISE EXCEPTION 'person % was erased', OLD.id USING ERRCODE = 'FC001';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON person
    FOR EACH ROW EXECUTE FUNCTION guard_person();
