# 6: NaN is no evidence.
at 10m kill blue
at 10m30s fault prometheus nan about green
at 20m expect holder blue
at 20m expect gate target_able closed
at 21m mend prometheus
at 25m expect holder green
