# The alert still fires when the cluster has come back: Prometheus is asked again right before, and says that it lives.
set signal_hold = "1m"
at 10m    kill blue
at 11m30s revive blue
at 13m    expect outcome held:confirmed
at 30m    expect moves 0
at 30m    expect holder blue
