# Blue's targets vanish from Prometheus, and blue is well: no sample is neither alive nor dead.
at 10m fault prometheus silent about blue for 20m
at 29m expect holder blue
at 29m expect moves 0
# Nor is it when blue has died and the alert is in hand.
at 40m    human pauses
at 41m    kill blue
at 44m    fault prometheus silent about blue
at 44m30s human resumes
at 46m expect outcome held:confirmed
at 46m expect moves 0
at 47m mend prometheus
at 49m expect holder green
