# 5: one of two Prometheus servers is cut off and reports blue as dead; the other one sees it alive. The alert fires, and a
# report that another one contradicts does not count.
prometheus 2
at 10m fault prometheus p1 contradicts about blue
at 20m expect outcome held:confirmed
at 20m expect holder blue
at 20m expect moves 0
at 21m mend prometheus
at 40m expect outcome steady
at 40m expect moves 0
