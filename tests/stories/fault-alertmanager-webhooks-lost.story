# Every webhook that fires gets lost: the poll makes it a delay.
at 5m fault alertmanager lost-firing
at 10m kill blue
at 15m expect holder green
