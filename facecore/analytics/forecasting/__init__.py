"""How much activity to expect of each source and when to expect a person: with intervals, with
baselines that a learned model has to beat, and with flags where what came is not what was due.
"""
