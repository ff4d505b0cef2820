-- The catalogue, revision 4: what humans decide about people, and people that clustering found.
-- Runs in schema facecore (search_path: facecore, public).

-- People ------------------------------------------------------------------------------------

ALTER TABLE person
    ADD COLUMN named boolean NOT NULL DEFAULT true,       -- false: the label is a placeholder
    ADD COLUMN merged_into bigint REFERENCES person,      -- a human said that both are one
    ADD CONSTRAINT person_merged_into_another CHECK (merged_into <> id),
    ADD CONSTRAINT person_enrolled_is_named CHECK (kind <> 'enrolled' OR named);
CREATE INDEX person_by_merged_into ON person (merged_into) WHERE merged_into IS NOT NULL;

-- A name is one person, whether that person was enrolled, or found and named.
DROP INDEX person_enrolled_label;
CREATE UNIQUE INDEX person_label ON person (label)
    WHERE named AND status = 'active' AND merged_into IS NULL;
CREATE INDEX person_by_label ON person ((lower(label) COLLATE "C"), id)
    WHERE status = 'active' AND merged_into IS NULL;

-- Who a person is now, after every merge.
CREATE FUNCTION person_now(person_id bigint) RETURNS bigint LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH RECURSIVE way (id, merged_into, steps) AS (
        SELECT p.id, p.merged_into, 0 FROM person AS p WHERE p.id = person_now.person_id
        UNION ALL
        SELECT p.id, p.merged_into, way.steps + 1
        FROM way JOIN person AS p ON p.id = way.merged_into
    )
    SELECT way.id FROM way ORDER BY way.steps DESC LIMIT 1;
END;

CREATE OR REPLACE FUNCTION guard_person() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'erased' AND NEW.status <> 'erased' THEN
        RAISE EXCEPTION 'person % was erased', OLD.id USING ERRCODE = 'FC001';
    END IF;
    -- The target stands for itself, so chains have an end.
    IF NEW.merged_into IS DISTINCT FROM OLD.merged_into AND NEW.merged_into IS NOT NULL
       AND NOT EXISTS (SELECT FROM person WHERE id = NEW.merged_into AND merged_into IS NULL
                       AND status = 'active') THEN
        RAISE EXCEPTION 'person % cannot be merged into %, who is merged or erased',
            OLD.id, NEW.merged_into USING ERRCODE = 'FC001';
    END IF;
    RETURN NEW;
END $$;

-- Decisions ---------------------------------------------------------------------------------

-- What a human decided. Only added to: an undo is a decision too.
CREATE TABLE decision (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind    text NOT NULL CHECK (kind IN ('name', 'merge', 'split', 'not', 'undo')),
    actor   text NOT NULL CHECK (actor <> ''),
    reason  text NOT NULL DEFAULT '',
    undoes  bigint UNIQUE REFERENCES decision,
    details jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object'),
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT decision_undo CHECK ((kind = 'undo') = (undoes IS NOT NULL))
);

CREATE TABLE decision_person (
    decision_id bigint NOT NULL REFERENCES decision,
    person_id   bigint NOT NULL REFERENCES person,
    role        text NOT NULL CHECK (role IN ('subject', 'absorbed', 'created')),
    PRIMARY KEY (decision_id, person_id)
);
CREATE INDEX decision_by_person ON decision_person (person_id, decision_id);

-- The assignments a decision changed: what they said before and after. No outcome: no row.
CREATE TABLE decision_change (
    decision_id      bigint NOT NULL REFERENCES decision,
    face_id          bigint NOT NULL REFERENCES face ON DELETE CASCADE,
    source           text NOT NULL,
    model_version_id bigint REFERENCES model_version,
    person_before    bigint,
    outcome_before   text,
    gallery_before   boolean NOT NULL DEFAULT false,
    person_after     bigint,
    outcome_after    text
);
CREATE INDEX decision_change_of ON decision_change (decision_id);
CREATE INDEX decision_change_by_face ON decision_change (face_id);

