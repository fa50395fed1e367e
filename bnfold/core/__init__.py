"""The algebra, the planner and the diagnostics. Imports numpy and nothing else."""
