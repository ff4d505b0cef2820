-- The catalogue, revision 9: learned matchers on top of an embedder.
-- Runs in schema facecore (search_path: facecore, public).

ALTER TABLE model_version DROP CONSTRAINT model_version_task_check;
ALTER TABLE model_version ADD CONSTRAINT model_version_task_check
    CHECK (task IN ('detect', 'embed', 'match', 'reconstruct', 'forecast'));
