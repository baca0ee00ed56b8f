# 502 with a page: what is behind it may have written or not. It is unknown, the next look tells, and the move goes on.
at 9m  fault gitlab error 50%
at 10m kill blue
at 10m expect holder blue
at 15m expect holder green
at 15m expect moves 1
at 15m expect history unknown
at 15m expect not history refused
