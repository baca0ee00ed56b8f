# Three Alertmanagers, each sends every message: one move.
at 5m fault alertmanager duplicates
at 10m kill blue
at 40m expect holder green
at 40m expect moves 1
