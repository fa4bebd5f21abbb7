"""Many runs at once: the jobs of a sweep whose steps are one batched program, each with a directory of its own."""
