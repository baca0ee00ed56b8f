# 5: Alertmanager is gone, and with it the watchdog: what it said before counts no more.
at 10m fault alertmanager down
at 30m kill blue
at 50m expect holder blue
at 50m expect moves 0
at 50m expect gate eyes_open closed
at 51m mend alertmanager
at 60m expect holder green
