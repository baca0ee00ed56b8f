# 9: after a move, no automatic move for a while.
at 10m kill blue
at 15m expect holder green
at 16m revive blue
at 20m kill green
at 30m expect holder green
at 30m expect outcome held:cooled_down
at 60m expect holder blue
at 60m expect moves 2
