"""Ideas for straight-through rules against exact gradients."""
