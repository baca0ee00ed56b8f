# 10: a person's acknowledgement lifts the block after a move early.
set cool_down = "1h"
at 10m kill blue
at 12m expect holder green
at 15m revive blue
at 25m kill green
at 28m expect outcome held:cooled_down
at 28m expect holder green
at 29m human acks by eve because blue has been well for ten minutes
at 29m expect history lifted the cool-down that the move of generation 2 began, expecting rnd at green: blue has been well for ten minutes (eve)
at 31m expect holder blue
at 31m expect moves 2
