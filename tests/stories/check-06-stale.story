# 6: samples that are old are no evidence.
at 5m human pauses
at 10m kill blue
at 12m fault prometheus stale
at 14m30s human resumes
at 15m expect outcome held:eyes_open
at 15m expect moves 0
at 16m mend prometheus
at 20m expect holder green
