-- The catalogue, revision 5: what the pages read, and decisions about quarantined images.
-- Runs in schema facecore (search_path: facecore, public).

-- Pages list the newest first and go on after the last row shown.
CREATE INDEX image_quarantined ON image (id) WHERE status = 'quarantined';
CREATE INDEX image_quarantined_for ON image USING gin (reasons jsonb_path_ops)
    WHERE status = 'quarantined';
CREATE INDEX run_by_start ON run (started_at, id);
CREATE INDEX run_by_stage ON run (stage, started_at);

-- A human looked at a quarantined image: it is good after all, or its bytes are to go. Only
-- added to; an image that was released and is then found damaged can be decided on again.
CREATE TABLE quarantine_decision (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id  bigint NOT NULL REFERENCES image,
    action    text NOT NULL CHECK (action IN ('release', 'discard')),
    actor     text NOT NULL CHECK (btrim(actor) <> ''),
    reason    text NOT NULL CHECK (btrim(reason) <> ''),
    overruled jsonb NOT NULL CHECK (jsonb_typeof(overruled) = 'array'),  -- why it was quarantined
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX quarantine_decision_of ON quarantine_decision (image_id, id);

CREATE FUNCTION guard_quarantine_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('facecore.acting', true), '') <> 'erasure' THEN
        RAISE EXCEPTION 'decisions are only added to' USING ERRCODE = 'FC001';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON quarantine_decision
    FOR EACH ROW EXECUTE FUNCTION guard_quarantine_decision();

-- As in revision 1, and out of the quarantine again where a human said so.
CREATE OR REPLACE FUNCTION guard_image() RETURNS trigger LANGUAGE plpgsql AS $$
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
        (OLD.status = 'extracted'   AND NEW.status = 'erased') OR
        (OLD.status = 'quarantined' AND NEW.status = 'accepted'
         AND current_setting('facecore.acting', true) = 'human'
         AND EXISTS (SELECT FROM quarantine_decision
                     WHERE image_id = OLD.id AND action = 'release'))
    ) THEN
        RAISE EXCEPTION 'image % is %, it cannot become %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'FC001';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$;
