"""Result tables; needs no torch."""
