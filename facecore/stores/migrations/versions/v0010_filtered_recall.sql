-- The catalogue, revision 10: what the index of vectors finds behind a filter.
-- Runs in schema facecore (search_path: facecore, public).

-- A measurement also says how an index answers behind a filter that leaves a share of the faces.
-- Older measurements say nothing of it: until the next one look-ups behind a filter are exact.
ALTER TABLE index_check
    ADD COLUMN filter_share      double precision CHECK (filter_share BETWEEN 0 AND 1),
    ADD COLUMN filter_candidates integer CHECK (filter_candidates > 0),  -- that have to pass
    ADD COLUMN filter_recall     double precision CHECK (filter_recall BETWEEN 0 AND 1),
    ADD CONSTRAINT index_check_filter CHECK (
        num_nonnulls(filter_share, filter_candidates, filter_recall) IN (0, 3)
    );
