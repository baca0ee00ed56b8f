# GitLab is down: every runner everywhere fails to poll. Nothing moves, and nothing is latched afterwards.
at 10m fault gitlab down for 45m
at 30m expect outcome blind
at 50m expect moves 0
at 70m expect holder blue
at 70m expect outcome steady
