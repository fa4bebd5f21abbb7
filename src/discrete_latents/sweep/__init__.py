"""Many jobs from one command line."""
