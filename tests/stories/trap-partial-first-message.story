# With `group_wait: 0s` the first message holds some of the alerts: two fleets, each alert by itself.
fleet build on blue green
fleet deploy on blue green
at 10m kill blue
at 15m expect holder green of build
at 15m expect holder green of deploy
at 15m expect moves 1 of build
at 15m expect moves 1 of deploy
