# Two clusters use one runner token: they are one record, and there is no tag to move.
at 5m human shares token of blue with green
at 10m kill blue 50%
at 12m expect outcome shared_runner
at 15m kill blue
at 30m expect moves 0
