# The pool that loses the fleet is paused; when the fleet comes home it is unpaused.
set park = "pause"
set failback = { after = "10m" }
at 10m kill blue
at 15m expect holder green
at 20m revive blue
at 60m expect holder blue
