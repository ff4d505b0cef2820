"""Training: a plan and a snapshot in, the weights of a new model out.

`plan.TrainingPlan` says what is to be trained, `run.train` does it. Importing this package or
`plan` is cheap; everything that needs torch or Lightning lies in the other modules.
"""
