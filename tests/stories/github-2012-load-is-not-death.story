# GitHub, September 2012: load looked like death, the fleet was moved, the new side was cold and slow as well, and it was
# moved back by itself. Load is not death, and nothing bounces back: home is well for half an hour before anything returns.
set failback = { after = "30m" }
at 10m slow blue
at 20m expect holder blue
at 20m expect moves 0
# Now it dies from its load; the fleet goes, and the new side groans, too.
at 20m kill blue
at 23m expect holder green
at 25m slow green
at 27m revive blue
at 50m expect holder green
at 60m expect holder green
at 60m expect moves 1
at 60m expect outcome held:signal_held
at 80m expect holder blue
at 80m expect moves 2
