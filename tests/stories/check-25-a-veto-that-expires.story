# 25: a veto can have an end, and does not stand in the way of a person who names the gate.
at 9m  human vetoes green for 6m
at 10m kill blue
at 14m expect outcome held:target_able
at 17m expect holder green
