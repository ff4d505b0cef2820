-- The catalogue, revision 8: what the index of vectors finds of what an exact search finds.
-- Runs in schema facecore (search_path: facecore, public).

-- One measurement of an HNSW index beside an exact search of the same vectors. The newest one of a
-- model version says how look-ups are answered: by the index with this ef_search, or exactly.
CREATE TABLE index_check (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_version_id bigint NOT NULL REFERENCES model_version,
    vectors          bigint NOT NULL CHECK (vectors > 0),
    queries          integer NOT NULL CHECK (queries > 0),
    k                integer NOT NULL CHECK (k > 0),
    m                integer NOT NULL CHECK (m > 0),
    ef_construction  integer NOT NULL CHECK (ef_construction > 0),
    ef_search        integer NOT NULL CHECK (ef_search > 0),  -- the smallest that meets the
                                                              -- objective, else the best
    recall           double precision NOT NULL CHECK (recall BETWEEN 0 AND 1),
    recall_low       double precision NOT NULL CHECK (recall_low BETWEEN 0 AND recall),
    recall_high      double precision NOT NULL CHECK (recall_high BETWEEN recall AND 1),
    p50_ms           double precision NOT NULL CHECK (p50_ms >= 0),
    objective        double precision NOT NULL CHECK (objective BETWEEN 0 AND 1),
    tried            jsonb NOT NULL CHECK (jsonb_typeof(tried) = 'array'),
    index_oid        oid NOT NULL,       -- another one: the index was built anew since
    run_id           text REFERENCES run,
    measured_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX index_check_newest ON index_check (model_version_id, id);
