-- The catalogue, revision 6: drift, canaries, and reports that may be shared.
-- Runs in schema facecore (search_path: facecore, public).

-- What an embedder made of fixed crops when its contract was first checked. It makes the same of
-- them ever after, or its vectors no longer compare with those that are stored.
CREATE TABLE canary (
    contract    text NOT NULL,
    crop_sha256 char(64) NOT NULL CHECK (crop_sha256 ~ '^[0-9a-f]{64}$'),
    vector      vector NOT NULL,
    precision   text NOT NULL,
    run_id      text,
    pinned_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (contract, crop_sha256)
);
CREATE FUNCTION guard_canary() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the canaries of contract % are pinned', OLD.contract USING ERRCODE = 'FC001';
END $$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON canary
    FOR EACH ROW EXECUTE FUNCTION guard_canary();

-- A period held against the one before; done again for the same period, it is replaced.
CREATE TABLE drift_check (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    period_start    timestamptz NOT NULL,
    period_end      timestamptz NOT NULL,
    reference_start timestamptz NOT NULL,
    reference_end   timestamptz NOT NULL,
    drifted         integer NOT NULL CHECK (drifted >= 0),   -- how many measures are over a limit
    html_key        text NOT NULL,
    run_id          text REFERENCES run,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (period_start, period_end),
    CONSTRAINT drift_check_periods
        CHECK (reference_start < reference_end AND reference_end <= period_start
               AND period_start < period_end)
);

CREATE TABLE drift_measurement (
    check_id      bigint NOT NULL REFERENCES drift_check ON DELETE CASCADE,
    subject       text NOT NULL CHECK (subject <> ''),
    measure       text NOT NULL CHECK (measure <> ''),
    state         text NOT NULL CHECK (state IN ('stable', 'drift', 'too_few')),
    value         double precision,
    upper_limit   double precision NOT NULL,
    p_value       double precision CHECK (p_value BETWEEN 0 AND 1),
    reference_n   bigint NOT NULL CHECK (reference_n >= 0),
    period_n      bigint NOT NULL CHECK (period_n >= 0),
    details       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object'),
    PRIMARY KEY (check_id, subject, measure),
    CONSTRAINT drift_measurement_measured CHECK ((state = 'too_few') = (value IS NULL))
);

-- Two shared reports that overlap could be subtracted from each other, which would give what both
-- withhold.
ALTER TABLE report ADD CONSTRAINT report_shared_apart
    EXCLUDE USING gist (tstzrange(period_start, period_end) WITH &&)
    WHERE (kind = 'activity-shared');

-- What holds for a face is asked of the view current_assignment, for humans and machines at once,
-- which neither of the two partial unique indexes can answer.
CREATE INDEX IF NOT EXISTS assignment_by_face ON assignment (face_id);
