-- The catalogue, revision 7: models that analyse; how unusual a face is; forecasts of activity.
-- Runs in schema facecore (search_path: facecore, public).

ALTER TABLE model_version DROP CONSTRAINT model_version_task_check;
ALTER TABLE model_version ADD CONSTRAINT model_version_task_check
    CHECK (task IN ('detect', 'embed', 'reconstruct', 'forecast'));
ALTER TABLE shard DROP CONSTRAINT shard_stage_check;
ALTER TABLE shard ADD CONSTRAINT shard_stage_check
    CHECK (stage IN ('ingest', 'extract', 'reembed', 'score'));

-- What a version of the autoencoder says of a crop. Versions lie side by side; nothing changes.
CREATE TABLE face_anomaly (
    model_version_id bigint NOT NULL REFERENCES model_version,
    face_id          bigint NOT NULL REFERENCES face ON DELETE CASCADE,
    error            real NOT NULL CHECK (error >= 0),       -- of the reconstruction, grey levels
    distance         real NOT NULL CHECK (distance >= 0),    -- from ordinary crops (Mahalanobis)
    rank             real NOT NULL CHECK (rank BETWEEN 0 AND 1),  -- ordinary crops that are nearer
    run_id           text REFERENCES run,
    PRIMARY KEY (model_version_id, face_id)
);
CREATE INDEX face_anomaly_farthest ON face_anomaly (model_version_id, distance DESC, face_id);
CREATE INDEX face_anomaly_by_face ON face_anomaly (face_id);

-- Of the faces that count, by the version in use.
CREATE VIEW active_face_anomaly AS
SELECT a.* FROM face_anomaly AS a JOIN active_face ON active_face.id = a.face_id
WHERE a.model_version_id =
    (SELECT id FROM model_version WHERE task = 'reconstruct' AND state = 'active');

-- Hours ahead of one moment, for every source. Times are of the wall clock `timezone`; done again
-- for the same moment, a forecast is replaced.
CREATE TABLE forecast (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin           timestamp NOT NULL,
    timezone         text NOT NULL CHECK (timezone <> ''),
    method           text NOT NULL CHECK (method <> ''),
    learned          boolean NOT NULL,
    model_version_id bigint REFERENCES model_version,
    evidence         jsonb NOT NULL CHECK (jsonb_typeof(evidence) = 'object'),
    run_id           text REFERENCES run,
    created_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (origin, timezone),
    CONSTRAINT forecast_learned_names_its_model CHECK (learned = (model_version_id IS NOT NULL))
);

CREATE TABLE forecast_hour (
    forecast_id bigint NOT NULL REFERENCES forecast ON DELETE CASCADE,
    source      text NOT NULL CHECK (source <> ''),
    at          timestamp NOT NULL,
    quantiles   real[] NOT NULL,   -- 0.05, 0.25, 0.5, 0.75, 0.95
    PRIMARY KEY (forecast_id, source, at),
    CONSTRAINT forecast_hour_quantiles
        CHECK (cardinality(quantiles) = 5 AND quantiles[1] >= 0
               AND quantiles[1] <= quantiles[2] AND quantiles[2] <= quantiles[3]
               AND quantiles[3] <= quantiles[4] AND quantiles[4] <= quantiles[5])
);

-- Hours of a source that were not as they were due.
CREATE TABLE activity_flag (
    source    text NOT NULL CHECK (source <> ''),
    kind      text NOT NULL CHECK (kind IN ('camera_off', 'crowd_surge', 'clock_error')),
    starts_at timestamp NOT NULL,
    ends_at   timestamp NOT NULL,
    timezone  text NOT NULL CHECK (timezone <> ''),
    observed  double precision NOT NULL CHECK (observed >= 0),
    expected  double precision NOT NULL CHECK (expected >= 0),
    severity  double precision NOT NULL CHECK (severity >= 0),
    evidence  text NOT NULL CHECK (evidence <> ''),
    run_id    text REFERENCES run,
    PRIMARY KEY (source, kind, starts_at),
    CONSTRAINT activity_flag_lasts CHECK (ends_at > starts_at)
);
CREATE INDEX activity_flag_by_time ON activity_flag (starts_at);
