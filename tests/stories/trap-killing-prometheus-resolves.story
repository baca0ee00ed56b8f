# Prometheus dies while the alert fires: "resolved" comes four minutes later, and blue is as dead as before.
set failback = { after = "10m" }
at 9m fault gitlab refused
at 10m kill blue
at 12m fault prometheus down
at 12m mend gitlab
at 40m expect holder green
at 40m expect moves 1
