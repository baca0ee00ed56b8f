# 8: enter and leave at different thresholds: one of three runners down is no failover, and not well enough for home.
fleet rnd on blue green with 3 runners
set failback = { after = "10m" }
at 10m kill runner 1
at 30m expect holder blue
at 30m kill blue
at 40m expect holder green
at 41m revive runner 2
at 41m revive runner 3
at 100m expect holder green
at 101m revive runner 1
at 130m expect holder blue
