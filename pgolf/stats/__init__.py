"""Statistics over seeds; needs no torch."""
