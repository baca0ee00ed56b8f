# Alertmanager has a wrong credential. Each message is answered 401 and comes back at each group interval, until it is
# taken: nothing is lost, and as long as nobody is heard, nothing moves.
poll never
at 5m  fault alertmanager wrong-credential for 20m
at 10m kill blue
at 24m expect gate eyes_open closed
at 24m expect holder blue
at 24m expect moves 0
at 26m expect holder green
at 40m expect moves 1
