# One of two Prometheus servers died with its cluster: the other one is enough.
prometheus 2
at 10m kill blue
at 10m fault prometheus p0 down
at 15m expect holder green
