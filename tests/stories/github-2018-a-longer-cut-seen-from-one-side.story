# The same with a cut that lasts, seen by the Prometheus beside the standby only: the other one still sees blue alive.
prometheus 2
at 10m partition blue from gitlab
at 10m fault prometheus p1 contradicts about blue
at 30m expect holder blue
at 30m expect moves 0
at 30m expect gate confirmed closed
