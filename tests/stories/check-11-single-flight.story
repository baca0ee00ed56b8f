# 11: one move at a time, whoever asks.
at 9m fault gitlab error
at 10m kill blue
at 13m expect moving
at 13m human switches from green to blue
at 14m expect moves 1
at 14m expect answer held:single_flight
at 15m mend gitlab
at 20m expect holder green
