# 18: a person moves the fleet while all is well, and home again.
at 10m human switches from blue to green
at 12m expect holder green
at 12m expect dns green
at 20m human switches from green to blue
at 22m expect holder blue
at 22m expect moves 2
