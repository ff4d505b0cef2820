"""Extraction of everything that waits, on a Ray cluster: `facecore extract --engine ray`.

::

    catalogue ─► back-fill ─► feed ─► read ──────────► extract ─────► write
                 the command  ids     CPU tasks:       actors, one    CPU tasks: crop packs,
                                      fetch, decode    per GPU        one transaction a shard

The same stages as the local engine, behind one another in a Ray Data pipeline. A shard is one
row of it, and the unit of everything: what is read and decoded at once, what an actor extracts,
what is committed. Decided in docs/adr/0008.

`ray` is imported in functions only: it is an optional extra.
"""
