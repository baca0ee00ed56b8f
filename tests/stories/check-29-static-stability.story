# 29: Switchyard, Prometheus and Alertmanager go: the routing stays. They come back to a fleet at rest.
at 10m stop
at 11m fault prometheus down
at 12m fault alertmanager down
at 60m expect holder blue
at 60m mend everything
at 61m start
at 80m expect holder blue
at 80m expect outcome steady
at 80m expect moves 0
