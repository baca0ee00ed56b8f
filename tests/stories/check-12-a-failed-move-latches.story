# 12: a move that failed is not tried again by itself, also when what was wrong is mended.
at 9m fault gitlab refused
at 10m kill blue
at 30m expect latched
at 30m mend gitlab
at 40m human switches from green to blue
at 41m expect answer held:not_latched
at 50m expect outcome held:not_latched
at 50m expect holder blue
at 51m human acks
at 52m human switches from green to green
at 55m expect holder green
at 55m expect not latched
