-- The catalogue, revision 11: deliveries of what was discarded.
-- Runs in schema facecore (search_path: facecore, public).

-- A delivery of a picture that is erased. It is no sighting: nothing counts it as activity. It is
-- here so that an object that stays in the landing bucket is not taken in again by every run.
CREATE TABLE discarded_delivery (
    landing_bucket text NOT NULL,
    landing_key    text NOT NULL,
    etag           text NOT NULL,
    image_id       bigint NOT NULL REFERENCES image,
    run_id         text REFERENCES run,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (landing_bucket, landing_key, etag)
);
