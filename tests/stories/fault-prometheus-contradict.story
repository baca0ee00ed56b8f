# Two Prometheus servers say the opposite about the standby: nothing is proven.
prometheus 2
at 5m fault prometheus p1 contradicts about green
at 10m kill blue
at 20m expect holder blue
at 20m expect gate target_able closed
at 21m mend prometheus
at 25m expect holder green
