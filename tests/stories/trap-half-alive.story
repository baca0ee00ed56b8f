# A cluster comes back half alive, with the routing tag from its own registration: it takes no jobs.
at 10m kill blue
at 15m expect holder green
at 20m revive blue 50%
at 20m human registers runner 9 in blue tagged
at 25m expect holder green
at 25m expect moves 1
