# 14: a fleet that nobody enabled is watched and explained, not moved.
set enabled = false
at 10m kill blue
at 20m expect outcome held:enabled
at 20m expect holder blue
at 21m human enables rnd
at 25m expect holder green
