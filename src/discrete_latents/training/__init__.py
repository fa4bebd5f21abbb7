"""Training and evaluation: checks, construction, the run itself, and its end."""
