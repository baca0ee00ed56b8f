# Blue's targets vanish from Prometheus, and blue is well: no sample is neither alive nor dead.
at 10m fault prometheus silent about blue
at 40m expect holder blue
at 40m expect moves 0
