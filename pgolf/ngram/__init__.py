"""Counts and mixtures; needs no torch."""
