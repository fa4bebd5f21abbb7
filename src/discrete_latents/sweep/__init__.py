"""Sweeps: many jobs from one command line, each in a run directory of its own."""
