# 34: the watchdog is lost on the way, and only then does blue die.
at 10m fault alertmanager lost-firing
at 20m fault prometheus down
at 35m kill blue
at 50m expect outcome steady
at 50m mend everything
at 60m expect holder green
