# An alert that has not lasted as long as the fleet asks for moves nothing; the cluster was back before.
set signal_hold = "5m"
at 10m kill blue
at 13m expect outcome held:signal_held
at 13m revive blue
at 30m expect moves 0
at 30m expect holder blue
