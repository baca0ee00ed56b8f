# A third of GitLab's answers does not come in time, although the write happened: unknown is never failed.
seed 4
at 5m fault gitlab timeout-after-commit 30%
at 10m kill blue
at 15m expect holder green
at 15m expect not latched
at 15m expect moves 1
