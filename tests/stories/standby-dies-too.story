# Blue dies, the fleet goes to green, green dies within the cool-down while blue is dead: nothing is able.
at 10m kill blue
at 15m expect holder green
at 20m kill green
at 60m expect holder green
at 60m expect moves 1
