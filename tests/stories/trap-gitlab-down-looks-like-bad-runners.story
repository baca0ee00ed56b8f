# GitLab is down: every runner everywhere fails to poll. Nothing moves, and nothing is latched afterwards. Refused
# connections put no runner to sleep: the standby is able as soon as GitLab is back.
at 10m fault gitlab down for 45m
at 30m expect outcome blind
at 50m expect moves 0
at 59m expect holder blue
at 59m expect outcome steady
at 60m kill blue
at 63m expect holder green
at 63m expect not latched
