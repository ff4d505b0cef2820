"""Training goals: what a model is taught, each by name.

`catalogue` says what each goal needs, without importing torch; the losses are in the modules
beside it, made by `losses.make_goal`.
"""
