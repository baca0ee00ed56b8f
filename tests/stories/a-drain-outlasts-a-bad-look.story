# A switch drains for minutes. One look that GitLab or Prometheus does not answer does not call it off.
set sticky = true
set drain_deadline = "30m"
at 5m human runs pipeline 7
at 10m human switches from blue to green
at 15m fault gitlab down for 20s
at 17m fault prometheus silent for 20s
at 19m fault prometheus partial for 20s
at 20m expect moves 0
at 21m human ends pipeline 7
at 25m expect holder green
