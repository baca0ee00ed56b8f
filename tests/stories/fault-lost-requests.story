# Half of the writes never arrive, and nobody knows.
seed 2
at 5m fault gitlab lost-request 50%
at 5m fault dns lost-request 50%
at 10m kill blue
at 20m expect holder green
at 20m expect dns green
