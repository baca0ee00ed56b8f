# The way home by a person: to the preferred cluster, from where the fleet is.
at 10m kill blue
at 13m expect holder green
at 20m revive blue
at 25m human fails back from blue by eve because blue is well
at 26m expect answer unexpected_holder
at 27m human fails back from green by eve because blue is well
at 29m expect holder blue
at 29m expect dns blue
at 29m expect history switchover from green to blue: blue is well (eve)
