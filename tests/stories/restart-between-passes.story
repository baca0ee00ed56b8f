# The process ends and starts again while all is well, and again while an alert fires.
at 5m crash
at 10m kill blue
at 11m10s crash
at 15m expect holder green
at 15m expect moves 1
