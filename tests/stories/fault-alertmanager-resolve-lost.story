# The message that the alert about blue has ended gets lost, and the poll is off: it must not count for ever.
poll never
set failback = { after = "10m" }
set cool_down = "5m"
at 5m fault alertmanager lost-resolve
at 10m kill blue
at 13m expect holder green
at 20m revive blue
at 50m expect holder blue
at 70m kill blue
at 80m expect holder green
