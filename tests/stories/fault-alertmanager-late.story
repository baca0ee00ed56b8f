# Messages come twenty minutes late; the poll brings the alert in time, and what comes late changes nothing.
at 5m fault alertmanager late 20m
at 10m kill blue
at 15m expect holder green
at 60m expect holder green
at 60m expect moves 1
