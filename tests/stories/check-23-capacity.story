# 23: the target must be able to take the load: two runners must poll well.
set min_able = 2
set thresholds.failover = 0.3
set thresholds.able = 0.5
at 5m kill runner 4
at 10m kill blue
at 20m expect holder blue
at 20m expect outcome held:target_able
