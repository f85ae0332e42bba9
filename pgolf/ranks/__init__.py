"""Stages that run as several processes under torchrun: what starts them, what they are told, and what they share."""
