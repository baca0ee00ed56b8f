# 27: a move has a deadline; then it is a person's.
set move_deadline = "5m"
at 9m fault gitlab error
at 10m kill blue
at 15m expect moving
at 20m expect latched
