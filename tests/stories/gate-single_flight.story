# While a move is under way no other one is decided, however well its target is.
at 9m  fault gitlab error
at 10m kill blue
at 12m revive blue
at 15m human switches from green to blue by eve because blue is back
at 16m expect answer held:single_flight
at 16m expect moves 1
at 17m mend gitlab
at 20m expect holder green