-- Two faces are one person (must), or a face is not a person (cannot). That a face *is* a person
-- is a human's assignment.
CREATE TABLE link (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          text NOT NULL CHECK (kind IN ('must', 'cannot')),
    face_id       bigint NOT NULL REFERENCES face ON DELETE CASCADE,
    other_face_id bigint REFERENCES face ON DELETE CASCADE,
    person_id     bigint REFERENCES person,
    decision_id   bigint NOT NULL REFERENCES decision,
    revoked_by    bigint REFERENCES decision,   -- a later decision that says the opposite
    CONSTRAINT link_ends CHECK ((kind = 'must') = (other_face_id IS NOT NULL)
                                AND (kind = 'cannot') = (person_id IS NOT NULL)),
    CONSTRAINT link_of_two CHECK (other_face_id <> face_id),
    UNIQUE NULLS NOT DISTINCT (decision_id, face_id, other_face_id, person_id)
);
CREATE INDEX link_by_face ON link (face_id);
CREATE INDEX link_by_person ON link (person_id) WHERE person_id IS NOT NULL;

-- Links whose decision stands.
CREATE VIEW live_link AS
SELECT link.* FROM link
WHERE NOT EXISTS (SELECT FROM decision AS u WHERE u.undoes = link.decision_id)
  AND (link.revoked_by IS NULL
       OR EXISTS (SELECT FROM decision AS u WHERE u.undoes = link.revoked_by));

CREATE FUNCTION guard_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('facecore.acting', true), '') <> 'erasure' THEN
        RAISE EXCEPTION 'decisions are only added to' USING ERRCODE = 'FC001';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON decision
    FOR EACH ROW EXECUTE FUNCTION guard_decision();
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON decision_person
    FOR EACH ROW EXECUTE FUNCTION guard_decision();
CREATE TRIGGER guard BEFORE UPDATE ON decision_change
    FOR EACH ROW EXECUTE FUNCTION guard_decision();

-- Assignments -------------------------------------------------------------------------------

-- A human said that this face, as this or another detector version found it, is not the person.
CREATE FUNCTION is_forbidden(face bigint, person bigint) RETURNS boolean LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT EXISTS (SELECT FROM live_link AS l WHERE l.kind = 'cannot'
                   AND l.face_id = is_forbidden.face
                   AND person_now(l.person_id) = is_forbidden.person)
        OR EXISTS (SELECT FROM face_counterpart AS c JOIN live_link AS l
                   ON l.face_id = c.counterpart_id AND l.kind = 'cannot'
                   WHERE c.face_id = is_forbidden.face
                   AND person_now(l.person_id) = is_forbidden.person);
END;

-- A machine may have computed before a human decided, and write after. So what it writes follows
-- merges, and is unknown where a human ruled the person out. Locking the person's row waits for a
-- decision that is being made, and makes the next one wait for this write.
CREATE FUNCTION honour_decisions() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    merged bigint;
BEGIN
    IF NEW.person_id IS NULL THEN
        RETURN NEW;
    END IF;
    SELECT merged_into INTO merged FROM person WHERE id = NEW.person_id FOR KEY SHARE;
    WHILE merged IS NOT NULL LOOP
        NEW.person_id := merged;
        SELECT merged_into INTO merged FROM person WHERE id = NEW.person_id FOR KEY SHARE;
    END LOOP;
    IF NEW.source <> 'human' AND is_forbidden(NEW.face_id, NEW.person_id) THEN
        NEW.person_id := NULL;
        NEW.outcome := 'unknown';
    END IF;
    RETURN NEW;
END $$;
-- After the trigger "guard", in the order of names.
CREATE TRIGGER honour BEFORE INSERT OR UPDATE OF person_id, outcome ON assignment
    FOR EACH ROW EXECUTE FUNCTION honour_decisions();

-- The faces of a person in the order of their ids, page by page.
DROP INDEX assignment_by_person;
CREATE INDEX assignment_by_person ON assignment (person_id, face_id) WHERE person_id IS NOT NULL;

-- Clustering says "unknown" of a face it has looked at and found nobody for; that says less than
-- a comparison with the gallery.
CREATE OR REPLACE FUNCTION assignment_rank(source text, outcome text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN source = 'human' THEN 0
            WHEN source = 'enrolled' AND outcome <> 'unknown' THEN 1
            WHEN source = 'cluster' AND outcome <> 'unknown' THEN 2
            WHEN source = 'enrolled' THEN 3
            ELSE 4 END;
