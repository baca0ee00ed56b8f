# A switch fails before the standby has the tag. Its retry waits for the pipelines of the cluster that still carries it.
fleet rnd on blue green
set sticky = true
set cool_down = "1m"
set move_deadline = "5m"
at 2m fault gitlab refused for 8m
at 3m human switches rnd from blue to green
at 12m expect latched
at 13m human runs pipeline 7
at 14m human acks rnd
at 15m human switches rnd from green to green
at 25m expect holder blue
at 25m expect moves 1
at 26m human ends pipeline 7
at 30m expect holder green
