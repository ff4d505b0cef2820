"""Use cases: the only place where stages meet stores. DAGs, pages and commands call these.

`stores` and `lineage` serve all of them. A package knows those before it: models, images, faces,
reports, training, people, promotion, platform, demo, on_ray.
"""
