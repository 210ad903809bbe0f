"""Tests the operations of backends: a table of cases, and plain loops in float64 to compare with.

``cases`` holds the table and ``naive`` the loops. ``case`` runs a case, ``tolerance`` says how far
its results may be from the reference, and ``values`` makes arrays: with ties, NaN, infinities, …
"""
