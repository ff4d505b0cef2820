-- The catalogue, revision 3: alerts.
-- Runs in schema facecore (search_path: facecore, public).

-- Something a person should look at, with the numbers that say so. Of one thing about one subject
-- there is one open alert; seen again, it is renewed, so that a camera that is off all night is
-- one line on a page.
CREATE TABLE alert (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL CHECK (kind <> ''),
    subject         text NOT NULL CHECK (subject <> ''),
    severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    evidence        jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(evidence) = 'object'),
    period          tstzrange CHECK (NOT isempty(period)),
    run_id          text REFERENCES run,
    raised_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    times           integer NOT NULL DEFAULT 1 CHECK (times > 0),
    acknowledged_at timestamptz,
    acknowledged_by text CHECK (acknowledged_by <> ''),
    acknowledged_for text,               -- the reason given
    CONSTRAINT alert_acknowledged CHECK (
        (acknowledged_at IS NULL) = (acknowledged_by IS NULL)
        AND (acknowledged_at IS NULL) = (acknowledged_for IS NULL))
);
CREATE UNIQUE INDEX alert_one_open ON alert (kind, subject) WHERE acknowledged_at IS NULL;
CREATE INDEX alert_by_kind ON alert (kind, id);

-- What somebody has acknowledged stays what it was when they did.
CREATE FUNCTION guard_alert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'alert % is acknowledged, not deleted', OLD.id USING ERRCODE = 'FC001';
    END IF;
    IF OLD.acknowledged_at IS NOT NULL THEN
        RAISE EXCEPTION 'alert % was acknowledged, it cannot change', OLD.id
            USING ERRCODE = 'FC001';
    END IF;
    IF (NEW.kind, NEW.subject, NEW.raised_at) IS DISTINCT FROM (OLD.kind, OLD.subject, OLD.raised_at)
    THEN
        RAISE EXCEPTION 'alert % keeps its kind, subject and time', OLD.id USING ERRCODE = 'FC001';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON alert
    FOR EACH ROW EXECUTE FUNCTION guard_alert();
