# With `group_wait: 0s` the first message of a group holds one of its alerts, and nothing says that another one is to come.
# Each alert is judged by itself: one fleet goes, and the other one when its own alert is there.
fleet build on blue green
fleet deploy on blue green
at 10m    kill runner 1
at 10m    kill runner 2
at 10m20s kill blue
at 11m40s expect holder green of build
at 11m40s expect holder blue of deploy
at 11m40s expect moves 0 of deploy
at 15m expect holder green of deploy
at 15m expect moves 1 of build
at 15m expect moves 1 of deploy
