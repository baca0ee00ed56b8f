# 7: the alert ends, blue does not poll well: no way home. Then it does, for long enough.
set failback = { after = "30m" }
at 10m kill blue
at 20m revive blue
at 20m slow blue
at 90m expect holder green
at 91m wake blue
at 115m expect holder green
at 140m expect holder blue
at 140m expect moves 2
