# 25: a veto can have an end: the target that was vetoed is one again.
at 9m  human vetoes green for 6m
at 10m kill blue
at 14m expect outcome held:target_able
at 17m expect holder green
