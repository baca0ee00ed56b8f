# 29: Switchyard, Prometheus and Alertmanager go: the routing stays. A Switchyard that comes back while nobody can tell it
# anything moves nothing, and the others come back to a fleet at rest.
at 10m stop
at 11m fault prometheus down
at 12m fault alertmanager down
at 30m expect holder blue
at 31m start
at 45m expect holder blue
at 45m expect gate eyes_open closed
at 45m expect steps 0
at 60m mend everything
at 80m expect holder blue
at 80m expect outcome steady
at 80m expect moves 0
