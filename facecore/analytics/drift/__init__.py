"""Drift: do the data, the scores and the embedder's vectors still look as they did?"""
