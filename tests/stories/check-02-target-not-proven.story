# 2: the target must be proven able: half of green is dead.
at 5m kill green 50%
at 10m kill blue
at 20m expect holder blue
at 20m expect outcome held:target_able
at 21m revive green
at 30m expect holder green
