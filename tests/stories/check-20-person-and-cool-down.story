# 20: a person may move within the cool-down, and not beside a move.
at 10m kill blue
at 13m expect holder green
at 11m31s human switches from green to blue by eve because I am in a hurry
at 12m expect history held by single_flight
at 14m revive blue
at 20m human switches from green to blue
at 22m expect holder blue
at 22m expect moves 2
