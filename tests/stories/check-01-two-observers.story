# 1: independent observers. Prometheus loses sight of blue, GitLab still hears from its runners: no move.
at 10m partition blue from prometheus
at 30m expect holder blue
at 30m expect outcome held:confirmed
at 31m heal blue
at 50m expect outcome steady
