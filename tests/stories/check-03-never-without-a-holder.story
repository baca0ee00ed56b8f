# 3: one active side remains after every change: the standby cannot be tagged, so blue keeps the tag.
at 5m fault gitlab refused
at 10m kill blue
at 15m expect moving
at 15m expect holder blue
